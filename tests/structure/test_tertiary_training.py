"""Tiny real runs of contact and distance heads: they learn, resume to the bit, and leave heads and tables."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.made_chains import chain_file, made_chains
from support.tertiary_models import codon_model, tiny_model, tiny_pair
from torch import Tensor

from rnafm_cli.errors import ConfigError, UsageError, WeightsError, raise_rejected
from rnafm_cli.rna.chains import Chain
from rnafm_cli.structure.batches import Example, collate_chains
from rnafm_cli.structure.cross_validation import HEAD_FILE, TertiaryOutcome, run_tertiary
from rnafm_cli.structure.fold_task import PairRun
from rnafm_cli.structure.map_files import read_maps
from rnafm_cli.structure.pair import Guide, PairHead
from rnafm_cli.structure.prior_cache import PriorCache
from rnafm_cli.structure.tertiary_data import ChainSet, chains_sha256
from rnafm_cli.structure.tertiary_head import TertiaryConfig, TertiaryHead
from rnafm_cli.structure.tertiary_task import TertiaryTask
from rnafm_cli.training.recipes import ChainVariation, TertiaryRecipe, recipe_from_dict
from rnafm_cli.training.trainer import Trainer
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import load_model_file, save_model_file

pytest.importorskip("RNA")
torch.set_num_threads(1)

SMALL: dict[str, dict[str, object]] = {
    "trunk": {"width": 8, "channels": 8, "blocks": 2, "heads": 2, "fine": 4, "axial_every": 2},
    "map": {"channels": 8, "blocks": 1, "fine": 4},
    "data": {"folds": 3},
    "sampling": {"pair_budget": 8000, "round_size": 8, "crop": 32},
    "optim": {"steps": 6, "warmup": 2, "average": 0.5},
    "run": {"bf16": False, "log_steps": 1},
}
PAIR = tiny_pair(("sequence", "prior"))


def recipe(**changes: dict[str, object]) -> TertiaryRecipe:
    return recipe_from_dict(
        TertiaryRecipe, {key: {**SMALL.get(key, {}), **changes.get(key, {})} for key in SMALL | changes}
    )


def examples(count: int, tmp_path: Path, *, contacts_only: int = 0) -> list[Example]:
    chains = made_chains(count, contacts_only=contacts_only)
    cache = PriorCache(tmp_path / "prior.h5")
    cache.add_missing(chain.sequence for chain in chains)
    return [Example(c, Guide(c.sequence, prior_LL=cache[c.sequence])) for c in chains]


def trainer(
    recipe: TertiaryRecipe, some: list[Example], folder: Path, *, fold: dict[str, Tensor] | None = None
) -> Trainer:
    card = Card(name="t", kind="contact", config={})
    count = len(some)
    data = ChainSet(tuple(some), np.zeros(count, dtype=np.int64), np.arange(count))
    config = TertiaryConfig(pair=PAIR, **dataclasses.asdict(recipe.map))
    return Trainer(recipe, TertiaryTask(recipe, data, config, fold=fold), folder, card=card)


def rows(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle, delimiter=delimiter))


def test_windows_withheld_inputs_and_padding(tmp_path: Path) -> None:
    some = examples(5, tmp_path, contacts_only=2)
    rng = np.random.default_rng(0)
    variation = ChainVariation(drop_sequence=0.5, drop_prior=0.5)
    batch = collate_chains(some, PAIR, crop=30, rng=rng, variation=variation)
    assert batch.contact_BLL.shape == (5, 30, 30)
    assert batch.inputs.embedding_BLD is None
    shown = torch.stack([batch.inputs.has_sequence_B, batch.inputs.has_prior_B])  # type: ignore[list-item]
    assert shown.any(dim=0).all()
    assert not shown.all()
    assert batch.distance_BLL[3:].isnan().all()
    assert (batch.contact_BLL[3:] >= 0).any()
    for k, example in enumerate(some):
        size = int(batch.inputs.lengths_B[k])
        part = batch.contact_BLL[k, :size, :size]
        assert size == min(30, len(example.chain))
        assert torch.equal(part, part.T)


def test_the_loss_falls(tmp_path: Path) -> None:
    work = trainer(recipe(optim={"steps": 40, "rate": 5e-3}), examples(8, tmp_path), tmp_path / "run")
    assert work.train().finished
    losses = [float(row["loss"]) for row in rows(tmp_path / "run" / "metrics.csv")]
    assert len(losses) == 40
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    some, config = examples(6, tmp_path), recipe()
    whole = trainer(config, some, tmp_path / "whole")
    assert whole.train().finished
    for _ in range(20):
        part = trainer(config, some, tmp_path / "parts")
        if part.train(max_minutes=0).finished:
            break
    assert part.step == whole.step == 6
    for name, value in whole.mean.items():
        assert torch.equal(value, part.mean[name]), name
    assert [row["step"] for row in rows(tmp_path / "parts" / "metrics.csv")] == [str(k) for k in range(1, 7)]


def test_a_checkpoint_of_another_head_is_refused(tmp_path: Path) -> None:
    some = examples(6, tmp_path)
    trainer(recipe(), some, tmp_path / "run").train(max_minutes=0)
    with pytest.raises(ConfigError, match="another head"):
        trainer(recipe(map={"fine": 8}), some, tmp_path / "run").train()
    chain = some[0].chain
    swapped = dataclasses.replace(some[0], chain=dataclasses.replace(chain, sequence=chain.sequence[::-1]))
    with pytest.raises(ConfigError, match="other training chains"):
        trainer(recipe(), [swapped, *some[1:]], tmp_path / "run").train()


def test_chains_are_known_by_their_distances_too() -> None:
    first, *rest = made_chains(3)
    assert first.distance_LL is not None
    moved = dataclasses.replace(first, distance_LL=first.distance_LL + 1)
    assert chains_sha256([first, *rest]) == chains_sha256(made_chains(3)) != chains_sha256([moved, *rest])


def test_a_frozen_pair_head_stays_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(1)
    tensors = PairHead(PAIR).state_dict()
    work = trainer(recipe(optim={"trunk_rate": 0.0}), examples(6, tmp_path), tmp_path / "a", fold=tensors)
    assert work.train().finished
    learned = work.mean_head()[0].state_dict()
    assert all(torch.equal(learned[f"fold.{name}"], value) for name, value in tensors.items())
    moving = trainer(recipe(), examples(6, tmp_path), tmp_path / "b", fold=tensors)
    assert moving.train().finished
    assert not torch.equal(moving.mean["head.fold.letter.weight"], tensors["letter.weight"])


@pytest.mark.parametrize("changes", [{"sampling": {"crop": 2}}, {"data": {"folds": 1}}, {"map": {"channel": 8}}])
def test_recipes_that_make_no_sense(changes: dict[str, dict[str, object]]) -> None:
    with pytest.raises(ConfigError):
        recipe(**changes)


def run(
    folder: Path,
    tmp_path: Path,
    *,
    folds: tuple[int, ...] = (),
    how: TertiaryRecipe | None = None,
    **options: Any,
) -> tuple[TertiaryOutcome, list[str]]:
    told: list[str] = []
    asked = PairRun(output=folder, report=told.append, name="mine", **options)
    return run_tertiary(
        asked, how or recipe(optim={"steps": 3}), [tmp_path / "chains.h5"], reject=raise_rejected, folds=folds
    ), told


def test_a_whole_run_with_an_encoder_and_a_fold_head(tmp_path: Path) -> None:
    chain_file(tmp_path / "chains.h5", made_chains(9, contacts_only=2))
    model = tiny_model(tmp_path, heads=())
    torch.manual_seed(2)
    encoder = load_model_file(model)[1].weights_sha256
    fold = PairHead(tiny_pair())
    card = Card(name="f", kind="fold", config=dataclasses.asdict(fold.config), encoder_sha256=encoder)
    # The start lies in a folder of its own, without the encoder that --model names.
    start = tmp_path / "start" / "tiny-fold.safetensors"
    start.parent.mkdir()
    save_model_file(start, fold.state_dict(), card)
    options = {"model": str(model), "init_from": str(start)}
    folder = tmp_path / "run"

    outcome, told = run(folder, tmp_path, folds=(0, 2), **options)
    assert outcome.finished
    assert outcome.head is None
    assert any("pair probabilities" in line for line in told)
    table = rows(folder / "table.tsv", "\t")
    assert {row["row"] for row in table} == {"pair probabilities", "relatives", "ceiling"}

    before = (folder / "folds" / "0" / HEAD_FILE).stat().st_mtime_ns
    outcome, _ = run(folder, tmp_path, **options)
    assert outcome.finished
    assert (folder / "folds" / "0" / HEAD_FILE).stat().st_mtime_ns == before
    assert {row["row"] for row in rows(folder / "table.tsv", "\t")} >= {"pair probabilities", "head"}
    assert outcome.means["chains_with_distances"] == 7
    maps = read_maps(folder / "held_out.h5", made_chains(9), "contact")
    assert len(maps) == 9

    assert outcome.head is not None
    tensors, made = load_model_file(outcome.head)
    assert (made.kind, made.encoder_sha256) == ("contact", encoder)
    assert made.metrics["cross_validated"]["chains_with_distances"] == 7
    assert made.recipe["step"] == 3
    head = TertiaryHead(TertiaryConfig.from_dict(json.loads(json.dumps(made.config))))
    head.load_state_dict(tensors)


def test_the_trained_pair_head_must_belong_to_the_encoder(tmp_path: Path) -> None:
    chain_file(tmp_path / "chains.h5", made_chains(6))
    model, path = str(tiny_model(tmp_path, heads=())), tmp_path / "f.safetensors"
    for inputs in (("embedding", "sequence", "prior"), ("sequence", "prior", "template")):
        fold = PairHead(tiny_pair(inputs))
        card = Card(name="f", kind="fold", config=dataclasses.asdict(fold.config), encoder_sha256="other")
        save_model_file(path, fold.state_dict(), card)
        if "embedding" in inputs:
            with pytest.raises(WeightsError):
                run(tmp_path / "run", tmp_path, model=model, init_from=str(path))
    # A head that reads no embeddings belongs to every encoder.
    outcome, _ = run(tmp_path / "run", tmp_path, model=model, init_from=str(path))
    assert outcome.finished and outcome.head is not None
    assert load_model_file(outcome.head)[1].config["pair"]["inputs"] == ["sequence", "prior", "template"]


def test_codon_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reads codons"):
        run(tmp_path / "run", tmp_path, model=str(codon_model(tmp_path)))


def test_folds_that_do_not_exist(tmp_path: Path) -> None:
    chain_file(tmp_path / "chains.h5", made_chains(6))
    with pytest.raises(UsageError, match="folds 0 to 2"):
        run(tmp_path / "run", tmp_path, folds=(5,))


def test_chains_too_short_or_unknown_are_left_out(tmp_path: Path) -> None:
    chains = made_chains(7)
    short = Chain("short", "ACGU", np.zeros((4, 4), dtype=np.float32))
    blank = Chain("blank", "A" * 30, contact_LL=np.full((30, 30), -1, dtype=np.int8))
    chain_file(tmp_path / "chains.h5", [*chains, short, blank])
    outcome, told = run(tmp_path / "run", tmp_path, prior=False)
    assert outcome.means["chains"] == 7
    assert "too short or long 1" in told[0]
    assert "nothing known 1" in told[0]


def test_folds_of_another_recipe_or_other_chains_are_not_mixed(tmp_path: Path) -> None:
    chain_file(tmp_path / "chains.h5", made_chains(6))
    options: dict[str, Any] = {"prior": False, "folds": (0,)}
    run(tmp_path / "run", tmp_path, **options)
    with pytest.raises(ConfigError, match="holds a run with another recipe"):
        run(tmp_path / "run", tmp_path, how=recipe(map={"blocks": 2}), **options)
    chain_file(tmp_path / "chains.h5", made_chains(7))
    with pytest.raises(ConfigError, match="holds a run with another chains"):
        run(tmp_path / "run", tmp_path, **options)
