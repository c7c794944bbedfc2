"""The way of an RNA through a pair network: checked, guided, through the network alone or in windows, in order.

Folding, contacts and distances differ in what a :class:`PairPredictor` makes of a batch; everything else is here.
Shape suffixes: L bases, D embedding width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rnafm_cli.encoder.batches import buckets, read_ahead
from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, encode, within_limit
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.encoder.workers import worked
from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.rna import thermo
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.evidence import Evidence, EvidenceOf, no_evidence
from rnafm_cli.structure.plan import PairPlan, check_memory, default_max_memory, plan_pairs
from rnafm_cli.structure.prior import prior_of

if TYPE_CHECKING:
    from rnafm_cli.families.search import Search
    from rnafm_cli.families.templates import Template
    from rnafm_cli.structure.pair import PairConfig

__all__ = ["Guide", "PairPredictor", "Query", "batch_of", "in_windows", "predict", "prior_cell_bytes"]

PAIRS_PER_BATCH = 1 << 18
"""Cells of the pair maps that go through the network together."""
FEW_PAIRS = 1 << 14
"""Cells up to which a batch may be filled without regard to padding."""
EXACT_PRIOR_CELL_BYTES = 100
LOCAL_PRIOR_CELL_BYTES = 8

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Query:
    """An RNA to predict, and what is known of it beforehand."""

    record: SequenceRecord
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def sequence(self) -> str:
        """The letters."""
        return self.record.sequence

    @property
    def cells(self) -> int:
        """Pairs of bases, both orders."""
        return len(self.sequence) ** 2


@dataclass(frozen=True, eq=False)
class Guide:
    """What a head is told of an RNA, or a part of it, besides its letters; None where it does without.

    Args:
        rows_LD: the encoder's representations, special tokens stripped.
        prior_LL: ViennaRNA's pair probabilities, symmetric.
        template: what the RNA's families say.
    """

    sequence: str
    rows_LD: Tensor | None = None
    prior_LL: NDArray[np.float32] | None = None
    template: Template | None = None

    def part(self, bases: slice) -> Guide:
        """The same of some of the bases."""
        return Guide(
            self.sequence[bases],
            None if self.rows_LD is None else self.rows_LD[bases],
            None if self.prior_LL is None else self.prior_LL[bases, bases],
            None if self.template is None else self.template.part(bases),
        )


class PairPredictor(ABC, Generic[Result]):
    """Makes results of queries; what it needs beside the network is computed where it runs.

    Args:
        encoder: whose representations the head reads; None for a head that reads letters alone.
        parameters: energy parameters of the prior; None to do without.
        search: families to look for; None to do without.
        max_bytes: memory that the process may take; beyond it pair maps are computed in windows.
    """

    cell_bytes: int
    """Working memory of the network for a pair of bases."""
    windows = True
    """Whether the network can work in windows."""
    relatives = False
    """Whether the network takes what known 3D structures of the RNA's families tell."""
    doing = "folding"
    """What it does, for messages."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        encoder: Encoder | None = None,
        parameters: thermo.Parameters | None = None,
        search: Search | None = None,
        max_bytes: int | None = None,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
    ) -> None:
        self.runtime, self.encoder, self.parameters, self.search = runtime, encoder, parameters, search
        self.max_bytes = max_bytes or default_max_memory()
        self.batch_tokens = batch_tokens

    @abstractmethod
    def run(self, queries: Sequence[Query], guides: Sequence[Guide]) -> list[Result]:
        """Results of RNAs of similar length."""

    def plan(self, query: Query) -> PairPlan:
        """Memory for one RNA, and whether it needs windows."""
        length = len(query.sequence)
        prior = prior_cell_bytes(length, exact=bool(query.evidence)) if self.parameters else 0
        return plan_pairs(
            length, self.max_bytes, cell_bytes=self.cell_bytes, prior_cell_bytes=prior, windows=self.windows
        )

    def __call__(self, queries: Sequence[Query]) -> list[Result]:
        """Results in the order of the queries."""
        templates = self._templates(queries)
        rows: list[Tensor | None] = [None] * len(queries)
        if self.encoder is not None:
            records = [query.record for query in queries]
            rows = [one.rows_LD for one in encode(records, self.encoder, self.runtime, batch_tokens=self.batch_tokens)]
        found: list[Result | None] = [None] * len(queries)
        for group in buckets([query.cells for query in queries], PAIRS_PER_BATCH, small=FEW_PAIRS):
            part = [queries[k] for k in group]
            guides = [Guide(queries[k].sequence, rows[k], self._prior(queries[k]), templates[k]) for k in group]
            for k, result in zip(group, self.run(part, guides), strict=True):
                found[k] = result
        return [result for result in found if result is not None]

    def _prior(self, query: Query) -> NDArray[np.float32] | None:
        if self.parameters is None:
            return None
        evidence = query.evidence
        return prior_of(query.sequence, self.parameters, evidence.nested(query.sequence), evidence.reactivities)

    def _templates(self, queries: Sequence[Query]) -> list[Template | None]:
        if self.search is None:
            return [None] * len(queries)
        from rnafm_cli.families.templates import templates

        found = templates([query.sequence for query in queries], self.search, relatives=self.relatives)
        for query, template in zip(queries, found, strict=True):
            constraints = query.evidence.constraints
            if template is not None and constraints is not None:
                # What is demanded wins: the family has no say on those bases.
                demanded = constraints.forced_unpaired.copy()
                demanded[constraints.forced_pairs.ravel()] = True
                template.pairs_LL[demanded] = 0.0
                template.pairs_LL[:, demanded] = 0.0
        return found


def prior_cell_bytes(length: int, *, exact: bool = False) -> int:
    """ViennaRNA's working memory for a pair of bases of an RNA; long ones are folded locally unless ``exact``."""
    return EXACT_PRIOR_CELL_BYTES if exact or length <= thermo.LONGEST_EXACT else LOCAL_PRIOR_CELL_BYTES


def predict(
    records: Iterable[SequenceRecord],
    predictor: PairPredictor[Result],
    *,
    evidence_of: EvidenceOf = no_evidence,
    check: Callable[[Query], None] = lambda query: None,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Result]:
    """Yield a result for every record, in input order; batches are shared out to the runtime's workers.

    An RNA whose maps would not fit into memory goes in windows; one that would not even so is rejected before work
    begins.

    Args:
        records: clean sequences.
        evidence_of: what is known of a record beforehand.
        check: raises an InputError for a query that cannot be met.
        long: what happens to records beyond the encoder's limit, if the head reads an encoder.
        reject: called with the error of a record that cannot be used.
        tell: called with a message before an RNA goes in windows.
    """
    if predictor.encoder is not None:
        records = within_limit(records, predictor.encoder, long, reject)

    def queries() -> Iterator[Query]:
        for record in records:
            try:
                query = Query(record, evidence_of(record))
                check(query)
                check_memory(record, predictor.plan(query), predictor.max_bytes, tell, doing=predictor.doing)
            except InputError as error:
                reject(error)
                continue
            yield query

    share = predictor.max_bytes // max(1, predictor.runtime.workers)

    def is_large(batch: Sequence[Query]) -> bool:
        return any(predictor.plan(query).bytes > share for query in batch if query.cells > PAIRS_PER_BATCH)

    batches = read_ahead(queries(), lambda query: query.cells, PAIRS_PER_BATCH // 2, cap=4)
    for results in worked(predictor, batches, processes=predictor.runtime.workers, alone=is_large):
        yield from results


def in_windows(one: Guide, run: Callable[[Guide], Result]) -> Callable[[slice], Result]:
    """What ``run`` makes of a part of an RNA, each part once."""
    kept: dict[int, Result] = {}

    def result(bases: slice) -> Result:
        if bases.start not in kept:
            kept[bases.start] = run(one.part(bases))
        return kept[bases.start]

    return result


def batch_of(guides: Sequence[Guide], config: PairConfig) -> dict[str, Any]:
    """Guides as arguments of :func:`rnafm_cli.structure.pair.pair_inputs`, less what a head was trained without."""
    inputs, rows, priors = config.inputs, [], []
    for guide in guides:
        if guide.rows_LD is not None:
            rows.append(guide.rows_LD)
        if guide.prior_LL is not None:
            priors.append(guide.prior_LL)
    return {
        "sequences": [guide.sequence for guide in guides],
        "embeddings": rows if rows and "embedding" in inputs else None,
        "priors": priors if priors and "prior" in inputs else None,
        "templates": [guide.template for guide in guides] if "template" in inputs else None,
        "use_sequence": "sequence" in inputs,
    }
