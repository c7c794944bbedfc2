"""Heads for contacts and distances from files: free guesses first, then cross-validation, then the head to keep.

The folder of a run holds ``baselines.tsv`` with the scores of the free guesses, ``folds/K`` with a head, its metrics
and its held-out scores and maps, ``table.tsv`` with the means, ``held_out.h5``, and ``final/head.safetensors``. What is
there is not made again.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from rnafm_cli.errors import ConfigError, InputError, UsageError, WeightsError
from rnafm_cli.families.library import load_libraries
from rnafm_cli.io.maps import TERTIARY, map_writer
from rnafm_cli.io.streams import atomic_path, write_json
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.metrics import CONTACT_METRICS, DISTANCE_METRICS, score_contacts, score_distances
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.baselines import DistanceTable, spread_probabilities, with_relatives
from rnafm_cli.structure.batches import Example
from rnafm_cli.structure.fold_task import HeadRun, Start, head_config
from rnafm_cli.structure.pair import PairConfig
from rnafm_cli.structure.tertiary import HEAD_KIND, TertiaryMaps
from rnafm_cli.structure.tertiary_data import ChainSet, chains_sha256, load_chains, prepare_examples
from rnafm_cli.structure.tertiary_head import TertiaryConfig
from rnafm_cli.structure.tertiary_task import TertiaryTask
from rnafm_cli.training.recipes import TertiaryRecipe
from rnafm_cli.training.trainer import CHECKPOINT, Progress, Report, Trainer
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.store import encoder_read_by, encoder_source

HEAD_FILE = "head.safetensors"
SCORES, MAPS, TABLE, BASELINES = "scores.tsv", "held_out.h5", "table.tsv", "baselines.tsv"
_VALUES = [*CONTACT_METRICS, *DISTANCE_METRICS]
_CEILINGS = [f"ceiling_{name}" for name in CONTACT_METRICS]


@dataclass(frozen=True, kw_only=True)
class TertiaryRun(HeadRun):
    """What ``rnafm finetune contact`` or ``distance`` was asked to do.

    Args:
        files: HDF5 files of chains, structure files or folders of them.
        families: libraries of families to look for, files or ``shipped``.
        folds: folds to hold out, and no head to keep is trained; all, and then the head to keep, if empty.
    """

    files: tuple[Path, ...]
    recipe: TertiaryRecipe
    families: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()


@dataclass(frozen=True)
class TertiaryOutcome:
    """How a run ended: ``finished`` is False when time ran out or a signal came, ``means`` those of the folds."""

    finished: bool
    means: dict[str, float]
    head: Path | None
    signal: int | None = None


def run_tertiary(
    run: TertiaryRun,
    *,
    report: Report,
    reject: Callable[[InputError], None],
    progress: Progress = lambda what, done, total: None,
) -> TertiaryOutcome:
    """Validate and train, or go on with, the heads in ``run.output``.

    Args:
        reject: called with the error of a structure file that cannot be used.

    Raises:
        UsageError: as :meth:`HeadRun.begin` does; for unknown folds.
        WeightsError: when the encoder or the starting head cannot be used.
        InputError: when no chain can be used.
        ConfigError: when the folder holds a run of other chains or another recipe.
    """
    started, last = time.monotonic(), run.recipe.data.folds - 1
    if not set(run.folds) <= set(range(last + 1)):
        raise UsageError(f"--folds {','.join(map(str, run.folds))}: there are folds 0 to {last}")
    encoder, sha256, start = run.begin()
    pair = _pair_config(run, 0 if encoder is None else encoder.config.width, sha256, start)
    # The prior is the one that the pair head knows.
    trunk = dataclasses.replace(run.recipe.trunk, parameters=pair.parameters)
    recipe = dataclasses.replace(run.recipe, trunk=trunk)
    chains, counts = load_chains(run.files, recipe, reject=reject, report=report)
    run.output.mkdir(parents=True, exist_ok=True)
    made = {
        "chains": chains_sha256(chains),
        "encoder": sha256,
        "fold head": start.card.weights_sha256 if start is not None else None,
        "prior": run.prior,
        "families": run.families,
        "recipe": {name: values for name, values in run.recipe.to_dict().items() if name != "run"},
    }
    _check_same(run.output, made)
    write_json(run.output / "config.json", recipe.to_dict())
    data = prepare_examples(
        chains,
        counts,
        recipe,
        encoder=encoder,
        prior_file=run.prior_file if run.prior else None,
        libraries=load_libraries(run.families, run.weights_dir),
        progress=progress,
    )
    config = TertiaryConfig(pair=pair, **dataclasses.asdict(run.recipe.map))
    return _CrossValidation(run, data, config, sha256, start, report, progress, started).do()


def _pair_config(run: TertiaryRun, width: int, encoder_sha256: str | None, start: Start | None) -> PairConfig:
    """The pair head to start from, or the one that the recipe describes."""
    given = {"sequence": True, "embedding": width, "prior": run.prior, "template": run.families}
    if start is None:
        return head_config(run.recipe.trunk, width, inputs=[name for name in given if given[name]])
    if start.config.embedding and encoder_read_by(start.card) != encoder_sha256:
        raise WeightsError(
            f"{run.init_from}: its fold head was trained on another encoder than {run.model or 'none'}",
            hint="give its own encoder with --model",
        )
    # Tensors for families stay, though chains may be shown without.
    names = tuple(name for name in start.config.inputs if given[name] or name == "template")
    return dataclasses.replace(start.config, inputs=names)


def _check_same(folder: Path, made: dict[str, Any]) -> None:
    """Refuse a folder whose folds were made of other chains, or by another recipe: they would be mixed."""
    path = folder / "run.json"
    if not path.exists():
        write_json(path, made)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    # Tuples become lists, as in the file.
    if other := [name for name, value in json.loads(json.dumps(made)).items() if before.get(name) != value]:
        raise ConfigError(
            f"{folder}: holds a run with another {', '.join(other)}", hint="start a new run in another folder"
        )


@dataclass
class _CrossValidation:
    run: TertiaryRun
    data: ChainSet
    config: TertiaryConfig
    encoder_sha256: str | None
    start: Start | None
    report: Report
    progress: Progress
    started: float
    signal: int | None = None

    def do(self) -> TertiaryOutcome:
        """Everything that is not there yet."""
        run, every = self.run, range(self.run.recipe.data.folds)
        tables = []
        if run.prior:
            path = run.output / BASELINES
            if not path.exists():
                _write(path, _baselines(self.data, every))
            for name, scores in (table := _read(path)).groupby("row", sort=False):
                self._tell(str(name), scores)
            tables.append(table)
        finished = all(self._fold(fold) for fold in run.folds or every)
        parts, means = [run.output / "folds" / str(fold) for fold in every], dict[str, float]()
        if all((part / SCORES).exists() for part in parts):
            scores = pd.concat([_read(part / SCORES) for part in parts], ignore_index=True)
            tables.append(scores.assign(row="head"))
            named = {"name": run.name}
            with map_writer(run.output / MAPS, TERTIARY, provenance=named, half=True, force=True) as writer:
                for record, maps in _stored(part / MAPS for part in parts):
                    writer.add(record, maps)
            means = mean_values(scores) | calibrated([one.chain for one in self.data.examples], run.output / MAPS)
            self._tell("cross-validated", scores)
        if tables:
            _write(run.output / TABLE, table_of(pd.concat(tables, ignore_index=True)), "%.4f")
        head: Path | None = None
        if finished and not run.folds:
            head = run.output / "final" / HEAD_FILE
            finished = head.exists() or self._train(None, means) is not None
        return TertiaryOutcome(finished, means, head, self.signal)

    def _fold(self, fold: int) -> bool:
        """Train without a fold, keep maps and scores of its chains; False if the run was stopped."""
        folder = self.run.output / "folds" / str(fold)
        if (folder / SCORES).exists():
            return True
        if (maps := self._train(fold, {})) is None:
            return False
        with map_writer(folder / MAPS, TERTIARY, provenance={"fold": fold}, half=True, force=True) as writer:
            for one in maps:
                writer.add(one.record, one.named())
        scores = score_maps(self.data.inside(fold), maps)
        _write(folder / SCORES, scores)
        self._tell(f"fold {fold} held out", scores)
        return True

    def _train(self, fold: int | None, means: dict[str, float]) -> list[TertiaryMaps] | None:
        """Train a head on what lies outside a fold: maps of the chains inside, None if the run was stopped."""
        run, what = self.run, "final" if fold is None else f"folds/{fold}"
        source = {
            "files": [path.name for path in run.files],
            "chains": self.data.counts,
            "held out": fold,
            "fold head": self.start.card.weights_sha256 if self.start is not None else None,
            "families": [Path(name).name for name in run.families],
            "encoder": encoder_source(run.model),
        }
        task = TertiaryTask(
            run.recipe,
            self.data,
            dataclasses.replace(self.config, sd_scale=means.get("sd_scale", self.config.sd_scale)),
            fold=self.start.tensors if self.start is not None else None,
            held_out=fold,
            metrics={"cross_validated": means} if means else {},
        )
        trainer = Trainer(
            run.recipe,
            task,
            run.output / what,
            card=Card(name=run.name, kind=HEAD_KIND, config={}, encoder_sha256=self.encoder_sha256, source=source),
            progress=lambda counted, done, total: self.progress(f"{what}: {counted}", done, total),
        )
        left = None
        if run.max_minutes is not None:
            left = max(0.0, run.max_minutes - (time.monotonic() - self.started) / 60)
        outcome = trainer.train(max_minutes=left)
        self.signal = outcome.signal
        if not outcome.finished:
            return None
        (run.output / what / CHECKPOINT).unlink(missing_ok=True)
        return task.maps

    def _tell(self, what: str, scores: pd.DataFrame) -> None:
        means, parts = mean_values(scores), []
        if "top_l1" in means:
            tops = " ".join(f"{means[name]:.3f}" for name in CONTACT_METRICS)
            parts.append(f"long-range L/10 L/5 L/2 L {tops}")
        if "mse" in means:
            parts.append("distance MSE {mse:.4f} R2 {r2:.3f} PA {pa:.3f} PMCC {pmcc:.3f}".format(**means))
        self.report(f"{what}: {'; '.join(parts)}")


def _baselines(data: ChainSet, folds: Iterable[int]) -> pd.DataFrame:
    """Scores of the free guesses on all folds, named in the column ``row``."""
    tables = []
    for fold in folds:
        held = data.inside(fold)
        for name, maps in baseline_maps(data.outside(fold), held).items():
            tables.append(score_maps(held, maps).assign(row=name))
    return pd.concat(tables, ignore_index=True)


def baseline_maps(train: Iterable[Example], held_out: Iterable[Example]) -> dict[str, list[TertiaryMaps]]:
    """Free guesses of held-out chains, by name: spread pair probabilities and the mean distance by separation and
    probability nearby; and what relatives tell, with these guesses where they tell nothing."""
    table = DistanceTable((e.chain, e.guide.prior_LL) for e in train if e.guide.prior_LL is not None)
    guesses: dict[str, list[TertiaryMaps]] = {"pair probabilities": [], "relatives": []}
    for one in held_out:
        prior_LL, template = one.guide.prior_LL, one.guide.template
        assert prior_LL is not None
        record = SequenceRecord(one.chain.id, one.chain.sequence)
        found = spread_probabilities(prior_LL), table.predict(prior_LL)
        guesses["pair probabilities"].append(TertiaryMaps(record, *found))
        if template is not None and template.relatives is not None:
            found = with_relatives(*found, template.relatives)
        guesses["relatives"].append(TertiaryMaps(record, *found))
    return guesses


def score_maps(examples: Iterable[Example], maps: Iterable[TertiaryMaps]) -> pd.DataFrame:
    """Scores of contacts and distances, a row per chain; a chain that has neither score is left out."""
    rows = []
    for example, one in zip(examples, maps, strict=True):
        chain, template = example.chain, example.guide.template
        assert one.contact_LL is not None and one.distance_LL is not None
        row: dict[str, float] = {}
        if (contact := score_contacts(chain, one.contact_LL)) is not None:
            row |= contact.values | {f"ceiling_{name}": value for name, value in contact.ceiling.items()}
        if (distance := score_distances(chain, one.distance_LL)) is not None:
            row |= distance.values
        if row:
            known = template is not None and template.relatives is not None
            rows.append({"id": chain.id, "length": len(chain), "relative": known, **row})
    return pd.DataFrame(rows, columns=["id", "length", "relative", *_VALUES, *_CEILINGS])


def mean_values(scores: pd.DataFrame) -> dict[str, float]:
    """Mean over the chains that have a value, by metric; ``chains`` and ``chains_with_distances`` count them."""
    means = {name: float(value) for name, value in scores[_VALUES].mean().dropna().items()}
    counts = {"chains": CONTACT_METRICS[0], "chains_with_distances": "mse"}
    return means | {name: float(scores[column].notna().sum()) for name, column in counts.items()}


def table_of(scores: pd.DataFrame) -> pd.DataFrame:
    """The means of each predictor (``row``) over chains with known distances, all or those with or without a relative,
    and over all chains; ``ceiling`` is what a perfect predictor would reach.
    """
    lines = []
    parts = [(str(name), part, _VALUES) for name, part in scores.groupby("row", sort=False)]
    for name, part, columns in [*parts, ("ceiling", parts[0][1], _CEILINGS)]:
        related, everyone = part["relative"].astype(bool), pd.Series(True, index=part.index)
        for what, chosen in (("with distances", part["mse"].notna()), ("all", everyone)):
            for whom, some in (("", everyone), (", relative known", related), (", no relative known", ~related)):
                if len(rows := part[chosen & some]):
                    means = rows[columns].mean().rename(lambda column: column.removeprefix("ceiling_"))
                    lines.append({"row": name, "chains_from": what + whom, "chains": len(rows), **means})
    return pd.DataFrame(lines, columns=["row", "chains_from", "chains", *_VALUES])


def calibrated(chains: Iterable[Chain], path: Path) -> dict[str, float]:
    """``sd_scale``, by which deviations of held-out maps are to be multiplied to be right on average, and the share
    of pairs ``within_sd`` of one and ``within_2sd`` of two such deviations; nothing where no distances are known."""
    known = {chain.id: chain.clipped_distances() for chain in chains}
    errors, deviations = [], []
    for record, maps in _stored([path]):
        if (true_LL := known[record.id]) is not None:
            seen_LL = np.triu(np.isfinite(true_LL), k=1)
            errors.append(maps["distance"][seen_LL].astype(np.float64) - true_LL[seen_LL])
            deviations.append(maps["sd"][seen_LL].astype(np.float64))
    if not errors:
        return {}
    error_N, sd_N = np.concatenate(errors), np.concatenate(deviations)
    usable = sd_N > 0.05
    scale = float(np.sqrt(np.mean((error_N[usable] / sd_N[usable]) ** 2))) if usable.any() else 1.0
    within = {name: times * scale * sd_N for name, times in (("within_sd", 1.0), ("within_2sd", 2.0))}
    return {"sd_scale": scale, **{name: float(np.mean(np.abs(error_N) <= sd)) for name, sd in within.items()}}


def _stored(paths: Iterable[Path]) -> Iterator[tuple[SequenceRecord, dict[str, np.ndarray]]]:
    for path in paths:
        with h5py.File(path, "r") as file:
            for group in file.values():
                record = SequenceRecord(str(group.attrs["id"]), str(group.attrs["sequence"]))
                yield record, {name: data[()] for name, data in group.items()}


def _write(path: Path, table: pd.DataFrame, numbers: str = "%.6g") -> None:
    with atomic_path(path) as scratch:
        table.to_csv(scratch, sep="\t", index=False, float_format=numbers)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, sep="\t", dtype={"id": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as scores of chains ({error})") from error
