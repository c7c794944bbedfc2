"""Contact and distance heads from files: free guesses first, then cross-validation, then the head to keep.

The folder of a run holds ``baseline/scores.tsv``, ``folds/ROW/K`` with a head, its metrics and its held-out scores and
maps, ``table.tsv`` with the means, ``held_out.h5``, and ``final/head.safetensors``. What is there is not made again.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import pandas as pd
import torch

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.errors import ConfigError, InputError, UsageError, WeightsError
from rnafm_cli.io.map_output import TertiaryMapWriter
from rnafm_cli.io.provenance import Provenance
from rnafm_cli.io.streams import atomic_path, write_json
from rnafm_cli.rna import thermo
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.metrics import CONTACT_METRICS, DISTANCE_METRICS, score_contacts, score_distances
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.baselines import DistanceTable, spread_probabilities
from rnafm_cli.structure.batches import Example
from rnafm_cli.structure.fold_task import Start, fold_head_of
from rnafm_cli.structure.tertiary_data import ChainSet, chains_sha256, load_chains, prepare_examples
from rnafm_cli.structure.tertiary_head import TertiaryConfig, TertiaryHead
from rnafm_cli.structure.tertiary_task import PredictedMaps, TertiaryTask, soft_maps
from rnafm_cli.training.recipes import TertiaryRecipe
from rnafm_cli.training.trainer import CHECKPOINT, Trainer
from rnafm_cli.weights.files import Card, load_model_file
from rnafm_cli.weights.store import encoder_read_by

__all__ = [
    "HEAD_FILE",
    "TertiaryOutcome",
    "TertiaryRun",
    "run_tertiary",
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
        shown = frozenset(there)
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


HEAD_FILE = "head.safetensors"
BASELINE = "baseline"
_VALUES = [*CONTACT_METRICS, *DISTANCE_METRICS, *(f"regression_{name}" for name in DISTANCE_METRICS)]


def score_maps(maps: Iterable[PredictedMaps]) -> pd.DataFrame:
    """Scores of contacts and distances, a row per chain; ``regression_mse`` ... for the other readout.

    Contacts are scored for chains with distances too, as ``contact``; a chain that has neither score is left out.
    """
    rows = []
    for one in maps:
        contact, distance = score_contacts(one.chain, one.contact_LL), score_distances(one.chain, one.distance_LL)
        scores = [score for score in (contact, distance) if score]
        row = {name: value for score in scores for name, value in score.values.items()}
        if one.regression_LL is not None and (other := score_distances(one.chain, one.regression_LL)) is not None:
            row |= {f"regression_{name}": value for name, value in other.values.items()}
        if contact is not None:
            row |= {f"ceiling_{name}": value for name, value in contact.ceiling.items()}
        if scores:
            counts = {"pairs": max(s.pairs for s in scores), "positives": contact.positives if contact else 0}
            rows.append({"id": one.chain.id, "length": len(one.chain), **counts, **row})
    columns = ["id", "length", "pairs", "positives", *_VALUES, *(f"ceiling_{name}" for name in CONTACT_METRICS)]
    return pd.DataFrame(rows, columns=columns)


def mean_values(scores: pd.DataFrame) -> dict[str, float]:
    """Mean over the chains that have a value, by metric; ``chains`` and ``chains_with_distances`` count them."""
    means = {name: float(value) for name, value in scores[_VALUES].mean().dropna().items()}
    counts = {"chains": CONTACT_METRICS[0], "chains_with_distances": "mse"}
    return means | {name: float(scores[column].notna().sum()) for name, column in counts.items()}


def write_table(path: Path, rows: Sequence[tuple[str, pd.DataFrame]]) -> None:
    """Write the means of each row: over chains with known distances, and over all chains.

    Of contacts, ``with contacts`` are the means over chains that have a long-range one, and ``ceiling`` is what a
    perfect predictor would reach.
    """
    lines = []
    for name, scores in rows:
        measured = scores[scores["mse"].notna()]
        parts = {
            "with distances": measured,
            "with distances and contacts": measured[measured["positives"] > 0],
            "all": scores,
        }
        lines += [
            {"row": name, "chains_from": label, "chains": len(part), **part[_VALUES].mean()}
            for label, part in parts.items()
            if len(part)
        ]
    first = rows[0][1]
    best = first[first[f"ceiling_{CONTACT_METRICS[0]}"].notna() & first["mse"].notna()]
    if len(best):
        means = {name: best[f"ceiling_{name}"].mean() for name in CONTACT_METRICS}
        lines.append({"row": "ceiling", "chains_from": "with distances", "chains": len(best), **means})
    _write(path, pd.DataFrame(lines, columns=["row", "chains_from", "chains", *_VALUES]), "%.4f")


def _write(path: Path, table: pd.DataFrame, numbers: str = "%.6g") -> None:
    with atomic_path(path) as scratch:
        table.to_csv(scratch, sep="\t", index=False, float_format=numbers)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, sep="\t", dtype={"id": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as scores of chains ({error})") from error


def baseline_maps(train: Iterable[Example], held_out: Sequence[Example]) -> list[PredictedMaps]:
    """The free guess: spread pair probabilities, and the mean distance by separation and probability nearby.

    Args:
        train: chains that the table of distances comes from.
        held_out: chains to guess; like the others they need their pair probabilities.
    """
    table = DistanceTable((one.chain, one.prior_LL) for one in train if one.prior_LL is not None)
    return [
        PredictedMaps(one.chain, spread_probabilities(one.prior_LL), table.predict(one.prior_LL))
        for one in held_out
        if one.prior_LL is not None
    ]


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
    signal: int | None = None


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
        self._signal: int | None = None
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
        return TertiaryOutcome(finished, means, head, self._signal)

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
        start, card = fold_head_of(run.init_from, run.weights_dir)
        if start.config.embedding and encoder_read_by(card) != self._encoder_sha256:
            raise WeightsError(
                f"{run.init_from}: its fold head was trained on another encoder than {run.model or 'none'}",
                hint="give its own encoder with --model",
            )
        self._start_sha256 = card.weights_sha256
        return start

    def _baseline(self, data: ChainSet) -> None:
        """Scores of the free guess on the same folds, before anything is trained."""
        path = self._run.output / BASELINE / SCORES
        if not self._run.prior:
            return
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            maps = []
            for fold in range(self._run.recipe.data.folds):
                train = [data.examples[k] for k in data.outside(fold)]
                maps += baseline_maps(train, [data.examples[k] for k in data.inside(fold)])
            _write(path, score_maps(maps))
        self._tell(BASELINE, mean_values(_read(path)))

    def _fold(self, data: ChainSet, row: Row, fold: int) -> bool:
        folder = self._folder(row, fold)
        if (folder / SCORES).exists():
            return True
        maps = self._train(data, row, fold, folder)
        if maps is None:
            return False
        held_out_maps(folder / MAPS, maps, provenance={"row": row.name, "fold": fold, "name": self._run.name})
        scores = score_maps(maps)
        _write(folder / SCORES, scores)
        self._tell(f"{row.name}, fold {fold} held out", mean_values(scores))
        return True

    def _train(
        self,
        data: ChainSet,
        row: Row,
        fold: int | None,
        folder: Path,
        *,
        soft: float = 0.0,
        metrics: dict[str, object] | None = None,
    ) -> list[PredictedMaps] | None:
        """Train a head on what lies outside a fold: maps of the chains inside, None if the run was stopped."""
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
        task = TertiaryTask(
            run.task,
            run.recipe,
            [data.examples[k] for k in members],
            data.weights(members, run.recipe),
            shown=row.shown,
            start=start,
            soft=soft,
            held_out=[] if fold is None else [data.examples[k] for k in data.inside(fold)],
            metrics=metrics,
        )
        card = Card(name=run.name, kind=run.task, config={}, encoder_sha256=self._encoder_sha256, source=source)
        trainer = Trainer(run.recipe, task, folder, card=card, names=(Path(HEAD_FILE).stem, None), midway=False)
        outcome = trainer.train(max_minutes=self._minutes_left())
        self._signal = outcome.signal
        if not outcome.finished:
            return None
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return task.maps

    def _summary(self) -> dict[str, float]:
        """The table of all rows whose folds are there, and the maps of the main row in one file."""
        output, folds = self._run.output, range(self._run.recipe.data.folds)
        table = []
        if (output / BASELINE / SCORES).exists():
            table.append((BASELINE, _read(output / BASELINE / SCORES)))
        means: dict[str, float] = {}
        for row in self._every:
            parts = [self._folder(row, fold) for fold in folds]
            if all((part / SCORES).exists() for part in parts):
                scores = pd.concat([_read(part / SCORES) for part in parts], ignore_index=True)
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
        soft = self._run.recipe.loss.soft
        if soft > 0:
            data = self._with_soft_maps(data)
        made = self._train(data, self._main, None, folder, soft=soft, metrics={"cross_validated": means})
        return made is not None, folder / HEAD_FILE

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
