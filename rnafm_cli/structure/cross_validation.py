"""Heads for contacts and distances from files: free guesses first, then cross-validation, then the head to keep.

The folder of a run holds ``baselines.tsv`` with the scores of the free guesses, ``folds/K`` with a head, its metrics
and its held-out scores and maps, ``table.tsv`` with the means, ``held_out.h5``, and ``final/head.safetensors``. What is
there is not made again.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from rnafm_cli.errors import ConfigError, InputError, UsageError, WeightsError
from rnafm_cli.families.library import load_libraries
from rnafm_cli.io.maps import TertiaryMapWriter
from rnafm_cli.io.streams import atomic_path, write_json
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.metrics import CONTACT_METRICS, DISTANCE_METRICS, score_contacts, score_distances
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.baselines import DistanceTable, spread_probabilities, with_relatives
from rnafm_cli.structure.batches import Example
from rnafm_cli.structure.fold_task import HeadRun, fold_head_of, head_config
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
        folds: folds to hold out; all if empty.
        final: train the head to keep.
    """

    files: tuple[Path, ...]
    recipe: TertiaryRecipe
    families: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    final: bool = True


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
    return _CrossValidation(run, report, progress).do(reject)


class _CrossValidation:
    def __init__(self, run: TertiaryRun, report: Report, progress: Progress) -> None:
        self._run, self._report, self._progress = run, report, progress
        self._started = time.monotonic()
        self._signal: int | None = None
        self._all_folds = range(run.recipe.data.folds)
        if not set(run.folds) <= set(self._all_folds):
            last = len(self._all_folds) - 1
            raise UsageError(f"--folds {','.join(map(str, run.folds))}: there are folds 0 to {last}")
        self._encoder, self._encoder_sha256 = run.begin()
        self._start = fold_head_of(run.init_from, run.weights_dir) if run.init_from is not None else None
        self._start_sha256 = self._start.card.weights_sha256 if self._start is not None else None
        self._config = TertiaryConfig(pair=self._pair_config(), **dataclasses.asdict(run.recipe.map))

    def do(self, reject: Callable[[InputError], None]) -> TertiaryOutcome:
        """Everything that is not there yet."""
        run = self._run
        # The prior is the one that the pair head knows.
        trunk = dataclasses.replace(run.recipe.trunk, parameters=self._config.pair.parameters)
        recipe = dataclasses.replace(run.recipe, trunk=trunk)
        chains, counts = load_chains(run.files, recipe, reject=reject, report=self._report)
        run.output.mkdir(parents=True, exist_ok=True)
        self._check_same(chains_sha256(chains))
        write_json(run.output / "config.json", recipe.to_dict())
        data = prepare_examples(
            chains,
            counts,
            recipe,
            encoder=self._encoder,
            prior_file=run.prior_file,
            libraries=load_libraries(run.families, run.weights_dir),
            progress=self._progress,
        )
        if run.prior:
            self._baselines(data)
        finished = all(self._fold(data, fold) for fold in run.folds or self._all_folds)
        means = self._summary(data)
        head: Path | None = None
        if finished and run.final:
            head = run.output / "final" / HEAD_FILE
            finished = head.exists() or self._train(data, None, means) is not None
        return TertiaryOutcome(finished, means, head, self._signal)

    def _pair_config(self) -> PairConfig:
        """The pair head to start from, or the one that the recipe describes."""
        run = self._run
        width = 0 if self._encoder is None else self._encoder.config.width
        given = {"sequence": True, "embedding": width, "prior": run.prior, "template": run.families}
        if (start := self._start) is None:
            return head_config(run.recipe.trunk, width, inputs=[name for name in given if given[name]])
        if start.config.embedding and encoder_read_by(start.card) != self._encoder_sha256:
            raise WeightsError(
                f"{run.init_from}: its fold head was trained on another encoder than {run.model or 'none'}",
                hint="give its own encoder with --model",
            )
        # Tensors for families stay, though chains may be shown without.
        names = tuple(name for name in start.config.inputs if given[name] or name == "template")
        return dataclasses.replace(start.config, inputs=names)

    def _check_same(self, chains: str) -> None:
        """Refuse a folder whose folds were made of other chains, or by another recipe: they would be mixed.

        Raises:
            ConfigError: naming what differs.
        """
        run, path = self._run, self._run.output / "run.json"
        made = {
            "chains": chains,
            "encoder": self._encoder_sha256,
            "fold head": self._start_sha256,
            "prior": run.prior,
            "families": run.families,
            "recipe": {name: values for name, values in run.recipe.to_dict().items() if name != "run"},
        }
        if not path.exists():
            write_json(path, made)
            return
        before = json.loads(path.read_text(encoding="utf-8"))
        # Tuples become lists, as in the file.
        if other := [name for name, value in json.loads(json.dumps(made)).items() if before.get(name) != value]:
            raise ConfigError(
                f"{run.output}: holds a run with another {', '.join(other)}", hint="start a new run in another folder"
            )

    def _baselines(self, data: ChainSet) -> None:
        """Scores of the free guesses on the same folds, before anything is trained."""
        path = self._run.output / BASELINES
        if not path.exists():
            tables = []
            for fold in self._all_folds:
                for name, maps in baseline_maps(data.outside(fold), held := data.inside(fold)):
                    tables.append(score_maps(held, maps).assign(row=name))
            _write(path, pd.concat(tables, ignore_index=True))
        for name, scores in _read(path).groupby("row", sort=False):
            self._tell(str(name), scores)

    def _fold(self, data: ChainSet, fold: int) -> bool:
        folder = self._run.output / "folds" / str(fold)
        if (folder / SCORES).exists():
            return True
        maps = self._train(data, fold)
        if maps is None:
            return False
        with TertiaryMapWriter(folder / MAPS, provenance={"fold": fold}, half=True, force=True) as writer:
            for one in maps:
                writer.add_maps(one.record, one.named())
        scores = score_maps(data.inside(fold), maps)
        _write(folder / SCORES, scores)
        self._tell(f"fold {fold} held out", scores)
        return True

    def _train(
        self, data: ChainSet, fold: int | None, means: dict[str, float] | None = None
    ) -> list[TertiaryMaps] | None:
        """Train a head on what lies outside a fold: maps of the chains inside, None if the run was stopped."""
        run, what = self._run, "final" if fold is None else f"folds/{fold}"
        config = dataclasses.replace(self._config, sd_scale=(means or {}).get("sd_scale", self._config.sd_scale))
        source = {
            "files": [path.name for path in run.files],
            "chains": data.counts,
            "held out": fold,
            "fold head": self._start_sha256,
            "families": [Path(name).name for name in run.families],
            "encoder": encoder_source(run.model),
        }
        task = TertiaryTask(
            run.recipe,
            data,
            config,
            fold=self._start.tensors if self._start is not None else None,
            held_out=fold,
            metrics={"cross_validated": means} if means else {},
        )
        trainer = Trainer(
            run.recipe,
            task,
            run.output / what,
            card=Card(name=run.name, kind=HEAD_KIND, config={}, encoder_sha256=self._encoder_sha256, source=source),
            names=(Path(HEAD_FILE).stem, None),
            midway=False,
            progress=lambda counted, done, total: self._progress(f"{what}: {counted}", done, total),
        )
        left = None
        if run.max_minutes is not None:
            left = max(0.0, run.max_minutes - (time.monotonic() - self._started) / 60)
        outcome = trainer.train(max_minutes=left)
        self._signal = outcome.signal
        if not outcome.finished:
            return None
        (run.output / what / CHECKPOINT).unlink(missing_ok=True)
        return task.maps

    def _summary(self, data: ChainSet) -> dict[str, float]:
        """The table of the free guesses and of all folds, and the maps of all chains in one file."""
        output = self._run.output
        rows: list[tuple[str, pd.DataFrame]] = []
        if (output / BASELINES).exists():
            rows += [(str(name), part) for name, part in _read(output / BASELINES).groupby("row", sort=False)]
        parts = [output / "folds" / str(fold) for fold in self._all_folds]
        means: dict[str, float] = {}
        if all((part / SCORES).exists() for part in parts):
            scores = pd.concat([_read(part / SCORES) for part in parts], ignore_index=True)
            rows.append(("head", scores))
            means = mean_values(scores)
            with TertiaryMapWriter(output / MAPS, provenance={"name": self._run.name}, half=True, force=True) as writer:
                for record, maps in _stored(part / MAPS for part in parts):
                    writer.add_maps(record, maps)
            means |= calibrated([one.chain for one in data.examples], output / MAPS)
            self._tell("cross-validated", scores)
        if rows:
            _write(output / TABLE, table_of(rows), "%.4f")
        return means

    def _tell(self, what: str, scores: pd.DataFrame) -> None:
        means, parts = mean_values(scores), []
        if "top_l1" in means:
            tops = " ".join(f"{means[name]:.3f}" for name in CONTACT_METRICS)
            parts.append(f"long-range L/10 L/5 L/2 L {tops}")
        if "mse" in means:
            parts.append(
                f"distance MSE {means['mse']:.4f} R2 {means['r2']:.3f} PA {means['pa']:.3f} PMCC {means['pmcc']:.3f}"
            )
        self._report(f"{what}: {'; '.join(parts)}")


def baseline_maps(train: Iterable[Example], held_out: Sequence[Example]) -> Iterator[tuple[str, list[TertiaryMaps]]]:
    """The free guesses by name: spread pair probabilities and the mean distance by separation and probability nearby;
    and what relatives tell, with these guesses where they tell nothing.

    Args:
        train: chains that the table of distances comes from.
        held_out: chains to guess; like the others they need their pair probabilities.
    """
    table = DistanceTable((e.chain, e.guide.prior_LL) for e in train if e.guide.prior_LL is not None)
    guesses: dict[str, list[TertiaryMaps]] = {"pair probabilities": [], "relatives": []}
    for one in held_out:
        prior_LL, template = one.guide.prior_LL, one.guide.template
        assert prior_LL is not None
        record = SequenceRecord(one.chain.id, one.chain.sequence)
        plain = TertiaryMaps(record, spread_probabilities(prior_LL), table.predict(prior_LL))
        guesses["pair probabilities"].append(plain)
        if template is not None and template.relatives is not None:
            assert plain.contact_LL is not None and plain.distance_LL is not None
            plain = TertiaryMaps(record, *with_relatives(plain.contact_LL, plain.distance_LL, template.relatives))
        guesses["relatives"].append(plain)
    yield from guesses.items()


def score_maps(examples: Iterable[Example], maps: Iterable[TertiaryMaps]) -> pd.DataFrame:
    """Scores of contacts and distances, a row per chain; a chain that has neither score is left out."""
    rows = []
    for example, one in zip(examples, maps, strict=True):
        chain, template = example.chain, example.guide.template
        assert one.contact_LL is not None and one.distance_LL is not None
        contact, distance = score_contacts(chain, one.contact_LL), score_distances(chain, one.distance_LL)
        row: dict[str, float] = {}
        if contact is not None:
            row |= contact.values | {f"ceiling_{name}": value for name, value in contact.ceiling.items()}
        if distance is not None:
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


def table_of(rows: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """The means of each row over chains with known distances, all or those with or without a relative, and over all
    chains; ``ceiling`` is what a perfect predictor would reach.
    """
    lines = []
    for name, scores in [*rows, ("ceiling", rows[0][1])]:
        wanted = {column.removeprefix("ceiling_"): column for column in (_CEILINGS if name == "ceiling" else _VALUES)}
        related, everyone = scores["relative"].astype(bool), pd.Series(True, index=scores.index)
        for what, chosen in (("with distances", scores["mse"].notna()), ("all", everyone)):
            for whom, some in (("", everyone), (", relative known", related), (", no relative known", ~related)):
                if len(part := scores[chosen & some]):
                    means = {metric: part[column].mean() for metric, column in wanted.items()}
                    lines.append({"row": name, "chains_from": what + whom, "chains": len(part), **means})
    return pd.DataFrame(lines, columns=["row", "chains_from", "chains", *_VALUES])


def calibrated(chains: Iterable[Chain], path: Path) -> dict[str, float]:
    """``sd_scale``, by which deviations of held-out maps are to be multiplied to be right on average, and the share
    of pairs ``within_sd`` of one and ``within_2sd`` of two such deviations."""
    known = {chain.id: chain for chain in chains if chain.distance_LL is not None}
    errors, deviations = [], []
    for record, maps in _stored([path]):
        chain = known.get(record.id)
        clipped_LL = chain.clipped_distances() if chain is not None else None
        if clipped_LL is not None:
            upper = np.triu_indices(len(clipped_LL), k=1)
            error = maps["distance"][upper].astype(np.float64) - clipped_LL[upper]
            seen = np.isfinite(error)
            errors.append(error[seen])
            deviations.append(maps["sd"][upper][seen].astype(np.float64))
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
