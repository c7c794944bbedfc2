"""The way of an RNA through a pair network: checked for memory, guided, through the network whole or in windows.

Folding, contacts and distances differ in the maps of a :class:`PairPredictor` and in what it makes of them; everything
else is here. Shape suffixes: L bases, N windows, W bases of a window, D embedding width.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, encode, within_limit
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime, mixed_precision
from rnafm_cli.encoder.workers import blend_weights, buckets, free_memory, read_ahead, window_starts, worked
from rnafm_cli.errors import InputError, Reject, WeightsError, raise_rejected
from rnafm_cli.rna import thermo
from rnafm_cli.rna.decode import Constraints
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.pair import Guide, PairConfig
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import NoInitialValues, load_tensors

if TYPE_CHECKING:
    from rnafm_cli.encoder.model import NamedModel
    from rnafm_cli.families.alignment import Template
    from rnafm_cli.families.search import Search

GIGABYTE = 10**9
DEFAULT_GIGABYTES = 4
PROCESS_BYTES = int(0.6 * GIGABYTE)
"""Interpreter, libraries, encoder and heads, before any RNA."""
DECODING_BYTES = 20
"""For each pair of bases: its probability, its prior, and at worst a sum of the decoder's."""
EXACT_PRIOR_CELL_BYTES, LOCAL_PRIOR_CELL_BYTES = 100, 8
"""ViennaRNA's working memory for a pair of bases, of the whole ensemble and of local pairs."""
WIDEST_WINDOW = 2048
"""Windows overlap by half, so this one still holds every pair that the local prior knows of."""
NARROWEST_WINDOW = 512
_WINDOW_STEP = 128
PAIRS_PER_BATCH = 1 << 18
"""Cells of the pair maps that go through the network together."""
FEW_PAIRS = 1 << 14
"""Cells up to which a batch may be filled without regard to padding."""

Result = TypeVar("Result")
_Network = TypeVar("_Network", bound=nn.Module)
Maps = dict[str, NDArray[np.float32]]
"""(L, L) symmetric maps of one RNA by name."""


@dataclass(frozen=True, eq=False)
class Query:
    """An RNA of L bases to predict, and what is known of it beforehand.

    Args:
        reactivities: (L,) SHAPE reactivities, NaN where there is none.
    """

    record: SequenceRecord
    constraints: Constraints | None = None
    reactivities: NDArray[np.float64] | None = None

    @property
    def cells(self) -> int:
        """Pairs of bases, both orders."""
        return len(self.record.sequence) ** 2


@dataclass(frozen=True)
class PairPlan:
    """What one RNA will need.

    Args:
        window: bases of a window; None for the whole map at once.
        bytes: predicted peak of the whole process.
        whole: the same without windows.
    """

    window: int | None
    bytes: int
    whole: int

    def check(
        self, record: SequenceRecord, max_bytes: int, doing: str, tell: Callable[[str], None] | None = None
    ) -> None:
        """Refuse an RNA that would not fit, and tell of one that goes in windows, before ``doing`` it begins."""
        where, length = record.where, len(record)
        if self.bytes > max_bytes:
            raise InputError(
                f"{where}: {doing} {length} nt takes about {self.bytes / GIGABYTE:.1f} GB "
                f"and the limit is {max_bytes / GIGABYTE:.1f} GB",
                hint=f"--max-memory {-(-self.bytes // GIGABYTE)} allows it, or cut the sequence into overlapping parts",
            )
        if self.window is not None and tell is not None:
            tell(
                f"{where}: {length} nt would take about {self.whole / GIGABYTE:.1f} GB at once; "
                f"{doing} in windows of {self.window} nt (about {self.bytes / GIGABYTE:.1f} GB)"
            )


def plan_pairs(length: int, max_bytes: int, *, cell_bytes: int, prior_cell_bytes: int, windows: bool) -> PairPlan:
    """How to compute a pair map.

    Args:
        length: L.
        max_bytes: what the process may take.
        cell_bytes: the network's working memory for a pair of bases.
        prior_cell_bytes: the prior's, which is needed and given back before the network's.
        windows: whether the predictor can work in windows; it does so only if the whole does not fit.

    Returns:
        A plan whose ``bytes`` may still exceed the limit, when not even windows help.
    """
    fixed = PROCESS_BYTES + DECODING_BYTES * length**2

    def peak(size: int) -> int:
        return fixed + max(cell_bytes * size**2, prior_cell_bytes * length**2)

    whole = peak(length)
    if whole <= max_bytes or not windows or length <= NARROWEST_WINDOW:
        return PairPlan(None, whole, whole)
    room = max(max_bytes - fixed, 0) // cell_bytes
    size = int(room**0.5) // _WINDOW_STEP * _WINDOW_STEP
    size = min(max(size, NARROWEST_WINDOW), WIDEST_WINDOW, length)
    return PairPlan(size, peak(size), whole)


def prior_cell_bytes(length: int, *, exact: bool = False) -> int:
    """ViennaRNA's working memory for a pair of bases of an RNA; long ones are folded locally unless ``exact``."""
    return EXACT_PRIOR_CELL_BYTES if exact or length <= thermo.LONGEST_EXACT else LOCAL_PRIOR_CELL_BYTES


def default_max_memory() -> int:
    """Bytes a run takes unless told otherwise: 4 GB, or four fifths of what is free where that is less."""
    return int(min(DEFAULT_GIGABYTES * GIGABYTE, free_memory() * 4 // 5))


class PairPredictor(ABC, Generic[Result]):
    """Makes results of queries; what it needs beside the network is computed where it runs.

    Args:
        head: the network, in evaluation mode.
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
        head: Any,
        runtime: Runtime,
        *,
        encoder: Encoder | None = None,
        parameters: thermo.Parameters | None = None,
        search: Search | None = None,
        max_bytes: int | None = None,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
    ) -> None:
        self.head, self.runtime = head, runtime
        self.precision = mixed_precision(runtime.device.type, bf16=runtime.dtype == torch.bfloat16)
        self.encoder, self.parameters, self.search = encoder, parameters, search
        self.max_bytes = max_bytes or default_max_memory()
        self.batch_tokens = batch_tokens

    @abstractmethod
    def maps(self, guides: Sequence[Guide]) -> list[Maps]:
        """What the network makes of RNAs of similar length."""

    @abstractmethod
    def outside(self, guide: Guide) -> Maps:
        """What holds for pairs that are too far apart for a window."""

    @abstractmethod
    def result(self, query: Query, guide: Guide, maps: Maps) -> Result:
        """What is told of an RNA."""

    def plan(self, query: Query) -> PairPlan:
        """Memory for one RNA, and whether it needs windows."""
        length, prior = len(query.record), 0
        if self.parameters is not None:
            knows = query.constraints is not None or query.reactivities is not None
            prior = prior_cell_bytes(length, exact=knows)
        return plan_pairs(
            length, self.max_bytes, cell_bytes=self.cell_bytes, prior_cell_bytes=prior, windows=self.windows
        )

    def admit(self, query: Query, tell: Callable[[str], None] | None = None) -> None:
        """Refuse a query that cannot be met, and tell of one that goes in windows."""
        self.plan(query).check(query.record, self.max_bytes, self.doing, tell)

    def __call__(self, queries: Sequence[Query]) -> list[Result]:
        """Results in the order of the queries."""
        templates = self._templates(queries)
        rows: list[Tensor | None] = [None] * len(queries)
        if self.encoder is not None:
            records = [query.record for query in queries]
            rows = [one.rows_LD for one in encode(records, self.encoder, self.runtime, batch_tokens=self.batch_tokens)]
        found: dict[int, Result] = {}
        for group in buckets([query.cells for query in queries], PAIRS_PER_BATCH, small=FEW_PAIRS):
            part = [queries[k] for k in group]
            guides = [Guide(queries[k].record.sequence, rows[k], self._prior(queries[k]), templates[k]) for k in group]
            found |= zip(group, self.run(part, guides), strict=True)
        return [found[k] for k in range(len(queries))]

    def run(self, queries: Sequence[Query], guides: Sequence[Guide]) -> list[Result]:
        """Results of RNAs of similar length."""
        first = guides[0]
        if len(guides) == 1 and (window := self.plan(queries[0]).window):
            outside = self.outside(first)
            maps = [stitch(len(first.sequence), window, lambda bases: self.maps([first.part(bases)])[0], outside)]
        else:
            maps = self.maps(guides)
        return [self.result(*one) for one in zip(queries, guides, maps, strict=True)]

    def _prior(self, query: Query) -> NDArray[np.float32] | None:
        if self.parameters is None:
            return None
        sequence, constraints = query.record.sequence, query.constraints
        nested = None if constraints is None else constraints.nested(sequence)
        return thermo.prior(sequence, self.parameters, nested, query.reactivities)

    def _templates(self, queries: Sequence[Query]) -> list[Template | None]:
        if self.search is None:
            return [None] * len(queries)
        from rnafm_cli.families.alignment import templates

        found = templates([query.record.sequence for query in queries], self.search, relatives=self.relatives)
        for query, template in zip(queries, found, strict=True):
            if template is not None and query.constraints is not None:
                # What is demanded wins: the family has no say on those bases.
                settled_L = query.constraints.settled
                template.pairs_LL[settled_L] = 0.0
                template.pairs_LL[:, settled_L] = 0.0
        return found


def stitch(length: int, window: int, maps_of: Callable[[slice], Maps], outside: Maps) -> Maps:
    """The maps of a long RNA from those of its windows.

    Windows overlap by half. A pair within several gets their mean, weighted by how far from a cut its bases
    lie; a pair within none gets what stands in ``outside``.

    Args:
        maps_of: gives the (W, W) maps of a slice of bases.
        outside: (L, L) values for pairs too far apart for a window, of each map; they are written over.
    """
    starts = window_starts(length, window, window // 2)
    parts = [slice(start, start + window) for start in starts]
    weights_NL = np.zeros((len(parts), length), dtype=np.float32)
    for weights_L, part in zip(weights_NL, parts, strict=True):
        weights_L[part] = blend_weights(part.start, window, length, window // 2)
        for map_LL in outside.values():
            map_LL[part, part] = 0.0
    for weights_L, part in zip(weights_NL, parts, strict=True):
        all_NW, mine_W = weights_NL[:, part], weights_L[part]
        share_WW = mine_W[:, None] * mine_W / (all_NW.T @ all_NW)
        for name, map_WW in maps_of(part).items():
            outside[name][part, part] += map_WW * share_WW
    return outside


def predict(
    records: Iterable[SequenceRecord],
    predictor: PairPredictor[Result],
    *,
    query_of: Callable[[SequenceRecord], Query] = Query,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Result]:
    """Yield a result for every record, in input order; batches are shared out to the runtime's workers.

    An RNA whose maps would not fit into memory goes in windows; one that would not even so is rejected before work
    begins.

    Args:
        records: clean sequences.
        query_of: adds to a record what is known of it beforehand.
        long: what happens to records beyond the encoder's limit, if the head reads an encoder.
        reject: called with the error of a record that cannot be used.
        tell: called with a message before an RNA goes in windows.
    """
    if predictor.encoder is not None:
        records = within_limit(records, predictor.encoder, long, reject)

    def queries() -> Iterator[Query]:
        for record in records:
            try:
                query = query_of(record)
                predictor.admit(query, tell)
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


def head_file(model: NamedModel, name: str) -> tuple[dict[str, Tensor], Card]:
    """Tensors and card of one of a model's heads; a codon model, which has none, is told so."""
    try:
        return model.component(name)
    except WeightsError:
        model.check_nucleotides()
        raise


def ready(make: Callable[[], _Network], tensors: dict[str, Tensor], card: Card, runtime: Runtime) -> _Network:
    """A new head with its tensors, in evaluation mode, where it runs."""
    with NoInitialValues():
        head = make()
    load_tensors(head, tensors, card)
    return head.to(runtime.device).eval()


def surroundings(
    model: NamedModel,
    name: str,
    config: PairConfig,
    *,
    prior: bool = True,
    families: Sequence[str | Path] = (),
    warn: Callable[[str], None] = warnings.warn,
    max_bytes: int | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
) -> dict[str, Any]:
    """What a head needs beside itself, as arguments of a :class:`PairPredictor`.

    Args:
        prior: use the thermodynamic prior where the head takes one.
        families: libraries of families to look for, files or ``shipped``, where the head takes templates.
        warn: called once when the prior is wanted and ViennaRNA is missing.
        max_bytes: memory that the process may take; see :func:`default_max_memory`.
        batch_tokens: tokens per batch of the encoder, if the head reads one.
    """
    found: dict[str, Any] = {"max_bytes": max_bytes, "batch_tokens": batch_tokens}
    if config.embedding:
        found["encoder"] = model.encoder_for(name)
    if prior and "prior" in config.inputs:
        if thermo.available():
            found["parameters"] = config.parameters
        else:
            warn("ViennaRNA's Python package is missing: predicting without the thermodynamic prior, less exactly")
    if families and "template" in config.inputs:
        from rnafm_cli.families.search import search_of

        found["search"] = search_of(families, model.weights_dir)
    return found
