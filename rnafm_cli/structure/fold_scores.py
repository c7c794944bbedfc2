"""How well a pair head folds development records, with chosen inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rnafm_cli.encoder.batches import buckets
from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.errors import InputError
from rnafm_cli.rna.decode import DecodeOptions, decode
from rnafm_cli.rna.metrics import FoldScore, FoldSummary, score_fold, summarise
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.fold_recipe import RunSection
from rnafm_cli.structure.pair import PairHead, pair_probabilities
from rnafm_cli.structure.prior_cache import PriorCache
from rnafm_cli.training.run_log import CsvLog

__all__ = ["ALL_INPUTS", "DevScores", "GAMMAS", "Measurement", "prior_scores", "score_head"]


ALL_INPUTS = frozenset({"embedding", "sequence", "prior"})
GAMMAS = (1.0, 1.5, 2.0, 3.0)
"""Weights of pairs against unpaired bases in the decoder among which a measurement chooses."""

_VALUES = ("precision", "recall", "f1", "relaxed_f1", "micro_f1")
_COLUMNS = ("step", "seconds", "set", "inputs", "gamma", "records", *_VALUES)


@dataclass(frozen=True)
class Measurement:
    """``score``: mean over the development sets of strict macro F1 with all inputs, by which heads are selected."""

    score: float
    metrics: dict[str, float]


class DevScores:
    """Measures a head on a fixed part of every development set and keeps the table of it.

    Args:
        cache: pair probabilities of the records; without it the head is measured without the prior.
    """

    def __init__(
        self,
        sets: dict[str, list[StructureRecord]],
        cache: PriorCache | None,
        run: RunSection,
        report: Callable[[str], None],
    ) -> None:
        self._cache, self._bf16, self._report = cache, run.bf16, report
        self._table: CsvLog | None = None
        self.sets = self.choose(sets, run)

    @staticmethod
    def choose(sets: dict[str, list[StructureRecord]], run: RunSection) -> dict[str, list[StructureRecord]]:
        """The records of each set that are measured, the same ones every time.

        Raises:
            InputError: for a set without any.
        """
        chosen = {}
        for name, records in sets.items():
            short = [record for record in records if len(record.sequence) <= run.score_longest]
            drawn = np.random.default_rng(0).permutation(len(short))[: run.score_records]
            if not len(drawn):
                raise InputError(
                    f"development set '{name}': none of its {len(records)} records is measured, all are longer than "
                    f"{run.score_longest} nt",
                    hint="raise run.score_longest, or leave the set out",
                )
            chosen[name] = [short[k] for k in sorted(drawn)]
        return chosen

    def open(self, path: Path, step: int) -> None:
        """Go on with the table at ``path``; rows after ``step`` are dropped."""
        self._table = CsvLog(path, _COLUMNS, step)

    def close(self) -> None:
        """Flush and close the table."""
        if self._table is not None:
            self._table.close()

    def measure(self, head: PairHead, encoder: Encoder | None, *, step: int, seconds: float) -> Measurement:
        """Fold all sets with and without the prior, each with the decoder's gamma of the highest mean F1."""
        without = ALL_INPUTS - {"prior"}
        ways = [DecodeOptions(gamma=gamma) for gamma in GAMMAS]
        measured: list[Measurement] = []
        for inputs in (ALL_INPUTS, without) if self._cache is not None else (without,):
            label = "+".join(sorted(inputs))
            found: dict[str, list[FoldSummary]] = {}
            for name, records in self.sets.items():
                scored = score_head(head, encoder, records, self._cache, inputs=inputs, options=ways, bf16=self._bf16)
                found[name] = [summarise(scores) for scores in scored]
                for gamma, summary in zip(GAMMAS, found[name], strict=True):
                    row = {key: getattr(summary, key) for key in _VALUES}
                    row |= {"step": step, "seconds": seconds, "set": name, "inputs": label, "gamma": gamma}
                    if self._table is not None:
                        self._table.add(row | {"records": summary.records})
            means = [float(np.mean([of_set[k].f1 for of_set in found.values()])) for k in range(len(ways))]
            best = int(np.argmax(means))
            for name, of_set in found.items():
                value = of_set[best]
                self._report(
                    f"step {step}: {name} {label} gamma {GAMMAS[best]:g}: "
                    f"f1 {value.f1:.4f} relaxed {value.relaxed_f1:.4f}"
                )
            metrics = {f"{name} f1": of_set[best].f1 for name, of_set in found.items()}
            measured.append(Measurement(means[best], metrics | {"gamma": GAMMAS[best]}))
        return measured[0]


@torch.inference_mode()
def score_head(
    head: PairHead,
    encoder: Encoder | None,
    records: Sequence[StructureRecord],
    cache: PriorCache | None,
    *,
    inputs: frozenset[str] = ALL_INPUTS,
    options: Sequence[DecodeOptions] = (DecodeOptions(),),
    pair_budget: int = 400_000,
    bf16: bool = True,
) -> list[list[FoldScore]]:
    """Fold every record with the given inputs and score it.

    Args:
        options: ways to decode the same probabilities.
        cache: holds every record's pair probabilities; not needed without ``prior`` among the inputs.

    Returns:
        for each way to decode, the scores in the order of the records.
    """
    scores: list[dict[int, FoldScore]] = [{} for _ in options]
    for group in buckets([len(record.sequence) ** 2 for record in records], pair_budget):
        part = [records[k] for k in group]
        sequences = [record.sequence for record in part]
        embeddings = embed_batch(encoder, sequences, bf16=bf16) if encoder and "embedding" in inputs else None
        priors = [cache[s].dense(len(s)) for s in sequences] if cache is not None and "prior" in inputs else None
        found = pair_probabilities(
            head, sequences, embeddings=embeddings, priors=priors, use_sequence="sequence" in inputs, bf16=bf16
        )
        for k, record, p_LL in zip(group, part, found, strict=True):
            for way, way_scores in zip(options, scores, strict=True):
                way_scores[k] = _score(record, p_LL, way)
    return [[way_scores[k] for k in range(len(records))] for way_scores in scores]


def prior_scores(
    records: Sequence[StructureRecord], cache: PriorCache, *, options: DecodeOptions | None = None
) -> list[FoldScore]:
    """The same for the prior alone, decoded in the same way."""
    return [_score(r, cache[r.sequence].dense(len(r.sequence)), options) for r in records]


def _score(record: StructureRecord, p_LL: np.ndarray, options: DecodeOptions | None) -> FoldScore:
    pairs = decode(p_LL, record.sequence, options)
    return score_fold(record.pairs, pairs, length=len(record.sequence), id=record.id, family=record.family)
