"""Model files: what is written is what is read, and damage never gets in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rnafm_cli.errors import WeightsError
from rnafm_cli.weights.cards import Card, card_path, file_sha256
from rnafm_cli.weights.files import copy_model_file, load_model_file, save_model_file


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    values = torch.linspace(-3, 3, 24).reshape(4, 6)
    return {"encoder.a": values, "head.b": values.T, "head.steps": torch.tensor(7)}


CARD = Card(name="some", kind="fold", config={"width": 6}, metrics={"dev": {"f1": 0.5}}, notes="a note")


def test_round_trip_keeps_tensors_and_card(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = tmp_path / "deeper" / "some.safetensors"
    written = save_model_file(path, tensors, CARD)
    assert written.weights_sha256 == file_sha256(path)
    found, card = load_model_file(path)
    assert card == written
    assert card.metrics == {"dev": {"f1": 0.5}}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert sorted(p.name for p in path.parent.iterdir()) == ["some.json", "some.safetensors"]


def test_others_may_read_what_they_may_read_elsewhere(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    (tmp_path / "plain").touch()
    save_model_file(tmp_path / "some.safetensors", tensors, CARD)
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["some.safetensors"] == modes["some.json"] == modes["plain"]


def test_same_tensors_give_the_same_bytes(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    first = save_model_file(tmp_path / "a.safetensors", tensors, CARD)
    second = save_model_file(tmp_path / "b.safetensors", dict(reversed(tensors.items())), CARD)
    assert first.weights_sha256 == second.weights_sha256


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_stored_and_float32_loaded(tmp_path: Path, tensors: dict[str, Tensor], dtype: str) -> None:
    full = save_model_file(tmp_path / "full.safetensors", tensors, CARD)
    half_card = Card(name="half", kind="fold", config={}, dtype=dtype)
    half = save_model_file(tmp_path / "half.safetensors", tensors, half_card)
    assert half.weights_bytes < full.weights_bytes
    found, _ = load_model_file(tmp_path / "half.safetensors")
    assert found["head.b"].dtype == torch.float32
    assert found["head.steps"].item() == 7
    torch.testing.assert_close(found["head.b"], tensors["head.b"], atol=2e-2, rtol=0)


def test_what_overflows_half_precision_is_stored_whole(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path, card = tmp_path / "half.safetensors", Card(name="half", kind="rbp", config={}, dtype="float16")
    assert save_model_file(path, tensors | {"reduction": torch.tensor([95_088.0])}, card).dtype == "float32"
    assert load_model_file(path)[0]["reduction"].item() == 95_088.0


def test_no_file_holds_what_is_no_number(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = tmp_path / "bad.safetensors"
    for value in (float("nan"), float("inf")):
        with pytest.raises(WeightsError, match="head.c holds values that are no finite"):
            save_model_file(path, tensors | {"head.c": torch.tensor([1.0, value])}, CARD)
        assert list(tmp_path.iterdir()) == []


def test_prefix_selects_and_is_cut(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_model_file(tmp_path / "some.safetensors", tensors, CARD)
    found, _ = load_model_file(tmp_path / "some.safetensors", prefix="encoder.")
    assert list(found) == ["a"]


def test_loaded_tensors_outlive_the_file(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = tmp_path / "some.safetensors"
    save_model_file(path, tensors, CARD)
    found, _ = load_model_file(path)
    with path.open("r+b") as handle:
        handle.truncate(0)
    assert torch.equal(found["head.b"], tensors["head.b"])


def test_copy_keeps_the_bytes(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    written = save_model_file(tmp_path / "some.safetensors", tensors, CARD)
    copied = copy_model_file(tmp_path / "some.safetensors", tmp_path / "there" / "other.safetensors", name="other")
    assert copied.name == "other"
    assert copied.weights_sha256 == written.weights_sha256
    assert load_model_file(tmp_path / "there" / "other.safetensors")[1] == copied


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _edit_card(path: Path, **values: object) -> None:
    card = json.loads(card_path(path).read_text())
    card_path(path).write_text(json.dumps({key: value for key, value in (card | values).items() if value is not None}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "is truncated"),
        (_alter, "is altered"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: card_path(path).unlink(), "has no card some.json"),
        (lambda path: card_path(path).write_text("{"), "cannot be read as a model card"),
        (lambda path: card_path(path).write_text('{"model_type": "rnafm"}'), "is not a card of an rnafm model"),
        (lambda path: _edit_card(path, format_version=99), "format version 99"),
        (lambda path: _edit_card(path, kind=None), "lacks a field"),
        (lambda path: _edit_card(path, weights_sha256="0" * 64), "is altered"),
    ],
)
def test_damage_is_one_clear_line(tmp_path: Path, tensors: dict[str, Tensor], damage, words: str) -> None:
    path = tmp_path / "some.safetensors"
    save_model_file(path, tensors, CARD)
    damage(path)
    with pytest.raises(WeightsError, match=words) as caught:
        load_model_file(path)
    assert caught.value.exit_code == 4
    assert str(tmp_path) in caught.value.message
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = tmp_path / "some.safetensors"
    save_model_file(path, tensors, CARD)
    unwritable = Card(name="some", kind="fold", config={"steps": object()})
    with pytest.raises(TypeError):
        save_model_file(path, {"other": torch.zeros(3)}, unwritable)
    assert load_model_file(path)[0].keys() == tensors.keys()
    assert not list(tmp_path.glob("*.tmp"))
