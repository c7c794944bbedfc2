"""Models are found by name, file or hash, and only what fits together is loaded."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.official import import_file
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.model import load_model
from rnafm_cli.weights import registry
from rnafm_cli.weights.cards import Card, card_path, file_sha256
from rnafm_cli.weights.files import save_model_file
from rnafm_cli.weights.store import components, find, load_component, search_dirs, shipped_dir, target_dir

PARITY = Path(__file__).parents[1] / "data" / "parity"
TOKENS = torch.tensor([[0, 4, 5, 6, 7, 2]])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``$RNAFM_HOME`` beside an empty cache."""
    monkeypatch.setenv("RNAFM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "home"


def save_encoder(path: Path, seed: int = 0, **card: str) -> tuple[Encoder, Card]:
    config = ENCODER_PRESETS["rnafm-tiny"]
    torch.manual_seed(seed)
    encoder = Encoder(config).eval()
    made = Card(name=path.stem, kind="encoder", config=dataclasses.asdict(config), **card)
    return encoder, save_model_file(path, encoder.state_dict(), made)


def save_head(path: Path, encoder: Card | None, kind: str = "fold", tensors: dict[str, Tensor] | None = None) -> Card:
    card = Card(name=path.stem, kind=kind, config={}, encoder_sha256=encoder and encoder.weights_sha256)
    return save_model_file(path, tensors or {"weight": torch.arange(4.0)}, card)


def test_saved_encoder_comes_back(home: Path) -> None:
    encoder, card = save_encoder(home / "mine.safetensors")
    found, found_card = load_encoder("mine")
    assert found_card == card
    assert found.config == encoder.config
    assert not found.training
    with torch.no_grad():
        assert torch.equal(found(TOKENS).hidden[2], encoder(TOKENS).hidden[2])
    found(TOKENS).hidden[2].sum().backward()
    assert found.layers[0].qkv.weight.grad is not None


def test_half_precision_encoder_computes_in_float32(home: Path) -> None:
    encoder, _ = save_encoder(home / "mine.safetensors", dtype="float16")
    found, _ = load_encoder("mine")
    assert found.embed.weight.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(found(TOKENS).hidden[2], encoder(TOKENS).hidden[2], atol=2e-2, rtol=0)


def test_search_order(tmp_path: Path, home: Path) -> None:
    folders = search_dirs(tmp_path / "given")
    assert folders == [tmp_path / "given", home, tmp_path / "cache" / "rnafm", shipped_dir()]
    assert target_dir(tmp_path / "given") == tmp_path / "given"
    assert target_dir() == home
    for seed, folder in reversed(list(enumerate(folders[:3]))):
        _, card = save_encoder(folder / "mine.safetensors", seed=seed)
        assert load_encoder("mine", weights_dir=tmp_path / "given")[1].weights_sha256 == card.weights_sha256
        assert find("mine", weights_dir=tmp_path / "given").parent == folder


def test_without_home_the_cache_is_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNAFM_HOME")
    assert target_dir() == tmp_path / "cache" / "rnafm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert target_dir() == Path.home() / ".cache" / "rnafm"


def test_shipped_folder_of_a_checkout_and_of_a_wheel(tmp_path: Path) -> None:
    package = Path(find.__code__.co_filename).parents[1]
    assert shipped_dir() in (package / "weights", package.parent / "weights")
    assert shipped_dir().is_dir()


def test_head_beside_its_encoder_by_name_file_and_hash(tmp_path: Path, home: Path) -> None:
    _, encoder = save_encoder(home / "mine.safetensors")
    head = save_head(home / "mine-fold.safetensors", encoder)
    tensors, card = load_component("mine", "fold")
    assert card == head
    assert torch.equal(tensors["weight"], torch.arange(4.0))
    by_file = load_component(str(home / "mine.safetensors"), "fold")
    assert by_file[1] == head

    elsewhere = tmp_path / "elsewhere" / "trained.safetensors"
    other = save_head(elsewhere, encoder, tensors={"weight": torch.ones(2)})
    assert load_component(str(elsewhere), "fold")[1] == other
    assert load_encoder(str(elsewhere))[1] == encoder
    assert find(elsewhere, component="encoder") == home / "mine.safetensors"


def test_encoder_file_finds_the_one_head_trained_on_it(home: Path) -> None:
    _, encoder = save_encoder(home / "mine.safetensors")
    head = save_head(home / "run7.safetensors", encoder)
    assert load_component("mine", "fold")[1] == head
    save_head(home / "run8.safetensors", encoder, tensors={"weight": torch.ones(1)})
    with pytest.raises(WeightsError, match="several fold heads"):
        load_component("mine", "fold")
    with pytest.raises(WeightsError, match="no contact head trained on it"):
        load_component("mine", "contact")


def test_head_that_carries_its_encoder(home: Path) -> None:
    encoder, card = save_encoder(home / "base.safetensors")
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    whole = Card(name="tuned", kind="fold", config={"encoder": card.config}, encoder_sha256=card.weights_sha256)
    save_model_file(home / "tuned.safetensors", tensors | {"head.weight": torch.ones(3)}, whole)
    (home / "base.safetensors").unlink()
    found, found_card = load_encoder("tuned")
    assert found_card.name == "tuned"
    assert torch.equal(found.embed.weight, encoder.embed.weight)
    head, _ = load_component("tuned", "fold")
    assert list(head) == ["weight"]


def test_each_head_gets_the_encoder_it_was_trained_with(home: Path) -> None:
    base, card = save_encoder(home / "mine.safetensors")
    tuned, _ = save_encoder(home / "other.safetensors", seed=1)
    (home / "other.safetensors").unlink()
    whole = Card(name="mine-fold", kind="fold", config={"encoder": card.config})
    tensors = {f"encoder.{name}": tensor for name, tensor in tuned.state_dict().items()}
    save_model_file(home / "mine-fold.safetensors", tensors | {"head.weight": torch.ones(3)}, whole)
    save_head(home / "mine-contact.safetensors", card, kind="contact")
    model = load_model("mine")
    assert torch.equal(model.encoder_for("fold").embed.weight, tuned.embed.weight)
    assert torch.equal(model.encoder_for("contact").embed.weight, base.embed.weight)
    assert model.encoder_for("contact") is model.encoder


def test_a_head_without_an_encoder_goes_with_any(home: Path) -> None:
    save_encoder(home / "mine.safetensors")
    save_head(home / "mine-rbp.safetensors", None, kind="rbp")
    for name in ("mine", home / "mine-rbp.safetensors"):
        assert list(load_component(name, "rbp")[0]) == ["weight"]
    with pytest.raises(WeightsError, match="mine-rbp.safetensors: is of kind rbp, and holds and reads no encoder"):
        find(home / "mine-rbp.safetensors")


def test_imported_structure_file_is_encoder_and_head(home: Path) -> None:
    path, card = import_file(PARITY / "rnafm_resnet_random_small.pth", name="official")
    assert path == home / "official.safetensors"
    encoder, _ = load_encoder("official")
    head, head_card = load_component("official", "fold")
    assert encoder.config.layers == 12
    assert head_card == card
    assert head["last.weight"].shape == (1, 64, 3, 3)
    assert not any(name.startswith("encoder") for name in head)
    with pytest.raises(WeightsError, match="is of kind fold-resnet, not contact"):
        load_component("official", "contact")


def test_head_of_another_encoder_is_refused(home: Path) -> None:
    _, encoder = save_encoder(home / "mine.safetensors")
    save_head(home / "mine-fold.safetensors", encoder)
    save_encoder(home / "mine.safetensors", seed=1)
    with pytest.raises(WeightsError, match="was trained on the encoder with sha256") as caught:
        load_component("mine", "fold")
    assert caught.value.exit_code == 4
    with pytest.raises(WeightsError, match="its encoder .* is not on this machine"):
        load_encoder(str(home / "mine-fold.safetensors"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rnafm-mimi", "did you mean rnafm-mini"),
        ("rna-fm", "rnafm weights pull rna-fm"),
        ("no/such/file.safetensors", "no such file"),
        ("nothing-like-it.safetensors", "no such file"),
        (str(PARITY / "rnafm_random_small.pth"), "rnafm weights import"),
        (__file__, "they end in .safetensors"),
        (str(PARITY / "mm_rnafm_random_small" / "model.safetensors"), "has no card model.json"),
    ],
)
def test_what_cannot_be_found_says_what_to_do(name: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words) as caught:
        load_encoder(name)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_model_without_the_head_names_those_that_have_it() -> None:
    words = "rna-fm has no fold component.*rnafm-mini or rnafm-mini-pdb or rna-fm-ss-bprna"
    with pytest.raises(WeightsError, match=words):
        load_component("rna-fm", "fold")


def test_card_and_tensors_that_do_not_fit(home: Path) -> None:
    encoder, card = save_encoder(home / "mine.safetensors")
    path = home / "mine.safetensors"
    for config, words in (
        (card.config | {"layers": 3}, "do not fit its card: Missing key"),
        (card.config | {"depth": 3}, "no usable encoder configuration"),
        (card.config | {"heads": 5}, "no usable encoder configuration"),
    ):
        card_path(path).write_text(json.dumps(json.loads(card_path(path).read_text()) | {"config": config}))
        with pytest.raises(WeightsError, match=words):
            load_encoder("mine")


def test_import_keeps_own_files_as_they_are(tmp_path: Path, home: Path) -> None:
    _, encoder = save_encoder(tmp_path / "trained.safetensors")
    path, card = import_file(tmp_path / "trained.safetensors", name="mine")
    assert file_sha256(path) == encoder.weights_sha256
    assert card.name == "mine"
    assert load_encoder("mine")[1] == card


def test_import_never_overwrites_unasked(home: Path) -> None:
    import_file(PARITY / "rnafm_random_small.pth", name="small")
    before = (home / "small.safetensors").read_bytes()
    with pytest.raises(UsageError, match="--force"):
        import_file(PARITY / "rnafm_random_small.pth", name="small", mask_row="keep")
    assert (home / "small.safetensors").read_bytes() == before
    import_file(PARITY / "rnafm_random_small.pth", name="small", mask_row="keep", force=True)
    assert (home / "small.safetensors").read_bytes() != before


def test_import_under_names_that_are_taken_or_unfit() -> None:
    small = PARITY / "rnafm_random_small.pth"
    with pytest.raises(WeightsError, match="is not rna-fm: .* 3 layers of 64"):
        import_file(small, name="rna-fm")
    with pytest.raises(UsageError, match="ships with rnafm"):
        import_file(small, name="rnafm-mini")
    for name in ("", "../evil", "a/b", "x.safetensors", "-x"):
        with pytest.raises(UsageError, match="cannot be a model's name"):
            import_file(small, name=name)


def test_full_size_model_is_taken_under_its_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ENCODER_PRESETS["rnafm-tiny"]
    spec = dataclasses.replace(registry.MODELS["rna-fm"], preset="rnafm-tiny", components={"encoder": "tiny-fm"})
    monkeypatch.setitem(registry.MODELS, "tiny-fm", spec)
    save_encoder(home / "trained.safetensors")
    _, card = import_file(home / "trained.safetensors", name="tiny-fm")
    assert load_encoder("tiny-fm")[0].config == config
    assert card.name == "tiny-fm"


def test_inventory_tells_states(home: Path) -> None:
    _, encoder = save_encoder(home / "mine.safetensors")
    save_head(home / "mine-fold.safetensors", encoder)
    import_file(PARITY / "rnafm_resnet_random_small.pth", name="official")
    save_encoder(home / "cut.safetensors")
    (home / "cut.safetensors").write_bytes(b"short")
    shutil.copy(home / "mine.safetensors", home / "bare.safetensors")
    found = {(e.name, e.component): e for e in components()}
    assert found["rna-fm", "encoder"].state == "missing"
    assert found["mine", "encoder"].state == "installed"
    assert found["mine-fold", "fold"].kind == "fold"
    assert found["official", "encoder"].path == found["official", "fold"].path == home / "official.safetensors"
    assert {e.state for e in found.values() if e.name in ("cut", "bare")} == {"damaged"}
    assert found["mine", "encoder"].size == encoder.weights_bytes
