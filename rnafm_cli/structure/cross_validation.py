"""Heads for contacts and distances from files: free guesses first, then cross-validation, then the head to keep.

The folder of a run holds ``baselines.tsv`` with the scores of the free guesses, ``folds/K`` with a head, its metrics
and its held-out scores and maps, ``table.tsv`` with the means, ``held_out.h5``, and ``final/head.safetensors``. What is
there is not made again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from rnafm_cli.encoder.network import Encoder
from rnafm_cli.errors import ConfigError, InputError, Reject, UsageError, WeightsError
from rnafm_cli.families.library import load_libraries
from rnafm_cli.io.maps import TERTIARY, map_writer
from rnafm_cli.io.streams import atomic_path, write_json
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.metrics import CONTACT_METRICS, DISTANCE_METRICS, score_contacts, score_distances
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.baselines import distance_guesses, spread_probabilities, with_relatives
from rnafm_cli.structure.batches import Example
from rnafm_cli.structure.fold_task import PairRun, Start, head_config
from rnafm_cli.structure.pair import PairConfig
from rnafm_cli.structure.tertiary import HEAD_KIND, TertiaryMaps
from rnafm_cli.structure.tertiary_data import ChainSet, chains_sha256, load_chains, prepare_examples
from rnafm_cli.structure.tertiary_head import TertiaryConfig
from rnafm_cli.structure.tertiary_task import TertiaryTask
from rnafm_cli.training.recipes import TertiaryRecipe
from rnafm_cli.training.trainer import CHECKPOINT, Trainer
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.store import encoder_read_by

HEAD_FILE = "head.safetensors"
SCORES, MAPS, TABLE, BASELINES = "scores.tsv", "held_out.h5", "table.tsv", "baselines.tsv"
_VALUES = [*CONTACT_METRICS, *DISTANCE_METRICS]
_CEILINGS = [f"ceiling_{name}" for name in CONTACT_METRICS]


@dataclass(frozen=True)
class TertiaryOutcome:
    """How a run ended: ``finished`` is False when time ran out or a signal came, ``means`` those of the folds."""

    finished: bool
    means: dict[str, float]
    head: Path | None
    signal: int | None = None


def run_tertiary(
    run: PairRun,
    recipe: TertiaryRecipe,
    files: Sequence[Path],
    *,
    reject: Reject,
    families: Sequence[str] = (),
    folds: Sequence[int] = (),
) -> TertiaryOutcome:
    """Validate and train, or go on with, the heads in ``run.output``.

    Args:
        files: HDF5 files of chains, structure files or folders of them.
        reject: called with the error of a structure file that cannot be used.
        families: libraries of families to look for, files or ``shipped``.
        folds: folds to hold out, and no head to keep is trained; all, and then the head to keep, if empty.

    Raises:
        UsageError: as :meth:`PairRun.begin` does; for unknown folds.
        WeightsError: when the encoder or the starting head cannot be used.
        InputError: when no chain can be used.
        ConfigError: when the folder holds a run of other chains or another recipe.
    """
    every = range(recipe.data.folds)
    if not set(folds) <= set(every):
        raise UsageError(f"--folds {','.join(map(str, folds))}: there are folds 0 to {every[-1]}")
    encoder, sha256, start = run.begin()
    given = {"sequence": True, "embedding": encoder is not None, "prior": run.prior, "template": bool(families)}
    pair = _pair_config(run, recipe, given, encoder, sha256, start)
    chains, counts = load_chains(files, recipe, reject=reject, report=run.report)
    run.output.mkdir(parents=True, exist_ok=True)
    fold_head = start.card.weights_sha256 if start is not None else None
    made = {
        "chains": chains_sha256(chains),
        "encoder": sha256,
        "fold head": fold_head,
        "prior": run.prior,
        "families": families,
        "recipe": {name: values for name, values in recipe.to_dict().items() if name != "run"},
    }
    _check_same(run.output, made)
    # The prior is the one that the pair head knows.
    trunk = dataclasses.replace(recipe.trunk, parameters=pair.parameters)
    write_json(run.output / "config.json", dataclasses.replace(recipe, trunk=trunk).to_dict())
    libraries = load_libraries(families, run.weights_dir)
    cache = run.cache(pair.parameters)
    data = prepare_examples(chains, recipe, encoder=encoder, cache=cache, libraries=libraries, progress=run.progress)
    source = {
        "files": [path.name for path in files],
        "chains": counts,
        "held out": None,
        "fold head": fold_head,
        "families": [Path(name).name for name in families],
    }
    config = TertiaryConfig(pair=pair, **dataclasses.asdict(recipe.map))
    training = _Training(run, recipe, data, config, run.card(HEAD_KIND, sha256, source), start)
    tables = []
    if run.prior:
        path = run.output / BASELINES
        if not path.exists():
            _write(path, _baselines(data, every))
        for name, scores in (table := _read(path)).groupby("row", sort=False):
            run.report(f"{name}: {_told(scores)}")
        tables.append(table)
    finished = all(training.fold(fold) for fold in folds or every)
    parts, means = [run.output / "folds" / str(fold) for fold in every], dict[str, float]()
    if all((part / SCORES).exists() for part in parts):
        scores = pd.concat([_read(part / SCORES) for part in parts], ignore_index=True)
        tables.append(scores.assign(row="head"))
        with map_writer(run.output / MAPS, TERTIARY, provenance={"name": run.name}, half=True, force=True) as writer:
            for record, maps in _stored(part / MAPS for part in parts):
                writer.add(record, maps)
        means = mean_values(scores) | calibrated(chains, run.output / MAPS)
        run.report(f"cross-validated: {_told(scores)}")
    if tables:
        _write(run.output / TABLE, table_of(pd.concat(tables, ignore_index=True)), "%.4f")
    head: Path | None = None
    if finished and not folds:
        head = run.output / "final" / HEAD_FILE
        finished = head.exists() or training.train(None, means) is not None
    return TertiaryOutcome(finished, means, head, training.signal)


def _pair_config(
    run: PairRun,
    recipe: TertiaryRecipe,
    given: dict[str, bool],
    encoder: Encoder | None,
    encoder_sha256: str | None,
    start: Start | None,
) -> PairConfig:
    """The pair head to start from, or the one that the recipe describes."""
    if start is None:
        width = 0 if encoder is None else encoder.config.width
        return head_config(recipe.trunk, width, inputs=[name for name in given if given[name]])
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
class _Training:
    """What the heads of all folds share; ``signal`` is the one that stopped them."""

    run: PairRun
    recipe: TertiaryRecipe
    data: ChainSet
    config: TertiaryConfig
    card: Card
    start: Start | None
    signal: int | None = None

    def fold(self, fold: int) -> bool:
        """Train without a fold, keep maps and scores of its chains; False if the run was stopped."""
        folder = self.run.output / "folds" / str(fold)
        if (folder / SCORES).exists():
            return True
        if (maps := self.train(fold, {})) is None:
            return False
        with map_writer(folder / MAPS, TERTIARY, provenance={"fold": fold}, half=True, force=True) as writer:
            for one in maps:
                writer.add(one.record, one.named())
        scores = score_maps(self.data.inside(fold), maps)
        _write(folder / SCORES, scores)
        self.run.report(f"fold {fold} held out: {_told(scores)}")
        return True

    def train(self, fold: int | None, means: dict[str, float]) -> list[TertiaryMaps] | None:
        """Train a head on what lies outside a fold: maps of the chains inside, None if the run was stopped."""
        what = "final" if fold is None else f"folds/{fold}"
        folder, config = self.run.output / what, self.config
        task = TertiaryTask(
            self.recipe,
            self.data,
            dataclasses.replace(config, sd_scale=means.get("sd_scale", config.sd_scale)),
            fold=self.start.tensors if self.start is not None else None,
            held_out=fold,
            metrics={"cross_validated": means} if means else {},
        )
        trainer = Trainer(
            self.recipe,
            task,
            folder,
            card=dataclasses.replace(self.card, source={**self.card.source, "held out": fold}),
            progress=lambda counted, done, total: self.run.progress(f"{what}: {counted}", done, total),
        )
        outcome = trainer.train(max_minutes=self.run.minutes_left())
        self.signal = outcome.signal
        if not outcome.finished:
            return None
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return task.maps


def _told(scores: pd.DataFrame) -> str:
    means, parts = mean_values(scores), []
    if "top_l1" in means:
        tops = " ".join(f"{means[name]:.3f}" for name in CONTACT_METRICS)
        parts.append(f"long-range L/10 L/5 L/2 L {tops}")
    if "mse" in means:
        parts.append("distance MSE {mse:.4f} R2 {r2:.3f} PA {pa:.3f} PMCC {pmcc:.3f}".format(**means))
    return "; ".join(parts)


def _baselines(data: ChainSet, folds: Iterable[int]) -> pd.DataFrame:
    """Scores of free guesses on all folds, named in the column ``row``: spread pair probabilities and the mean distance
    by separation and probability nearby; and what relatives tell, with these guesses where they tell nothing."""
    priors = [one.guide.prior_LL for one in data.examples if one.guide.prior_LL is not None]
    distances = distance_guesses([one.chain for one in data.examples], priors, data.folds)
    tables = []
    for fold in folds:
        guesses: dict[str, list[TertiaryMaps]] = {"pair probabilities": [], "relatives": []}
        for one in (held := data.inside(fold)):
            record, template = SequenceRecord(one.chain.id, one.chain.sequence), one.guide.template
            assert one.guide.prior_LL is not None
            found = spread_probabilities(one.guide.prior_LL), distances[one.chain.id]
            guesses["pair probabilities"].append(TertiaryMaps(record, *found))
            if template is not None and template.relatives is not None:
                found = with_relatives(*found, template.relatives)
            guesses["relatives"].append(TertiaryMaps(record, *found))
        tables += [score_maps(held, maps).assign(row=name) for name, maps in guesses.items()]
    return pd.concat(tables, ignore_index=True)


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
