"""Fetching against a real local server: broken, refusing, lying and absent mirrors."""

from __future__ import annotations

import dataclasses
import hashlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from file_server import Behaviour, FileServer, Handler, running

from rnafm_cli.encoder import config
from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.official import pull_model
from rnafm_cli.errors import RnafmError, UsageError, WeightsError
from rnafm_cli.weights import download, registry
from rnafm_cli.weights.download import fetch
from rnafm_cli.weights.registry import Download, ModelSpec

PARITY = Path(__file__).parents[1] / "data" / "parity"
CONTENT = (PARITY / "rnafm_random_small.pth").read_bytes()
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    for name, value in (("ATTEMPTS", 3), ("PAUSE", 0.01), ("TIMEOUT", 2.0)):
        monkeypatch.setattr(download, name, value)


@pytest.fixture
def serve() -> Iterator:
    """``serve(behaviour)`` starts a server that ends with the test."""
    with ExitStack() as stack:
        yield lambda behaviour, content=CONTENT: stack.enter_context(running(content, behaviour))


def good(handler: Handler, start: int | None) -> None:
    handler.give(handler.server.content, start)


def ignores_range(handler: Handler, start: int | None) -> None:
    handler.give(handler.server.content, None)


def refuses(code: int) -> Behaviour:
    return lambda handler, start: handler.refuse(code)


def drops_after(count: int) -> Behaviour:
    """Each connection breaks after so many bytes."""
    return lambda handler, start: handler.give(handler.server.content, start, stop=(start or 0) + count)


def wanted(*servers: FileServer, size: int | None = SIZE, sha256: str | None = SHA256) -> Download:
    return Download(file_name="weights.pth", urls=tuple(server.url for server in servers), size=size, sha256=sha256)


def only_file(folder: Path) -> bytes:
    (path,) = folder.iterdir()
    return path.read_bytes()


def test_whole_file_with_progress(serve, tmp_path: Path) -> None:
    server = serve(good)
    told: list[tuple[int, int | None]] = []
    path, url = fetch(wanted(server), tmp_path, on_bytes=lambda done, total: told.append((done, total)))
    assert path == tmp_path / "weights.pth"
    assert url == server.url
    assert only_file(tmp_path) == CONTENT
    assert told[0] == (0, SIZE)
    assert told[-1] == (SIZE, SIZE)
    assert fetch(wanted(server), tmp_path) == (path, None)
    assert server.asked == [None]


def test_dropped_connections_are_resumed(serve, tmp_path: Path) -> None:
    server = serve(drops_after(200_000))
    messages: list[str] = []
    fetch(wanted(server), tmp_path, report=messages.append)
    assert only_file(tmp_path) == CONTENT
    assert server.asked == [None, 200_000, 400_000, 600_000]
    assert "the connection closed after 200000 of" in messages[0]


def test_a_later_call_goes_on_where_the_first_was_stopped(serve, tmp_path: Path) -> None:
    server = serve(good)

    def stop(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    server.behaviour = drops_after(300_000)
    with pytest.raises(KeyboardInterrupt):
        fetch(wanted(server), tmp_path, on_bytes=stop)
    assert (tmp_path / "weights.pth.part").stat().st_size == 300_000
    server.behaviour = good
    fetch(wanted(server), tmp_path)
    assert only_file(tmp_path) == CONTENT
    assert server.asked == [None, 300_000]


def test_server_without_parts_starts_again(serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server = serve(drops_after(300_000))
    with pytest.raises(WeightsError):
        fetch(wanted(server), tmp_path)
    server.behaviour = ignores_range
    fetch(wanted(server), tmp_path)
    assert server.asked == [None, 300_000]
    assert only_file(tmp_path) == CONTENT


def test_server_that_never_gets_further_is_given_up(serve, tmp_path: Path) -> None:
    stuck = serve(lambda handler, start: handler.give(handler.server.content, None, stop=300_000))
    other = serve(good)
    fetch(wanted(stuck, other), tmp_path)
    assert stuck.asked == [None, 300_000, 300_000]
    assert other.asked == [300_000]
    assert only_file(tmp_path) == CONTENT


def test_a_file_patched_together_of_two_is_not_taken(serve, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(bytes(300_000))
    server = serve(good)
    with pytest.raises(WeightsError, match="gave a file with sha256"):
        fetch(wanted(server), tmp_path)
    fetch(wanted(server), tmp_path)
    assert server.asked == [300_000, None]
    assert only_file(tmp_path) == CONTENT


@pytest.mark.parametrize("code", [403, 404, 410])
def test_refusal_goes_to_the_next_mirror_at_once(serve, tmp_path: Path, code: int) -> None:
    first, second = serve(refuses(code)), serve(good)
    messages: list[str] = []
    _, url = fetch(wanted(first, second), tmp_path, report=messages.append)
    assert url == second.url
    assert first.asked == [None]
    assert f"HTTP {code}" in messages[0]


def test_busy_server_is_asked_again(serve, tmp_path: Path) -> None:
    server = serve(
        lambda handler, start: handler.refuse(503) if len(handler.server.asked) < 3 else good(handler, start)
    )
    fetch(wanted(server), tmp_path)
    assert server.asked == [None, None, None]


def corrupted(handler: Handler, start: int | None) -> None:
    content = bytearray(handler.server.content)
    content[350_000] ^= 1
    handler.give(bytes(content), start)


def truncated(handler: Handler, start: int | None) -> None:
    handler.give(handler.server.content[:-5000], start)


def web_page(handler: Handler, start: int | None) -> None:
    handler.give(b"<html>Please log in</html>", None, kind="text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("behaviour", "size", "sha256", "words"),
    [
        (corrupted, SIZE, SHA256, "gave a file with sha256"),
        (corrupted, None, SHA256, "gave a file with sha256"),
        (corrupted, SIZE, None, "checksum of .* does not fit"),
        (truncated, SIZE, SHA256, f"offers {SIZE - 5000} bytes instead of {SIZE}"),
        (truncated, None, SHA256, "gave a file with sha256"),
        (truncated, None, None, "is truncated or damaged"),
        (web_page, SIZE, SHA256, "web page"),
        (refuses(403), SIZE, SHA256, "HTTP 403"),
        (refuses(500), SIZE, SHA256, "HTTP 500 .*3 times in a row"),
        (drops_after(0), SIZE, SHA256, "connection closed after 0 of"),
    ],
)
def test_useless_mirror_is_named_and_leaves_nothing_final(
    serve, tmp_path: Path, behaviour: Behaviour, size: int | None, sha256: str | None, words: str
) -> None:
    bad = serve(behaviour)
    with pytest.raises(WeightsError, match=words) as caught:
        fetch(wanted(bad, size=size, sha256=sha256), tmp_path)
    assert "127.0.0.1" in caught.value.message
    assert not (tmp_path / "weights.pth").exists()
    fetch(wanted(bad, serve(good), size=size, sha256=sha256), tmp_path)
    assert only_file(tmp_path) == CONTENT


def test_bytes_of_another_mirror_are_kept_only_under_a_known_hash(serve, tmp_path: Path) -> None:
    broken, other = serve(drops_after(300_000)), serve(good)
    broken.behaviour = lambda handler, start: (
        drops_after(300_000)(handler, start) if start is None else handler.refuse(404)
    )
    fetch(wanted(broken, other, sha256=None), tmp_path)
    assert other.asked == [None]
    (tmp_path / "weights.pth").unlink()
    fetch(wanted(broken, other), tmp_path)
    assert other.asked == [None, 300_000]


def test_complete_part_is_recognised(serve, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    server = serve(lambda handler, start: handler.refuse(416, Content_Range=f"bytes */{SIZE}"))
    fetch(wanted(server, size=None), tmp_path)
    assert only_file(tmp_path) == CONTENT


def test_part_of_something_longer_is_thrown_away(serve, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT + b"more")
    server = serve(
        lambda handler, start: handler.refuse(416, Content_Range=f"bytes */{SIZE}") if start else good(handler, start)
    )
    fetch(wanted(server, size=None), tmp_path)
    assert only_file(tmp_path) == CONTENT


def test_too_little_room_is_said_before_fetching(serve, tmp_path: Path) -> None:
    server = serve(good)
    with pytest.raises(RnafmError, match="bytes are needed"):
        fetch(wanted(server, size=1 << 60), tmp_path)
    assert server.asked == []


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """``registered(*servers)`` makes the small fixture a registered model that can be pulled."""
    monkeypatch.setenv("RNAFM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(config.ENCODER_PRESETS, "small", EncoderConfig(layers=3, width=64, heads=4, ffn=128))

    def register(*urls: str) -> None:
        download = Download(file_name="weights.pth", urls=urls, size=SIZE)
        spec = ModelSpec(preset="small", components={"encoder": "small-fm"}, licence="MIT", download=download)
        monkeypatch.setitem(registry.MODELS, "small-fm", spec)

    return register


def test_pull_converts_and_records_where_from(serve, tmp_path: Path, registered) -> None:
    server = serve(good)
    registered(server.url)
    path, card = pull_model("small-fm")
    assert path == tmp_path / "home" / "small-fm.safetensors"
    assert card.source["url"] == server.url
    assert card.source["sha256"] == SHA256
    assert card.source["licence"] == "MIT"
    assert load_encoder("small-fm")[0].config.layers == 3
    assert sorted(p.name for p in path.parent.iterdir()) == ["small-fm.json", "small-fm.safetensors"]
    with pytest.raises(UsageError, match="--force"):
        pull_model("small-fm")
    assert pull_model("small-fm", force=True, mask_row="keep")[1].mask_row == "keep"


def test_pull_without_network_says_exactly_what_to_do(tmp_path: Path, registered) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/weights.pth"
        registered(address, "http://no-such-host.invalid/weights.pth")
        with pytest.raises(WeightsError) as caught:
            pull_model("small-fm")
    assert caught.value.exit_code == 4
    message = str(caught.value)
    assert "no connection" in message
    assert address in message
    assert "http://no-such-host.invalid/weights.pth" in message
    assert f"fetch weights.pth ({SIZE:,} bytes)" in message
    assert message.endswith("rnafm weights import weights.pth --name small-fm")


def test_pull_of_a_wrong_model_leaves_nothing(serve, tmp_path: Path, registered, monkeypatch) -> None:
    registered(serve(good).url)
    spec = dataclasses.replace(registry.MODELS["small-fm"], preset="rna-fm")
    monkeypatch.setitem(registry.MODELS, "small-fm", spec)
    with pytest.raises(WeightsError, match="is not small-fm"):
        pull_model("small-fm")
    assert [p for p in (tmp_path / "home").rglob("*") if p.is_file()] == []


def test_pull_of_unknown_and_shipped_models() -> None:
    with pytest.raises(WeightsError, match="did you mean rna-fm"):
        pull_model("rna-fmm")
    with pytest.raises(UsageError, match="ships with rnafm"):
        pull_model("rnafm-mini")
