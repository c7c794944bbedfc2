"""``rnafm finetune fold`` from files: which encoders and starting heads it takes, and what it leaves behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from support.tertiary_models import codon_model, tiny_model, tiny_pair, tiny_section

from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.structure.fold_task import PairRun, run_fold
from rnafm_cli.structure.pair import PairHead
from rnafm_cli.training.recipes import FoldRecipe, recipe_from_dict
from rnafm_cli.training.trainer import Outcome
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import load_model_file, save_model_file
from rnafm_cli.weights.store import find

pytest.importorskip("RNA")
torch.set_num_threads(1)

STEM = "GGCAC{loop}GUGCC"
PAIRS = "(((((....)))))"


def table(path: Path, loops: str) -> Path:
    """Hairpins with a loop of four of the given letters each."""
    lines = ["name\tfamily\tsequence\tpairs"]
    lines += [f"h{k}\t-\t{STEM.format(loop=letter * 4)}\t{PAIRS}" for k, letter in enumerate(loops)]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(folder: Path, model: Path, start: Path | None = None) -> tuple[Outcome, list[str]]:
    values = {
        "head": tiny_section(),
        "sampling": {"round_size": 8},
        "optim": {"steps": 2, "warmup": 1},
        "run": {"bf16": False, "score_steps": 2},
    }
    told: list[str] = []
    asked = PairRun(
        output=folder / "run",
        report=told.append,
        model=str(model),
        init_from=None if start is None else str(start),
    )
    train, dev = table(folder / "train.tsv", "AC"), table(folder / "dev.tsv", "U")
    return run_fold(asked, recipe_from_dict(FoldRecipe, values), [train], dev=[dev]), told


def test_the_card_names_the_encoder_and_the_data(tmp_path: Path) -> None:
    model = tiny_model(tmp_path, heads=())
    outcome, told = run(tmp_path, model)
    assert outcome.finished and outcome.step == 2
    card = load_model_file(outcome.best_file)[1]
    assert card.encoder_sha256 == load_model_file(model)[1].weights_sha256
    assert (card.source["train"], card.source["dev"]) == (["train.tsv"], ["dev.tsv"])
    assert any(line.startswith("training records: ") for line in told)


def test_a_head_finds_its_encoder_where_it_lay(tmp_path: Path) -> None:
    model = tiny_model(tmp_path, heads=())
    outcome, _ = run(tmp_path, model)
    assert find(outcome.best_file) == model
    for file in (model, model.with_suffix(".json")):
        file.rename(tmp_path / "run" / f"moved{file.suffix}")
    assert find(outcome.best_file).name == "moved.safetensors"
    (tmp_path / "run" / "moved.safetensors").unlink()
    with pytest.raises(WeightsError, match=f"copy {model.name} and its card into the same folder"):
        find(outcome.best_file)


def test_a_start_needs_no_encoder_of_its_own(tmp_path: Path) -> None:
    head = PairHead(tiny_pair())
    start = tmp_path / "elsewhere" / "start.safetensors"
    start.parent.mkdir()
    card = Card(name="start", kind="fold", config=dataclasses.asdict(head.config), encoder_sha256="of another encoder")
    save_model_file(start, head.state_dict(), card)
    _, told = run(tmp_path, tiny_model(tmp_path, heads=()), start)
    assert f"starting from {len(head.state_dict())} tensors of another head" in told


def test_a_start_must_be_a_fold_head(tmp_path: Path) -> None:
    model = tiny_model(tmp_path, heads=("contact",))
    with pytest.raises(WeightsError, match="contact"):
        run(tmp_path, model, tmp_path / "tiny-contact.safetensors")


def test_codon_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reads codons"):
        run(tmp_path, codon_model(tmp_path))
