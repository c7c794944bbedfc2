"""Tiny real runs of the fold head: it learns, resumes to the bit, and leaves a model file that loads."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.errors import ConfigError, InputError, UsageError, WeightsError
from rnafm_cli.rna.pairs import as_pairs
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.fold_data import FoldData, assemble
from rnafm_cli.structure.fold_task import FoldTask, begin_fold_from, head_config, with_steps
from rnafm_cli.structure.pair import INPUTS, PairConfig, PairHead
from rnafm_cli.structure.prior_cache import PriorCache
from rnafm_cli.training.optimizers import rate_at
from rnafm_cli.training.recipes import FoldRecipe, load_recipe, recipe_from_dict
from rnafm_cli.training.trainer import CHECKPOINT, Outcome, Trainer
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import load_model_file

pytest.importorskip("RNA")

SMALL = {
    "head": {
        "width": 8,
        "mixer_width": 16,
        "mixer_layers": 1,
        "channels": 8,
        "blocks": 2,
        "heads": 2,
        "fine": 4,
        "axial_every": 2,
        "dropout": 0.1,
    },
    "sampling": {"pair_budget": 8000, "round_size": 16},
    "optim": {"rate": 3e-3, "steps": 6, "warmup": 2, "average": 0.5},
    "run": {"bf16": False, "log_steps": 1, "score_steps": 100, "score_records": 4},
}


def hairpins(count: int) -> list[StructureRecord]:
    """Random stems that thermodynamics also finds, and a tail."""
    rng = np.random.default_rng(0)
    partner = dict(zip("ACGU", "UGCA", strict=True))
    records = []
    for k in range(count):
        size = int(rng.integers(5, 9))
        stem = "".join(rng.choice(list("ACGU"), size))
        sequence = stem + "GAAA" + "".join(partner[c] for c in reversed(stem)) + "".join(rng.choice(list("ACGU"), 9))
        pairs = as_pairs([(i, 2 * size + 3 - i) for i in range(size)])
        records.append(StructureRecord(f"h{k}", sequence, pairs))
    return records


@pytest.fixture(scope="module")
def data() -> FoldData:
    records = hairpins(30)
    return FoldData(records[:24], np.full(24, 1 / 24), {"dev": records[24:]}, {})


@pytest.fixture(scope="module")
def cache(data: FoldData, tmp_path_factory: pytest.TempPathFactory) -> PriorCache:
    cache = PriorCache(tmp_path_factory.mktemp("prior") / "prior.h5")
    cache.add_missing(record.sequence for record in (*data.train, *data.dev["dev"]))
    return cache


def recipe(**changes: dict[str, object]) -> FoldRecipe:
    values = {section: {**keys, **changes.get(section, {})} for section, keys in SMALL.items()}
    return recipe_from_dict(FoldRecipe, {**changes, **values})


def encoder() -> Encoder:
    torch.manual_seed(5)
    return Encoder(EncoderConfig(layers=1, width=16, heads=2, ffn=16, positions="rotary"))


def trainer(
    config: FoldRecipe,
    data: FoldData,
    cache: PriorCache | None,
    folder: Path,
    *,
    full: Encoder | None = None,
    sha256: str = "e",
) -> Trainer:
    task = FoldTask(config, data, cache, encoder=full)
    trained = full if config.run.encoder == "full" else None
    return Trainer(
        config, task, folder, card=Card(name="t", kind="fold", config={}, encoder_sha256=sha256), encoder=trained
    )


def run(
    config: FoldRecipe, data: FoldData, cache: PriorCache | None, folder: Path, *, full: Encoder | None = None
) -> tuple[Trainer, Outcome]:
    made = trainer(config, data, cache, folder, full=full)
    return made, made.train()


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def test_loss_falls_and_the_best_head_is_saved(data: FoldData, cache: PriorCache, tmp_path: Path) -> None:
    config = recipe(optim={"steps": 40, "rate": 1e-2}, variation={"mutate": 0.2, "drop_prior": 1.0})
    made, outcome = run(config, data, cache, tmp_path, full=encoder())
    losses = [float(row["loss"]) for row in rows(tmp_path / "metrics.csv")]
    assert len(losses) == 40 and np.mean(losses[-5:]) < 0.75 * np.mean(losses[:3])
    assert outcome.finished and outcome.step == 40 and 0 <= outcome.best_score <= 1
    scores = rows(tmp_path / "scores.csv")
    assert {row["inputs"] for row in scores} == {"embedding+prior+sequence", "embedding+sequence"}
    tensors, card = load_model_file(outcome.best_file)
    assert card.kind == "fold" and card.encoder_sha256 == "e" and card.dtype == "float16"
    assert card.config["inputs"] == ["embedding", "sequence", "prior"] and card.config["gamma"] >= 1
    head = PairHead(PairConfig.from_dict(card.config))
    head.load_state_dict(tensors)
    mean, _ = made.mean_head()
    for name, value in mean.state_dict().items():
        assert torch.allclose(head.state_dict()[name], value, atol=1e-2), name


def test_resumed_run_ends_with_the_same_bits(data: FoldData, cache: PriorCache, tmp_path: Path) -> None:
    part, outcome = run(
        recipe(variation={"mutate": 0.5}, optim={"steps": 3, "cooldown": 0.0}), data, cache, tmp_path / "x"
    )
    assert outcome.step == 3
    steady = recipe(variation={"mutate": 0.5}, optim={"cooldown": 0.0})
    whole, _ = run(steady, data, cache, tmp_path / "steady")
    resumed, _ = run(steady, data, cache, tmp_path / "x")
    assert resumed.step == whole.step == 6
    for name, value in whole.trained.state_dict().items():
        assert torch.equal(value, resumed.trained.state_dict()[name]), name
    kept = [row["step"] for row in rows(tmp_path / "x" / "metrics.csv")]
    assert kept == [str(step) for step in range(1, 7)]


def test_no_time_saves_and_goes_on(data: FoldData, cache: PriorCache, tmp_path: Path) -> None:
    config = recipe()
    outcome = trainer(config, data, cache, tmp_path).train(max_minutes=0.0)
    assert not outcome.finished and outcome.step == 1 and (tmp_path / "last.safetensors").exists()
    other = recipe(head={"channels": 16})
    with pytest.raises(ConfigError, match="another head"):
        run(other, data, cache, tmp_path)


def test_encoder_is_trained_only_when_asked(data: FoldData, tmp_path: Path) -> None:
    frozen, full = encoder(), encoder()
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    run(recipe(optim={"steps": 3}), data, None, tmp_path / "frozen", full=frozen)
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
    config = recipe(optim={"steps": 3, "encoder_rate": 1e-3}, run={"encoder": "full"})
    _, outcome = run(config, data, None, tmp_path / "full", full=full)
    assert not torch.equal(full.state_dict()["layers.0.qkv.weight"], before["layers.0.qkv.weight"])
    tensors, card = load_model_file(outcome.best_file, prefix="encoder.")
    assert set(tensors) == set(before) and card.encoder_sha256 is None
    assert EncoderConfig(**card.config["encoder"]) == full.config


def test_a_head_of_another_encoder_is_a_start(data: FoldData, cache: PriorCache) -> None:
    first = PairHead(head_config(recipe().head, 16, inputs=INPUTS))
    start = {name: tensor + 0.1 for name, tensor in first.state_dict().items()}
    head = PairHead(head_config(recipe().head, 24, inputs=INPUTS))
    line = begin_fold_from(head, start)
    assert line.endswith("; fresh: embedding_in, embedding_norm, mixer")
    for name, tensor in head.state_dict().items():
        if name.split(".")[0] not in ("embedding_in", "embedding_norm", "mixer"):
            assert torch.equal(tensor, start[name])
    assert head.embedding_in.weight.shape == (8, 24)
    other = PairHead(head_config(recipe(head={"channels": 16}).head, 16, inputs=INPUTS))
    with pytest.raises(WeightsError, match="another size: .*map"):
        begin_fold_from(other, start)


def test_training_records_close_to_development_records_go(tmp_path: Path) -> None:
    records = hairpins(12)
    lines = ["name\tfamily\tsequence\tpairs\n"]
    for record in records:
        brackets = ["."] * len(record.sequence)
        for i, j in record.pairs:
            brackets[i], brackets[j] = "(", ")"
        lines.append(f"{record.id}\t-\t{record.sequence}\t{''.join(brackets)}\n")
    (tmp_path / "train.tsv").write_text("".join(lines))
    (tmp_path / "dev.tsv").write_text("".join([lines[0], *lines[1:4]]))
    config = FoldRecipe()
    train, dev = [tmp_path / "train.tsv"], [tmp_path / "dev.tsv"]
    named = assemble(config, train=train, dev=dev)
    assert [record.id for record in named.train] == [f"h{k}" for k in range(3, 12)]
    assert named.weights.sum() == pytest.approx(1.0) and list(named.dev) == ["dev"]
    partner = assemble(config, train=(), partners=train, dev=dev)
    assert len(partner.train) == 12
    split = assemble(config, train=train)
    assert len(split.train) + len(split.dev["dev"]) == 12 and split.dev["dev"]


def test_recipe_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("[optim]\nrate = 2e-4\n")
    assert load_recipe(FoldRecipe, path, ["head.blocks=3"]).head.blocks == 3
    assert load_recipe(FoldRecipe, path, ['head.parameters=["turner2004"]']).head.parameters == ("turner2004",)
    with pytest.raises(ConfigError, match="head.parameters: 'turner2004' is no list of words"):
        load_recipe(FoldRecipe, path, ["head.parameters=turner2004"])
    path.write_text("[optim]\nrats = 2e-4\n")
    with pytest.raises(ConfigError, match="rats"):
        load_recipe(FoldRecipe, path)
    shipped = load_recipe(FoldRecipe, Path(__file__).parents[2] / "configs" / "fold-mini.toml").optim
    assert rate_at(0, shipped) < rate_at(400, shipped) == shipped.rate > rate_at(shipped.steps, shipped)


def test_a_finished_run_that_is_run_again_stays_as_it_is(data: FoldData, cache: PriorCache, tmp_path: Path) -> None:
    config = recipe(run={"score_steps": 3})
    _, first = run(config, data, cache, tmp_path)
    scores = (tmp_path / "scores.csv").read_text()
    assert scores.count("\n6,") == len(rows(tmp_path / "scores.csv")) // 2, "the last step is measured once"
    again, second = run(config, data, cache, tmp_path)
    assert (second.step, second.finished, second.best_score) == (6, True, first.best_score)
    assert again.step == 6 and (tmp_path / "scores.csv").read_text() == scores


def test_changed_settings_of_the_optimiser_apply_on_resuming(data: FoldData, cache: PriorCache, tmp_path: Path) -> None:
    run(recipe(optim={"steps": 3}), data, cache, tmp_path)
    run(recipe(optim={"weight_decay": 0.5, "beta2": 0.9}), data, cache, tmp_path)
    groups = torch.load(tmp_path / CHECKPOINT, weights_only=True)["optimizer"]["param_groups"]
    assert sorted({group["weight_decay"] for group in groups}) == [0.0, 0.5]
    assert {group["betas"][1] for group in groups} == {0.9}


def test_a_run_with_other_inputs_or_another_encoder_is_refused(
    data: FoldData, cache: PriorCache, tmp_path: Path
) -> None:
    run(recipe(optim={"steps": 3}), data, cache, tmp_path / "a")
    with pytest.raises(ConfigError, match="another head or encoder"):
        run(recipe(), data, cache, tmp_path / "a", full=encoder())
    with pytest.raises(ConfigError, match="another head or encoder"):
        trainer(recipe(), data, cache, tmp_path / "a", sha256="other").train()


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 and no archive"])
def test_a_file_that_is_no_checkpoint_is_refused(
    content: bytes, data: FoldData, cache: PriorCache, tmp_path: Path
) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(InputError, match="not a checkpoint of a head"):
        run(recipe(), data, cache, tmp_path)


def test_a_run_with_other_structures_is_refused(data: FoldData, cache: PriorCache, tmp_path: Path) -> None:
    run(recipe(optim={"steps": 3}), data, cache, tmp_path / "a")
    first = dataclasses.replace(data.train[0], pairs=data.train[0].pairs[1:])
    other = dataclasses.replace(data, train=[first, *data.train[1:]])
    assert other.sha256() != data.sha256()
    with pytest.raises(ConfigError, match="other training records"):
        run(recipe(), other, cache, tmp_path / "a")
    run(recipe(), data, cache, tmp_path / "a")


def test_a_set_of_which_nothing_is_measured_is_told(data: FoldData, cache: PriorCache, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'dev': none of its 6 records is measured, all are longer than 10 nt"):
        run(recipe(run={"score_longest": 10}), data, cache, tmp_path)


def test_development_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    dev = [tmp_path / "a" / "dev.v1.tsv", tmp_path / "b" / "dev.v2.tsv"]
    with pytest.raises(UsageError, match="two development sets are called 'dev'"):
        assemble(recipe(), train=[tmp_path / "t.tsv"], dev=dev)


def test_steps_follow_the_records_and_a_run_ends_early(data: FoldData, cache: PriorCache, tmp_path: Path) -> None:
    few = with_steps(recipe(optim={"steps": 0, "warmup": 300}), data)
    assert few.optim.steps == 100 and few.optim.warmup == 20
    many = FoldData(data.train * 50, np.full(1200, 1 / 1200), data.dev, {})
    assert 1000 < with_steps(recipe(optim={"steps": 0}), many).optim.steps < 10_000
    assert with_steps(recipe(), data).optim.steps == 6
    idle = recipe(optim={"steps": 40, "rate": 1e-12}, run={"score_steps": 2, "patience": 2})
    _, outcome = run(idle, data, cache, tmp_path)
    assert outcome.finished and outcome.early and outcome.step == 6


def test_a_run_tells_how_far_it_is(data: FoldData, cache: PriorCache, tmp_path: Path) -> None:
    told: list[str] = []
    task = FoldTask(recipe(), data, cache)
    Trainer(recipe(), task, tmp_path, card=Card(name="t", kind="fold", config={}), report=told.append).train()
    assert len(told) == 1 and told[0].startswith("step 6 of 6: mean F1 0.") and "best so far 0." in told[0]
    assert told[0].endswith("about 0 minutes left")
