"""``rnafm weights``: tables on stdout, words on stderr, and errors with their exit codes."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from rnafm_cli.cli import weights
from rnafm_cli.cli.app import app
from rnafm_cli.cli.console import console
from rnafm_cli.encoder.config import ENCODER_PRESETS, EncoderConfig
from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.errors import RnafmError, UsageError, WeightsError
from rnafm_cli.weights.cards import read_card
from rnafm_cli.weights.foreign import read_foreign
from rnafm_cli.weights.registry import MODELS, Download, ModelSpec

PARITY = Path(__file__).parents[1] / "data" / "parity"
SMALL = PARITY / "rnafm_random_small.pth"
TRAINLIKE = PARITY / "rnafm_random_small_trainlike.pth"

program = typer.Typer()
program.add_typer(weights.app, name="weights")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNAFM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RNAFM_WEIGHTS_DIR", raising=False)
    monkeypatch.setattr(console, "quiet", False)
    return tmp_path / "home"


def run(*arguments: str | Path) -> list[list[str]]:
    """Cells of the lines that a successful command prints to stdout."""
    result = CliRunner().invoke(program, ["weights", *map(str, arguments)])
    assert result.exception is None, result.exception
    return [line.split("\t") for line in result.stdout.splitlines()]


def failure(*arguments: str | Path) -> RnafmError:
    result = CliRunner().invoke(program, ["weights", *map(str, arguments)])
    assert isinstance(result.exception, RnafmError), result.output
    return result.exception


def stderr(*arguments: str | Path) -> str:
    return CliRunner().invoke(program, ["weights", *map(str, arguments)]).stderr


def test_list_shows_known_and_imported_models(home: Path) -> None:
    run("import", SMALL, "--name", "small")
    header, *rows = run("list")
    assert header == ["name", "component", "kind", "state", "size", "path"]
    table = {(row[0], row[1]): row[2:] for row in rows}
    assert table["rna-fm", "encoder"] == ["-", "missing", "-", "-"]
    path = home / "small.safetensors"
    assert table["small", "encoder"] == ["encoder", "installed", str(path.stat().st_size), str(path)]


def test_where_tells_folders(home: Path, tmp_path: Path) -> None:
    assert [row[0] for row in run("where")][:2] == [str(home), str(tmp_path / "cache" / "rnafm")]
    given = tmp_path / "given"
    assert run("where", "--weights-dir", given)[0] == [str(given), "not there"]


def test_import_prints_the_path_and_tells_choices(home: Path) -> None:
    assert run("import", TRAINLIKE, "--name", "small") == [[str(home / "small.safetensors")]]
    words = stderr("import", TRAINLIKE, "--name", "kept", "--mask-row", "keep")
    assert "last_optimizer_state" in words
    assert "contact_head.regression.weight" in words
    assert "row of <mask>: as in the file (--mask-row keep)" in words
    assert "--model kept" in words
    assert stderr("import", TRAINLIKE, "--name", "quiet", "--quiet") == ""


def test_published_files_know_their_names(home: Path, tmp_path: Path) -> None:
    published = tmp_path / "RNA-FM-ResNet_bpRNA.pth"
    published.write_bytes((PARITY / "rnafm_resnet_random_small.pth").read_bytes())
    # The fixture is small, and what becomes rna-fm-ss-bprna has to have its size.
    assert "where rna-fm-ss-bprna is fold-resnet" in str(failure("import", published))
    error = failure("import", SMALL)
    assert isinstance(error, UsageError) and "--name" in str(error.hint)


def test_import_options(home: Path) -> None:
    resnet = PARITY / "rnafm_resnet_random_small.pth"
    run("import", resnet, "--name", "part", "--kind", "encoder")
    assert [row[1:3] for row in run("list") if row[0] == "part"] == [["encoder", "encoder"]]
    run("import", resnet, "--name", "both")
    assert [row[1:3] for row in run("list") if row[0] == "both"] == [
        ["encoder", "fold-resnet"],
        ["fold", "fold-resnet"],
    ]
    assert isinstance(failure("import", SMALL, "--name", "both"), UsageError)
    run("import", SMALL, "--name", "both", "--force")
    assert "has 4 attention heads, not 8" in str(failure("import", SMALL, "--name", "x", "--heads", "8"))


def test_verify_finds_the_altered_file(home: Path) -> None:
    run("import", SMALL, "--name", "first")
    run("import", TRAINLIKE, "--name", "second")
    assert [row[1] for row in run("verify", "first", "second")] == ["ok", "ok"]
    path = home / "second.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    result = CliRunner().invoke(program, ["weights", "verify"])
    states = dict(line.split("\t")[:2] for line in result.stdout.splitlines())
    assert states[str(home / "first.safetensors")] == "ok"
    assert states[str(path)] == "damaged"
    assert "is altered" in result.stderr
    assert isinstance(result.exception, WeightsError)
    assert result.exception.exit_code == 4
    assert run("verify", home / "first.safetensors")[0][1] == "ok"
    assert "did you mean first" in str(failure("verify", "frist"))


def test_pull_fetches_converts_and_prints_the_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(ENCODER_PRESETS, "small", EncoderConfig(layers=3, width=64, heads=4, ffn=128))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=PARITY))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}/"

    def publish(name: str) -> None:
        download = Download(file_name="weights.pth", urls=(address + name,), size=SMALL.stat().st_size)
        spec = ModelSpec(preset="small", components={"encoder": "small-fm"}, licence="MIT", download=download)
        monkeypatch.setitem(MODELS, "small-fm", spec)

    try:
        publish("gone.pth")
        refused = failure("pull", "small-fm")
        assert "HTTP 404" in str(refused)
        assert "rnafm weights import weights.pth --name small-fm" in str(refused)
        publish(SMALL.name)
        assert run("pull", "small-fm") == [[str(home / "small-fm.safetensors")]]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [row[3] for row in run("list") if row[0] == "small-fm"] == ["installed"]


def test_pull_refuses_what_it_cannot_do() -> None:
    assert isinstance(failure("pull", "rnafm-mini"), UsageError)
    assert "did you mean rna-fm" in str(failure("pull", "rna-fmm"))


@pytest.mark.parametrize("arguments", [["import"], ["pull"], ["import", SMALL, "--mask-row", "maybe"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(program, ["weights", *map(str, arguments)]).exit_code == 2


def test_every_subcommand_explains_itself() -> None:
    for name in ("list", "where", "verify", "pull", "import"):
        result = CliRunner().invoke(program, ["weights", name, "--help"])
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) > 8


def test_average_wants_two_files_and_a_free_name(home: Path, tmp_path: Path) -> None:
    run("import", SMALL, "--name", "small")
    model, mean = home / "small.safetensors", tmp_path / "mean.safetensors"
    assert run("average", model, model, "-o", mean) == [[str(mean)]]
    assert run("verify", "small")[0][1] == "ok" and read_card(mean).name == "mean"
    assert "its own mean" in str(failure("average", model, "-o", mean, "--force"))
    refused = CliRunner().invoke(app, ["weights", "average", str(model), str(model), "-o", str(mean)])
    assert refused.exit_code == 2 and "mean.safetensors: exists; --force replaces it" in refused.stderr


def test_an_encoder_beside_heads_of_ones_own(home: Path, tmp_path: Path) -> None:
    tensors = read_foreign(SMALL).tensors
    torch.save({**tensors, "classifier.weight": torch.ones(2, 4)}, tmp_path / "mine.pth")
    given = ("import", tmp_path / "mine.pth", "--name", "mine", "--heads", "4")
    assert "unexpected classifier.weight; --kind encoder" in str(failure(*given))
    assert "classifier.weight" in stderr(*given, "--kind", "encoder").split("left out: ")[1]


def test_multimolecules_first_vocabulary(home: Path, tmp_path: Path) -> None:
    """Its 26 rows end in . X * - I where today's 28 end in I X | . * - ?; ours have no other of them than the gap."""
    source = PARITY / "mm_rnafm_random_small"
    tensors = load_file(source / "model.safetensors")
    now, then = "ACGUNRYSWKMBDHVIX|.*-?", "ACGUNRYSWKMBDHV.X*-I"
    rows = [*range(6), *(6 + now.index(letter) for letter in then)]
    for name, tensor in tensors.items():
        if tensor.shape[0] == 28:
            tensors[name] = tensor[rows].clone()
    (tmp_path / "old").mkdir()
    save_file(tensors, tmp_path / "old" / "model.safetensors")
    (tmp_path / "old" / "config.json").write_bytes((source / "config.json").read_bytes())
    run("import", source / "model.safetensors", "--name", "now")
    run("import", tmp_path / "old" / "model.safetensors", "--name", "then")
    now_bytes, then_bytes = ((home / f"{name}.safetensors").read_bytes() for name in ("now", "then"))
    assert now_bytes == then_bytes


def test_a_card_knows_the_name(home: Path, tmp_path: Path) -> None:
    run("import", SMALL, "--name", "kept")
    path = home / "kept.safetensors"
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"moved{suffix}").write_bytes(path.with_suffix(suffix).read_bytes())
    run("import", tmp_path / "moved.safetensors", "--force")
    assert "kept" in {row[0] for row in run("list")}
    (tmp_path / "moved.json").unlink()
    for arguments in (["verify"], ["import"], ["import", "--name", "other"]):
        refused = str(failure(*arguments, tmp_path / "moved.safetensors"))
        assert "copy the card that belongs to it there" in refused
    for missing in ("none.pth", "none.safetensors"):
        assert "no such file" in str(failure("import", tmp_path / missing))


def test_the_encoder_of_a_model_of_ones_own(home: Path) -> None:
    run("import", PARITY / "rnafm_resnet_random_small.pth", "--name", "both")
    run("import", home / "both.safetensors", "--name", "part", "--kind", "encoder")
    card, tensors = read_card(home / "part.safetensors"), load_file(home / "part.safetensors")
    whole = load_file(home / "both.safetensors")
    assert card.kind == "encoder" and card.source["taken_from"] == read_card(home / "both.safetensors").weights_sha256
    assert all(torch.equal(value, whole[f"encoder.{key}"]) for key, value in tensors.items())
    assert load_encoder("part")[0].config.layers == 12
