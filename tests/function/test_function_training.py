"""Tiny real runs of the RBP and MRL heads: they learn, resume to the bit, and leave model files that load."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.function_models import save_models

from rnafm_cli.errors import ConfigError, InputError, WeightsError
from rnafm_cli.function.cache import NucleotideCache
from rnafm_cli.function.mrl import MrlPredictor, ribosome_load
from rnafm_cli.function.rbp import BindingPredictor, bind
from rnafm_cli.function.run import run_function
from rnafm_cli.model import load_model
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.training.recipes import BindingRecipe, MrlRecipe, RowRecipe, load_recipe
from rnafm_cli.training.trainer import HeadRun, Outcome
from rnafm_cli.weights.cards import read_card
from rnafm_cli.weights.files import load_model_file

MOTIF = "UGUAAAUA"
BINDING = [
    "head.channels=16",
    "head.reduced=4",
    "head.kernel=9",
    "data.embedded=0.5",
    "optim.epochs=4",
    "optim.batch=32",
    "optim.rate=1e-2",
    "optim.warmup=3",
    "optim.average=0.8",
    "run.bf16=false",
    "run.log_steps=1",
    "run.score_epochs=2",
]
LOAD = [
    "head.channels=8",
    "head.reduced=4",
    "head.members=2",
    "optim.epochs=6",
    "optim.batch=32",
    "optim.rate=1e-2",
    "optim.warmup=3",
    "optim.average=0.8",
    "run.bf16=false",
    "run.log_steps=1",
    "run.score_epochs=3",
]


def rna(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list("ACGU"), length))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of 101 nt with a motif in the bound third."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("sets") / "SET_PUM2_X.tsv"
    rows = ["sequence\tlabel\tsplit"]
    for k in range(300):
        sequence, bound = rna(rng, 101), k % 3 == 0
        place = int(rng.integers(40, 55))
        if bound:
            sequence = sequence[:place] + MOTIF + sequence[place + 8 :]
        rows.append(f"{sequence}\t{int(bound)}\t{'dev' if k % 5 == 0 else 'train'}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def utrs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UTRs whose load falls with every upstream AUG."""
    rng, path = np.random.default_rng(1), tmp_path_factory.mktemp("sets") / "random_25to100.tsv"
    rows = ["sequence\tmrl\tsplit"]
    for k in range(300):
        sequence = rna(rng, int(rng.integers(25, 50))).replace("AUG", "ACG")
        for place in rng.permutation(len(sequence) // 4)[: k % 4]:
            sequence = sequence[: 4 * place] + "AUG" + sequence[4 * place + 3 :]
        load_ = 6.0 - sequence.count("AUG") + 0.1 * rng.normal()
        rows.append(f"{sequence}\t{load_:.4f}\t{'dev' if k % 5 == 0 else 'train'}")
    path.write_text("\n".join(rows) + "\n")
    return path


def records(sequences: list[str]) -> list[SequenceRecord]:
    return [SequenceRecord(f"r{k}", text) for k, text in enumerate(sequences)]


def train(
    recipe: RowRecipe,
    table: Path,
    output: Path,
    models: Path | None,
    *,
    minutes: float | None = None,
    start: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Outcome:
    model = "tiny" if models else None
    asked = {"output": output, "report": report, "weights_dir": models, "init_from": start, "max_minutes": minutes}
    return run_function(HeadRun(name="t", model=model, **asked), [table], recipe)


def recipe_of(kind: str, changes: list[str]) -> BindingRecipe | MrlRecipe:
    if kind == "rbp":
        return load_recipe(BindingRecipe, None, [*BINDING, *changes])
    return load_recipe(MrlRecipe, None, [*LOAD, *changes])


def column(path: Path, name: str) -> list[str]:
    with open(path, newline="") as handle:
        return [row[name] for row in csv.DictReader(handle)]


def test_a_motif_is_learned_and_found_again(sites: Path, models: Path, tmp_path: Path) -> None:
    recipe = load_recipe(BindingRecipe, None, [*BINDING, "optim.epochs=10"])
    outcome = train(recipe, sites, tmp_path, models)
    assert outcome.finished and outcome.best_score > 0.8
    card = read_card(outcome.best_file)
    assert card.kind == "rbp" and card.encoder_sha256 == read_card(models / "tiny.safetensors").weights_sha256
    assert card.metrics["SET_PUM2_X"]["rows"] == 60 and card.config["calibration"]["SET_PUM2_X"]["slope"] > 0
    assert set(column(tmp_path / "scores.csv", "inputs")) == {"embeddings+letters", "letters"}
    model = load_model(str(outcome.best_file), weights_dir=models, device="cpu")
    predictor = BindingPredictor(model)
    rng = np.random.default_rng(7)
    plain = [rna(rng, 101) for _ in range(8)]
    marked = [text[:47] + MOTIF + text[55:] for text in plain]
    found = [one.probabilities_P[0] for one in bind(records(marked + plain), predictor)]
    assert np.mean(found[:8]) > np.mean(found[8:]) + 0.3
    (explained,) = bind(records(marked)[:1], predictor, explain=True)
    importance_L = explained.importance_PL[0]
    assert importance_L[47:55].sum() > 0.5 * np.abs(importance_L).sum()


def test_load_is_learned(utrs: Path, models: Path, tmp_path: Path) -> None:
    outcome = train(
        load_recipe(MrlRecipe, None, [*LOAD, "optim.epochs=15", "data.drop_embedding=0"]), utrs, tmp_path, models
    )
    assert outcome.finished and outcome.best_score > 0.3
    card = read_card(outcome.best_file)
    assert card.metrics["random_25to100"]["mse"] > 0 and card.config["sd_factors"]["random_25to100"] > 0
    model = load_model(str(outcome.best_file), weights_dir=models, device="cpu")
    predictor = MrlPredictor(model)
    few, many = ribosome_load(records(["C" * 45, "CAUGCCAUGCCAUGC" * 3]), predictor)
    assert few.mrl > many.mrl and len(many.starts) == 9


@pytest.mark.parametrize("kind", ["rbp", "mrl"])
def test_a_run_begins_from_another_head(kind: str, sites: Path, utrs: Path, models: Path, tmp_path: Path) -> None:
    def run(folder: str, model: Path | None, start: str | None, epochs: float) -> Path:
        table = sites if kind == "rbp" else utrs
        steady = [f"optim.epochs={epochs}", "optim.warmup=1", f"optim.rate={1e-2 if start is None else 1e-5}"]
        recipe = recipe_of(kind, steady)
        return train(recipe, table, tmp_path / folder, model, start=start, report=told.append).best_file

    told: list[str] = []
    letters = run("letters", None, None, 6.0)
    both = run("both", models, str(letters), 0.5)
    assert any(line.startswith("starting from another head: letters; 1 outputs") for line in told)
    again = run("again", models, str(both), 0.5)
    assert any(line.startswith("starting from another head: letters, embedding; 1 outputs") for line in told)
    reductions = [load_model_file(path)[0]["reduction.weight"] for path in (both, again)]
    assert torch.equal(*reductions)
    name, measure = ("SET_PUM2_X", "auprc") if kind == "rbp" else ("random_25to100", "r2")
    first, second = (read_card(path).metrics[name][measure] for path in (letters, both))
    assert second == pytest.approx(first, abs=0.02)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_withheld_embeddings_teach_nothing(share: float, utrs: Path, models: Path, tmp_path: Path) -> None:
    def embedding_weights(epochs: float) -> torch.Tensor:
        changes = [f"data.drop_embedding={share}", f"optim.epochs={epochs}", "optim.weight_decay=0"]
        recipe = load_recipe(MrlRecipe, None, [*LOAD, *changes])
        outcome = train(recipe, utrs, tmp_path / str(epochs), models)
        return load_model_file(outcome.best_file)[0]["members.0.first.weight"][:, 5:]

    assert torch.equal(embedding_weights(1.0), embedding_weights(2.0)) == (share == 1.0)


@pytest.mark.parametrize("kind", ["rbp", "mrl"])
def test_resumed_run_ends_with_the_same_bits(kind: str, sites: Path, utrs: Path, models: Path, tmp_path: Path) -> None:
    def run(folder: str, epochs: float) -> Path:
        output, steady = tmp_path / folder, [f"optim.epochs={epochs}", "optim.cooldown=0.0", "optim.warmup=1"]
        table = sites if kind == "rbp" else utrs
        train(recipe_of(kind, steady), table, output, models)
        return output

    # Stopped in the middle of a round.
    run("parts", 1.5)
    whole, parts = run("whole", 3.0), run("parts", 3.0)
    expected, _ = load_model_file(whole / "last.safetensors")
    found, card = load_model_file(parts / "last.safetensors")
    assert card.recipe["step"] == len(column(whole / "metrics.csv", "step"))
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert column(parts / "metrics.csv", "step") == column(whole / "metrics.csv", "step")


def test_no_time_leaves_a_run_that_goes_on(sites: Path, models: Path, tmp_path: Path) -> None:
    recipe = load_recipe(BindingRecipe, None, BINDING)
    stopped = train(recipe, sites, tmp_path, models, minutes=0.0)
    assert not stopped.finished and stopped.step == 0
    assert train(recipe, sites, tmp_path, models).finished
    other = load_recipe(BindingRecipe, None, [*BINDING, "head.channels=24"])
    with pytest.raises(ConfigError, match="another head"):
        train(other, sites, tmp_path, models)


@pytest.mark.parametrize("kind", ["rbp", "mrl"])
def test_a_stopped_run_refuses_changed_labels(kind: str, sites: Path, utrs: Path, tmp_path: Path) -> None:
    table = tmp_path / (sites if kind == "rbp" else utrs).name
    first, *rest = (sites if kind == "rbp" else utrs).read_text().splitlines()
    table.write_text("\n".join([first, *rest]) + "\n")

    def go(minutes: float | None = None) -> bool:
        return train(recipe_of(kind, []), table, tmp_path / "run", None, minutes=minutes).finished

    assert not go(minutes=0.0)
    sequence, _, _ = rest[1].split("\t")
    table.write_text("\n".join([first, rest[0], f"{sequence}\t1\ttrain", *rest[2:]]) + "\n")
    with pytest.raises(ConfigError, match="other training rows"):
        go()


def test_a_head_without_encoder_loads_without_one(sites: Path, utrs: Path, tmp_path: Path) -> None:
    binding = train(load_recipe(BindingRecipe, None, [*BINDING, "optim.epochs=1"]), sites, tmp_path / "b", None)
    loads = train(load_recipe(MrlRecipe, None, [*LOAD, "optim.epochs=1"]), utrs, tmp_path / "l", None)
    model = load_model(str(binding.best_file), device="cpu")
    assert len(list(bind(records(["ACGU" * 20]), BindingPredictor(model)))) == 1
    model = load_model(str(loads.best_file), device="cpu")
    assert len(list(ribosome_load(records(["ACGU" * 10]), MrlPredictor(model)))) == 1


def test_encoder_is_trained_along_when_asked(sites: Path, models: Path, tmp_path: Path) -> None:
    changed = [*BINDING, "optim.epochs=1", 'run.encoder="full"', "optim.encoder_rate=1e-3", "run.score_rows=10"]
    outcome = train(load_recipe(BindingRecipe, None, changed), sites, tmp_path, models)
    before, _ = load_model_file(models / "tiny.safetensors")
    after, card = load_model_file(outcome.best_file, prefix="encoder.")
    assert card.encoder_sha256 is None and not torch.equal(after["layers.0.qkv.weight"], before["layers.0.qkv.weight"])
    model = load_model(str(outcome.best_file), device="cpu")
    assert len(list(bind(records(["ACGU" * 20]), BindingPredictor(model)))) == 1


def test_a_head_on_another_encoder_is_refused(models: Path, tmp_path: Path) -> None:
    other = save_models(tmp_path, seed=1)
    for suffix in (".safetensors", ".json"):
        (other / f"tiny-rbp{suffix}").write_bytes((models / f"tiny-rbp{suffix}").read_bytes())
    with pytest.raises(WeightsError, match="was trained on the encoder"):
        BindingPredictor(load_model("tiny", weights_dir=other, device="cpu"))


def test_labels_of_one_kind_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "A.tsv"
    table.write_text("sequence\tlabel\tsplit\nACGU\t1\ttrain\nGGGG\t1\ttrain\nCCCC\t0\tdev\n")
    with pytest.raises(InputError, match="all of one label"):
        train(BindingRecipe(), table, tmp_path / "run", None)


def test_cache_goes_on_where_it_stopped(tmp_path: Path) -> None:
    sequences = ["ACGU", "CCC", "GG", "ACGUACGU"]
    asked: list[str] = []

    def compute(part: list[str]) -> list[np.ndarray]:
        asked.extend(part)
        return [np.full((len(sequence), 2), 0.5) for sequence in part]

    def cache(identity: str = "one") -> NucleotideCache:
        chosen = np.array([0, 2, 3])
        return NucleotideCache(tmp_path / "c.i8", sequences, chosen, channels=2, limit=1.0, identity=identity)

    def fill(one: NucleotideCache, stop: bool = False) -> bool:
        return one.fill(compute, lambda what, done, total: None, stop=lambda: stop)

    assert not fill(cache(), stop=True) and not asked
    assert fill(cache()) and sorted(asked) == ["ACGU", "ACGUACGU", "GG"]
    assert fill(cache()) and len(asked) == 3
    whole = (tmp_path / "c.i8").read_bytes()
    (tmp_path / "c.i8").write_bytes(whole[:-3])
    assert fill(cache()) and len(asked) == 6 and (tmp_path / "c.i8").read_bytes() == whole
    values = cache()[3]
    assert values is not None and values.shape == (8, 2) and values == pytest.approx(0.5, abs=0.005)
    assert cache()[1] is None
    with pytest.raises(ConfigError, match="another encoder"):
        cache("two")


def test_shipped_recipes_are_read() -> None:
    configs = Path(__file__).parents[2] / "configs"
    binding = load_recipe(BindingRecipe, configs / "rbp-mini.toml")
    loads = load_recipe(MrlRecipe, configs / "mrl-mini.toml")
    assert binding.to_dict()["head"]["channels"] > 0 and loads.head.members == 3
    with pytest.raises(ConfigError, match="epochs"):
        load_recipe(MrlRecipe, configs / "mrl-mini.toml", ["optim.epoch=3"])
    with pytest.raises(ConfigError, match="positive"):
        load_recipe(BindingRecipe, None, ["optim.epochs=0"])
