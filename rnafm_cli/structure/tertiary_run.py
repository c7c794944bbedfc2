"""Contact and distance heads from files: free guesses first, then cross-validation, then the head to keep.

The folder of a run holds ``baseline/scores.tsv``, ``folds/ROW/K`` with a head, its metrics and its held-out scores and
maps, ``table.tsv`` with the means, ``held_out.h5``, and ``final/head.safetensors``. What is there is not made again.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import torch

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.errors import ConfigError, InputError, UsageError, WeightsError
from rnafm_cli.io.map_output import TertiaryMapWriter
from rnafm_cli.io.provenance import Provenance
from rnafm_cli.io.streams import open_output, write_json
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.rna import thermo
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.metrics import CONTACT_METRICS, DISTANCE_METRICS, MapScore
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.pair import INPUTS, PairConfig
from rnafm_cli.structure.tertiary_data import ChainSet, chains_sha256, load_chains, prepare_examples
from rnafm_cli.structure.tertiary_head import TertiaryConfig, TertiaryHead
from rnafm_cli.structure.tertiary_recipe import TertiaryRecipe
from rnafm_cli.structure.tertiary_scores import (
    PredictedMaps,
    baseline_maps,
    mean_values,
    predict_chains,
    score_maps,
    soft_maps,
)
from rnafm_cli.structure.tertiary_training import HEAD_FILE, Start, TertiaryTrainer
from rnafm_cli.weights.files import Card, load_model_file
from rnafm_cli.weights.store import encoder_read_by, load_component

__all__ = [
    "ALL",
    "BASELINE",
    "RANDOM",
    "Row",
    "TRANSFER",
    "TertiaryOutcome",
    "TertiaryRun",
    "held_out_maps",
    "join_maps",
    "main_row",
    "named_rows",
    "read_scores",
    "rows_for",
    "run_tertiary",
    "write_scores",
    "write_table",
]


ALL = "sequence+embedding+prior"
RANDOM, TRANSFER = "random", "transfer"
_SUBSETS = ("sequence", "prior", "embedding", "sequence+prior", "sequence+embedding", ALL)


@dataclass(frozen=True)
class Row:
    """One kind of head.

    Args:
        shown: the inputs it sees.
        shape_of_start: whether its pair head has the shape of the trained one instead of the recipe's.
        transferred: whether it also has its weights.
    """

    name: str
    shown: frozenset[str]
    shape_of_start: bool = False
    transferred: bool = False


def rows_for(*, embedding: bool, prior: bool, start: bool) -> list[Row]:
    """The rows that can be made of what there is, in the order of the table."""
    there = {"sequence"} | ({"embedding"} if embedding else set()) | ({"prior"} if prior else set())
    rows = [Row(name, frozenset(name.split("+"))) for name in _SUBSETS]
    rows = [row for row in rows if row.shown <= there]
    if start:
        shown = frozenset(INPUTS) & there
        rows += [
            Row(RANDOM, shown, shape_of_start=True),
            Row(TRANSFER, shown, shape_of_start=True, transferred=True),
        ]
    return rows


def main_row(rows: Iterable[Row]) -> Row:
    """The row whose heads become the final one: all inputs, and the trained pair head where there is one."""
    return max(rows, key=lambda row: (row.transferred, not row.shape_of_start, len(row.shown)))


def named_rows(rows: Iterable[Row], names: Iterable[str]) -> list[Row]:
    """The rows of these names; ``all`` stands for every one.

    Raises:
        UsageError: for a name that is none of them.
    """
    known = {row.name: row for row in rows}
    names = list(names)
    if names == ["all"]:
        return list(known.values())
    chosen = []
    for name in names:
        if name not in known:
            raise UsageError(f"there is no row '{name}' here", hint=f"there are {', '.join(known)}")
        chosen.append(known[name])
    return chosen


BASELINE = "baseline"
_READOUTS = tuple(f"regression_{name}" for name in DISTANCE_METRICS)
_VALUES = (*CONTACT_METRICS, *DISTANCE_METRICS, *_READOUTS)
_CEILING = tuple(f"ceiling_{name}" for name in CONTACT_METRICS)
_SCORE_COLUMNS = ("id", "length", "pairs", "positives", *_VALUES, *_CEILING)
_TABLE_COLUMNS = ("row", "chains_from", "chains", *_VALUES)


def write_scores(path: Path, scores: Iterable[MapScore]) -> None:
    """Write a row per chain; what is undefined stays empty."""
    with open_output(path) as sink:
        table = TableWriter(sink, _SCORE_COLUMNS)
        for score in scores:
            values = [score.values.get(name) for name in _VALUES]
            values += [score.ceiling.get(name) for name in CONTACT_METRICS]
            shown = [None if value is None or math.isnan(value) else value for value in values]
            table.write([score.id, score.length, score.pairs, score.positives, *shown])
        table.flush()


def read_scores(path: Path) -> list[MapScore]:
    """Read what :func:`write_scores` wrote.

    Raises:
        InputError: for another file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return [_score(row) for row in csv.DictReader(handle, delimiter="\t")]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as scores of chains ({error})") from error


def write_table(path: Path, rows: Sequence[tuple[str, Sequence[MapScore]]]) -> None:
    """Write the means of each row: over chains with known distances, and over all chains.

    Of contacts, ``with contacts`` are the means over chains that have a long-range one, and ``ceiling`` is what a
    perfect predictor would reach.
    """
    with open_output(path) as sink:
        table = TableWriter(sink, _TABLE_COLUMNS, digits=4)
        for name, scores in rows:
            measured = [score for score in scores if "mse" in score.values]
            parts = {
                "with distances": measured,
                "with distances and contacts": [score for score in measured if score.positives],
                "all": list(scores),
            }
            for label, part in parts.items():
                if part:
                    means = mean_values(part)
                    table.write([name, label, len(part), *(means.get(key) for key in _VALUES)])
        best = [score for _, scores in rows[:1] for score in scores if score.ceiling and "mse" in score.values]
        if best:
            means_of = [sum(score.ceiling[key] for score in best) / len(best) for key in CONTACT_METRICS]
            table.write(["ceiling", "with distances", len(best), *means_of, *[None] * (len(_VALUES) - len(means_of))])
        table.flush()


def held_out_maps(path: Path, maps: Iterable[PredictedMaps], *, provenance: Provenance) -> None:
    """Store predicted maps of chains."""
    with TertiaryMapWriter(path, provenance=provenance, half=True, force=True) as writer:
        for one in maps:
            named = {"contact": one.contact_LL, "distance": one.distance_LL}
            if one.sd_LL is not None:
                named["sd"] = one.sd_LL
            writer.add_maps(SequenceRecord(one.chain.id, one.chain.sequence), named)


def join_maps(path: Path, parts: Sequence[Path], *, provenance: Provenance) -> None:
    """One file of the maps of several, the folds of a cross-validation say."""
    with TertiaryMapWriter(path, provenance=provenance, half=True, force=True) as writer:
        for part in parts:
            with h5py.File(part, "r") as file:
                for group in file.values():
                    record = SequenceRecord(str(group.attrs["id"]), str(group.attrs["sequence"]))
                    writer.add_maps(record, {name: data[()] for name, data in group.items()})


def _score(row: dict[str, str]) -> MapScore:
    values = {name: float(row[name]) for name in _VALUES if row[name]}
    ceiling = {name: float(row[f"ceiling_{name}"]) for name in CONTACT_METRICS if row[f"ceiling_{name}"]}
    return MapScore(row["id"], int(row["length"]), values, int(row["pairs"]), int(row["positives"]), ceiling)


SCORES, MAPS, TABLE = "scores.tsv", "held_out.h5", "table.tsv"
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TertiaryRun:
    """What ``rnafm finetune contact`` or ``distance`` was asked to do.

    Args:
        files: HDF5 files of chains, structure files or folders of them.
        model: name or file of the encoder; None for heads without one.
        init_from: a fold head's file, or the name of a model that has one; None to start at random.
        prior_cache: file of pair probabilities, completed as needed; in the run's folder if None.
        rows: rows of the feature table to make; the main one alone if empty.
        folds: folds to hold out; all if empty.
        final: train the head to keep.
    """

    task: Literal["contact", "distance"]
    files: tuple[Path, ...]
    recipe: TertiaryRecipe
    output: Path
    name: str
    model: str | None = "rnafm-mini"
    weights_dir: Path | None = None
    init_from: str | None = None
    prior: bool = True
    prior_cache: Path | None = None
    rows: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    final: bool = True
    max_minutes: float | None = None
    threads: int | None = None


@dataclass(frozen=True)
class TertiaryOutcome:
    """How a run ended: ``finished`` is False when time ran out or a signal came, ``means`` those of the main row."""

    finished: bool
    means: dict[str, float]
    head: Path | None


def run_tertiary(
    run: TertiaryRun,
    *,
    report: Report,
    reject: Callable[[InputError], None],
    progress: Callable[[int, int], None] | None = None,
) -> TertiaryOutcome:
    """Validate and train, or go on with, the heads in ``run.output``.

    Args:
        reject: called with the error of a structure file that cannot be used.
        progress: called with (done, total) while pair probabilities are computed.

    Raises:
        UsageError: when the prior is wanted and ViennaRNA is missing; for unknown rows or folds; for a codon model.
        WeightsError: when the encoder or the starting head cannot be used.
        InputError: when no chain can be used.
    """
    return _Work(run, report, reject, progress).do()


class _Work:
    def __init__(
        self,
        run: TertiaryRun,
        report: Report,
        reject: Callable[[InputError], None],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._run, self._report, self._reject, self._progress = run, report, reject, progress
        self._started = time.monotonic()
        if run.prior and not thermo.available():
            raise UsageError(
                "the prior needs ViennaRNA's Python package", hint="pip install ViennaRNA, or train with --no-prior"
            )
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        count = run.recipe.data.folds
        if any(not 0 <= fold < count for fold in run.folds):
            raise UsageError(f"--folds {','.join(map(str, run.folds))}: there are folds 0 to {count - 1}")
        self._every = rows_for(embedding=run.model is not None, prior=run.prior, start=run.init_from is not None)
        self._main = main_row(self._every)
        self._rows = named_rows(self._every, run.rows) if run.rows else [self._main]
        self._folds = run.folds or tuple(range(count))

    def do(self) -> TertiaryOutcome:
        """Everything that is not there yet."""
        run = self._run
        encoder, self._encoder_sha256 = None, None
        if run.model is not None:
            encoder, encoder_card = load_encoder(run.model, weights_dir=run.weights_dir)
            encoder.config.check_nucleotides(run.model)
            self._encoder_sha256 = encoder_card.weights_sha256
        self._start = self._load_start()
        if self._start is not None:
            # All rows of the table see the prior that the trained pair head knows.
            trunk = dataclasses.replace(run.recipe.trunk, parameters=self._start.config.parameters)
            run = self._run = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, trunk=trunk))
        chains, counts = load_chains(run.files, run.recipe, reject=self._reject, report=self._report)
        if run.task == "distance" and not counts["with distances"]:
            raise InputError("no chain has distances, only contacts", hint="give structures, or HDF5 with 'distance'")
        run.output.mkdir(parents=True, exist_ok=True)
        self._check_same(chains)
        write_json(run.output / "config.json", run.recipe.to_dict())
        prior_file = (run.prior_cache or run.output / "prior.h5") if run.prior else None
        data = prepare_examples(
            chains, counts, run.recipe, encoder=encoder, prior_file=prior_file, progress=self._progress
        )
        self._baseline(data)
        finished = all(self._fold(data, row, fold) for row in self._rows for fold in self._folds)
        means = self._summary()
        head: Path | None = None
        if finished and run.final:
            finished, head = self._final(data, means)
        return TertiaryOutcome(finished, means, head)

    def _check_same(self, chains: Sequence[Chain]) -> None:
        """Refuse a folder whose folds were made of other chains, or by another recipe: they would be mixed.

        Raises:
            ConfigError: naming what differs.
        """
        run, path = self._run, self._run.output / "run.json"
        made = {
            "task": run.task,
            "chains": chains_sha256(chains),
            "encoder": self._encoder_sha256,
            "fold head": self._start_sha256,
            "prior": run.prior,
            "recipe": {name: values for name, values in run.recipe.to_dict().items() if name != "run"},
        }
        # Tuples become lists, as in the file.
        made = json.loads(json.dumps(made))
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            if other := [name for name in made if before.get(name) != made[name]]:
                raise ConfigError(
                    f"{run.output}: holds a run with another {', '.join(other)}",
                    hint="start a new run in another folder",
                )
            return
        write_json(path, made)

    def _load_start(self) -> Start | None:
        run = self._run
        self._start_sha256: str | None = None
        if run.init_from is None:
            return None
        tensors, card = load_component(run.init_from, "fold", weights_dir=run.weights_dir, any_encoder=True)
        if card.kind != "fold":
            raise WeightsError(f"{run.init_from}: is a model of kind '{card.kind}', not a fold head")
        if encoder_read_by(card) != self._encoder_sha256:
            raise WeightsError(
                f"{run.init_from}: its fold head was trained on another encoder than {run.model or 'none'}",
                hint="give its own encoder with --model",
            )
        self._start_sha256 = card.weights_sha256
        return Start(PairConfig.from_dict(card.config), tensors)

    def _baseline(self, data: ChainSet) -> None:
        """Scores of the free guess on the same folds, before anything is trained."""
        path = self._run.output / BASELINE / SCORES
        if not self._run.prior:
            return
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            scores = []
            for fold in range(self._run.recipe.data.folds):
                train = [data.examples[k] for k in data.outside(fold)]
                scores += score_maps(baseline_maps(train, [data.examples[k] for k in data.inside(fold)]))
            write_scores(path, scores)
        self._tell(BASELINE, mean_values(read_scores(path)))

    def _fold(self, data: ChainSet, row: Row, fold: int) -> bool:
        folder = self._folder(row, fold)
        if (folder / SCORES).exists():
            return True
        trainer = self._trainer(data, row, fold, folder)
        if not trainer.train(max_minutes=self._minutes_left()):
            return False
        held_out = [data.examples[k] for k in data.inside(fold)]
        maps = predict_chains(trainer.mean_head(), held_out, shown=row.shown, bf16=self._run.recipe.run.bf16)
        held_out_maps(folder / MAPS, maps, provenance={"row": row.name, "fold": fold, "name": self._run.name})
        scores = score_maps(maps)
        write_scores(folder / SCORES, scores)
        self._tell(f"{row.name}, fold {fold} held out", mean_values(scores))
        return True

    def _trainer(
        self, data: ChainSet, row: Row, fold: int | None, folder: Path, *, soft: bool = False
    ) -> TertiaryTrainer:
        run, members = self._run, data.outside(fold)
        start = self._start if row.shape_of_start else None
        if start is not None and not row.transferred:
            start = Start(start.config, None)
        source = {
            "files": [path.name for path in run.files],
            "chains": data.counts,
            "held out": fold,
            "fold head": self._start_sha256 if row.transferred else None,
            "inputs": sorted(row.shown),
        }
        return TertiaryTrainer(
            run.recipe,
            [data.examples[k] for k in members],
            data.weights(members, run.recipe),
            folder,
            shown=row.shown,
            card=Card(name=run.name, kind=run.task, config={}, encoder_sha256=self._encoder_sha256, source=source),
            start=start,
            soft=run.recipe.loss.soft if soft else 0.0,
        )

    def _summary(self) -> dict[str, float]:
        """The table of all rows whose folds are there, and the maps of the main row in one file."""
        output, folds = self._run.output, range(self._run.recipe.data.folds)
        table = []
        if (output / BASELINE / SCORES).exists():
            table.append((BASELINE, read_scores(output / BASELINE / SCORES)))
        means: dict[str, float] = {}
        for row in self._every:
            parts = [self._folder(row, fold) for fold in folds]
            if all((part / SCORES).exists() for part in parts):
                scores = [score for part in parts for score in read_scores(part / SCORES)]
                table.append((row.name, scores))
                if row == self._main:
                    means = mean_values(scores)
                    provenance: dict[str, str | int] = {"row": row.name, "name": self._run.name, "folds": len(folds)}
                    join_maps(output / MAPS, [part / MAPS for part in parts], provenance=provenance)
        if table:
            write_table(output / TABLE, table)
        if means:
            self._tell(f"{self._main.name}, cross-validated", means)
        return means

    def _final(self, data: ChainSet, means: dict[str, float]) -> tuple[bool, Path]:
        """Train on all chains, in part towards what the heads of cross-validation say together."""
        folder = self._run.output / "final"
        if (folder / HEAD_FILE).exists():
            return True, folder / HEAD_FILE
        soft = self._run.recipe.loss.soft > 0
        if soft:
            data = self._with_soft_maps(data)
        trainer = self._trainer(data, self._main, None, folder, soft=soft)
        if not trainer.train(max_minutes=self._minutes_left()):
            return False, folder / HEAD_FILE
        trainer.export({"cross_validated": means})
        return True, folder / HEAD_FILE

    def _with_soft_maps(self, data: ChainSet) -> ChainSet:
        heads = []
        for fold in range(self._run.recipe.data.folds):
            path = self._folder(self._main, fold) / HEAD_FILE
            if not path.exists():
                raise ConfigError(
                    f"{path}: is missing, and the final head learns from all folds (loss.soft)",
                    hint="run the other folds first, or set loss.soft=0",
                )
            tensors, card = load_model_file(path)
            head = TertiaryHead(TertiaryConfig.from_dict(card.config))
            head.load_state_dict(tensors)
            heads.append(head.eval())
        shown, bf16 = self._main.shown, self._run.recipe.run.bf16
        examples = tuple(
            dataclasses.replace(one, soft=soft_maps(heads, one, shown=shown, bf16=bf16)) for one in data.examples
        )
        return dataclasses.replace(data, examples=examples)

    def _folder(self, row: Row, fold: int) -> Path:
        return self._run.output / "folds" / row.name / str(fold)

    def _minutes_left(self) -> float | None:
        limit = self._run.max_minutes
        return None if limit is None else max(0.0, limit - (time.monotonic() - self._started) / 60)

    def _tell(self, what: str, means: dict[str, float]) -> None:
        parts = []
        if "top_l1" in means:
            tops = " ".join(f"{means[name]:.3f}" for name in CONTACT_METRICS)
            parts.append(f"long-range L/10 L/5 L/2 L {tops}")
        if "mse" in means:
            parts.append(
                f"distance MSE {means['mse']:.4f} R2 {means['r2']:.3f} PA {means['pa']:.3f} PMCC {means['pmcc']:.3f}"
            )
        self._report(f"{what}: {'; '.join(parts)}")
