"""Contacts and distances of RNAs: encoder, tertiary heads, and ViennaRNA's pair probabilities between them.

Shape suffixes: L bases, N pairs, W bases of a window.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rnafm_cli.encoder.batches import buckets, read_ahead
from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, Encoded, encode
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime, mixed_precision
from rnafm_cli.errors import InputError, Reject, UsageError, WeightsError, raise_rejected
from rnafm_cli.rna import thermo
from rnafm_cli.rna.chains import FARTHEST
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.baselines import spread_probabilities
from rnafm_cli.structure.evidence import Evidence
from rnafm_cli.structure.fold import EXACT_PRIOR_CELL_BYTES, FEW_PAIRS, LOCAL_PRIOR_CELL_BYTES, PAIRS_PER_BATCH
from rnafm_cli.structure.pair import PairInputs, pair_inputs
from rnafm_cli.structure.plan import PairPlan, check_memory, default_max_memory, plan_pairs, stitch
from rnafm_cli.structure.prior import Priors
from rnafm_cli.structure.tertiary_head import Readout, TertiaryConfig, TertiaryHead
from rnafm_cli.weights.files import NoInitialValues, load_tensors

if TYPE_CHECKING:
    from rnafm_cli.encoder.model import NamedModel

__all__ = [
    "Maps",
    "PairChoice",
    "TASKS",
    "TertiaryMaps",
    "TertiaryPredictor",
    "Top",
    "load_tertiary_predictor",
    "parse_top",
    "predict_tertiary",
]


_TOP = re.compile(r"(?P<times>\d+(?:\.\d+)?)?\s*\*?\s*(?P<length>L)?\s*(?:/\s*(?P<part>\d+(?:\.\d+)?))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Top:
    """A number of pairs: fixed, or a multiple of the length."""

    times: float
    of_length: bool

    def count(self, length: int) -> int:
        """Pairs of an RNA, at least 1."""
        return max(1, int(self.times * (length if self.of_length else 1)))


def parse_top(text: str) -> Top:
    """Read ``L/2``, ``L``, ``1.5L`` or ``100``.

    Raises:
        UsageError: for anything else.
    """
    match = _TOP.fullmatch(text.strip())
    if match is None or not (match["times"] or match["length"]):
        raise UsageError(f"--top {text}: is no number of pairs", hint="write L/2, L, 2L or a number")
    part = float(match["part"] or 1)
    times = float(match["times"] or 1) / part if part else 0.0
    if not times or (not match["length"] and (match["part"] or times != int(times))):
        raise UsageError(f"--top {text}: is no number of pairs", hint="write L/2, L, 2L or a number")
    return Top(times, match["length"] is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairChoice:
    """Rules for the pairs i < j to write; what is None does not matter.

    Args:
        least: smallest contact probability.
        farthest: largest distance, Å.
        separation: smallest j - i.
        top: how many of the best.
    """

    least: float | None = None
    farthest: float | None = None
    separation: int = 1
    top: Top | None = None

    def pairs(
        self, contact_LL: NDArray[np.floating] | None, distance_LL: NDArray[np.floating] | None
    ) -> NDArray[np.int64]:
        """(N, 2) pairs, 0-based, i < j, the best first: most probable, or nearest where there are no probabilities.

        Raises:
            ValueError: when there is no map at all.
        """
        ranked_LL = contact_LL if contact_LL is not None else distance_LL
        if ranked_LL is None:
            raise ValueError("no map to choose pairs from")
        rows, columns = np.triu_indices(len(ranked_LL), k=max(1, self.separation))
        kept = np.ones(len(rows), dtype=np.bool_)
        if self.least is not None and contact_LL is not None:
            kept &= contact_LL[rows, columns] >= self.least
        if self.farthest is not None and distance_LL is not None:
            kept &= distance_LL[rows, columns] <= self.farthest
        rows, columns = rows[kept], columns[kept]
        rank_N = ranked_LL[rows, columns].astype(np.float64)
        order = np.argsort(-rank_N if contact_LL is not None else rank_N, kind="stable")
        if self.top is not None:
            order = order[: self.top.count(len(ranked_LL))]
        return np.stack([rows[order], columns[order]], axis=1).astype(np.int64)


TASKS = ("contact", "distance")
HEAD_CELL_BYTES = 1250
"""Working memory of a head for a pair of bases, distances included, measured at 1,000 nt in float32."""
Task = Literal["contact", "distance"]
Maps = tuple[NDArray[np.float32] | None, NDArray[np.float32] | None, NDArray[np.float32] | None]
"""Contact probabilities, distances and their deviation (Å), each (L, L) or None."""


class TertiaryPredictor:
    """One head or two, with ViennaRNA's pair probabilities unless ``prior`` is off.

    Args:
        heads: by task, in evaluation mode.
        readout: where distances are read; what the head's card says if None.
        max_bytes: memory that the process may take; beyond it maps are computed in windows.
        prior_processes: processes that compute pair probabilities beside this one.
    """

    def __init__(
        self,
        heads: dict[str, TertiaryHead],
        runtime: Runtime,
        *,
        prior: bool,
        readout: Readout | None = None,
        max_bytes: int | None = None,
        prior_processes: int = 0,
    ) -> None:
        self._heads, self._runtime, self._prior, self._readout = heads, runtime, prior, readout
        self._priors = Priors(_parameters(heads.values()), prior_processes)
        self.max_bytes = max_bytes or default_max_memory()

    def plan(self, length: int) -> PairPlan:
        """Memory for one RNA, and whether it needs windows."""
        exact = length <= thermo.LONGEST_EXACT
        prior = (EXACT_PRIOR_CELL_BYTES if exact else LOCAL_PRIOR_CELL_BYTES) if self._prior else 0
        return plan_pairs(length, self.max_bytes, cell_bytes=HEAD_CELL_BYTES, prior_cell_bytes=prior, windows=True)

    def foresee(self, record: SequenceRecord) -> None:
        """Begin with the prior of a record that will come."""
        if self._prior:
            self._priors.foresee(record, Evidence())

    def __call__(self, batch: Sequence[Encoded]) -> list[Maps]:
        """Maps of RNAs of similar length."""
        priors = [self._priors.of(one.record, Evidence()) for one in batch] if self._prior else None
        if len(batch) == 1 and (window := self.plan(len(batch[0].record.sequence)).window):
            return [self._in_windows(batch[0], priors[0] if priors else None, window)]
        return self._run(batch, priors)

    @torch.inference_mode()
    def _run(self, batch: Sequence[Encoded], priors: Sequence[np.ndarray] | None) -> list[Maps]:
        device = self._runtime.device
        sequences = [one.record.sequence for one in batch]
        embeddings = [one.rows_LD for one in batch]
        inputs = pair_inputs(sequences, embeddings=embeddings, priors=priors, width=embeddings[0].shape[1]).to(device)
        contact = distance = sd = None
        with mixed_precision(device.type, bf16=self._runtime.dtype == torch.bfloat16):
            for task, head in self._heads.items():
                logits = head(_for_head(inputs, head), distances=task == "distance")
                if task == "contact":
                    contact = logits.contacts().float().cpu().numpy()
                else:
                    maps = logits.distances(self._readout or head.config.readout)
                    distance, sd = (values.float().cpu().numpy() for values in maps)
                del logits
        for values in (distance, sd):
            if values is not None:
                # The head also has an opinion on the distance of a base from itself.
                np.einsum("bii->bi", values)[:] = 0.0
        if contact is not None:
            np.einsum("bii->bi", contact)[:] = 1.0
        return [
            tuple(None if m is None else m[k, : len(s), : len(s)].copy() for m in (contact, distance, sd))  # type: ignore[misc]
            for k, s in enumerate(sequences)
        ]

    def _in_windows(self, one: Encoded, prior_LL: np.ndarray | None, window: int) -> Maps:
        length = len(one.record.sequence)
        # Every window is run once and gives all maps; stitching goes map by map.
        kept: dict[int, Maps] = {}

        def run(part: slice) -> Maps:
            if part.start not in kept:
                record = dataclasses.replace(one.record, sequence=one.record.sequence[part])
                piece = Encoded(record, one.rows_LD[part], one.cls_D)
                kept[part.start] = self._run([piece], None if prior_LL is None else [prior_LL[part, part]])[0]
            return kept[part.start]

        def stitched(number: int, outside_LL: np.ndarray) -> NDArray[np.float32]:
            def block(part: slice) -> np.ndarray:
                map_WW = run(part)[number]
                assert map_WW is not None
                return map_WW

            return stitch(length, window, block, outside_LL, one_partner=False)

        contact = distance = sd = None
        square = (length, length)
        if "contact" in self._heads:
            far_LL = np.zeros(square, dtype=np.float32) if prior_LL is None else spread_probabilities(prior_LL)
            contact = stitched(0, far_LL)
        if "distance" in self._heads:
            distance = stitched(1, np.full(square, FARTHEST, dtype=np.float32))
            sd = stitched(2, np.zeros(square, dtype=np.float32))
        return contact, distance, sd


def load_tertiary_predictor(
    model: NamedModel,
    tasks: Sequence[str],
    *,
    prior: bool,
    warn: Callable[[str], None],
    readout: Readout | None = None,
    max_bytes: int | None = None,
    prior_processes: int = 0,
) -> TertiaryPredictor:
    """The predictor of a model for ``contact``, ``distance``, or both.

    Args:
        prior: use the thermodynamic prior where a head takes one.
        warn: called once when the prior is wanted and ViennaRNA is missing.
        readout: where distances are read; what the head's card says if None.
        max_bytes: memory that the process may take.
        prior_processes: processes that compute the prior of coming records meanwhile.

    Raises:
        UsageError: for a codon model.
        WeightsError: when the model lacks a head, or the head belongs to another encoder.
    """
    try:
        heads = {task: _load_head(model, task) for task in tasks}
    except WeightsError:
        model.check_nucleotides()
        raise
    if len({id(model.encoder_for(task)) for task in tasks}) > 1:
        raise UsageError(f"the heads of '{model.name}' read different encoders", hint="ask for one map at a time")
    takes_prior = any("prior" in head.config.pair.inputs for head in heads.values())
    if prior and takes_prior and not thermo.available():
        warn("ViennaRNA's Python package is missing: predicting without the thermodynamic prior, less exactly")
        prior = False
    return TertiaryPredictor(
        heads,
        model.runtime,
        prior=prior and takes_prior,
        readout=readout,
        max_bytes=max_bytes,
        prior_processes=prior_processes,
    )


def _parameters(heads: Iterable[TertiaryHead]) -> thermo.Parameters:
    """The energy parameters behind the prior of all heads.

    Raises:
        UsageError: when they differ.
    """
    kinds = {head.config.pair.parameters for head in heads}
    if len(kinds) > 1:
        raise UsageError("the heads' priors have different energy parameters", hint="ask for one map at a time")
    return kinds.pop()


def _for_head(inputs: PairInputs, head: TertiaryHead) -> PairInputs:
    """Without the inputs that the head was trained without, which another head may need."""
    known = head.config.pair.inputs
    shown = torch.full_like(inputs.lengths_B, "sequence" in known, dtype=torch.bool)
    return dataclasses.replace(
        inputs,
        embedding_BLD=inputs.embedding_BLD if "embedding" in known else None,
        prior_BLL=inputs.prior_BLL if "prior" in known else None,
        has_sequence_B=shown,
    )


def _load_head(model: NamedModel, task: str) -> TertiaryHead:
    tensors, card = model.component(task)
    if card.kind != task:
        raise WeightsError(f"'{card.name}' is a model of kind {card.kind}, not {task}")
    try:
        config = TertiaryConfig.from_dict(card.config)
    except (KeyError, TypeError) as error:
        raise WeightsError(f"the card of '{card.name}' ({card.kind}) holds no usable configuration") from error
    with NoInitialValues():
        head = TertiaryHead(config)
    load_tensors(head, tensors, card)
    return head.to(model.runtime.device).eval()


@dataclass(frozen=True, eq=False)
class TertiaryMaps:
    """What is predicted of one RNA; maps are (L, L) float32 and symmetric, None where not asked for."""

    record: SequenceRecord
    contact_LL: NDArray[np.float32] | None = None
    """Probability that the bases are in contact: heavy atoms closer than 8 Å."""
    distance_LL: NDArray[np.float32] | None = None
    """Expected smallest distance of heavy atoms, Å, 20 for all that is farther."""
    sd_LL: NDArray[np.float32] | None = None
    """Standard deviation of the distance, Å."""

    def named(self) -> dict[str, NDArray[np.float32]]:
        """The maps that there are, as files name them."""
        maps = {"contact": self.contact_LL, "distance": self.distance_LL, "sd": self.sd_LL}
        return {name: map_LL for name, map_LL in maps.items() if map_LL is not None}


def predict_tertiary(
    records: Iterable[SequenceRecord],
    encoder: Encoder,
    predictor: TertiaryPredictor,
    runtime: Runtime,
    *,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
    tell: Callable[[str], None] | None = None,
) -> Iterator[TertiaryMaps]:
    """Yield every record's maps in input order.

    The encoder and the prior run once, whatever is asked for. An RNA whose maps would not fit into memory goes in
    windows; one that would not even so is rejected before work begins.

    Args:
        records: clean sequences.
        predictor: gives the maps; it knows which.
        batch_tokens: tokens per batch of the encoder.
        long: what happens to records beyond the encoder's limit.
        reject: called with the error of a record that cannot be used.
        tell: called with a message before an RNA goes in windows.
    """

    def usable() -> Iterator[SequenceRecord]:
        for record in records:
            try:
                plan = predictor.plan(len(record.sequence))
                check_memory(record, plan, predictor.max_bytes, tell, doing="predicting")
            except InputError as error:
                reject(error)
            else:
                predictor.foresee(record)
                yield record

    encoded = encode(usable(), encoder, runtime, batch_tokens=batch_tokens, long=long, reject=reject)
    for chunk in read_ahead(encoded, lambda one: len(one.record.sequence) ** 2, PAIRS_PER_BATCH):
        found: list[Maps] = [(None, None, None)] * len(chunk)
        for group in buckets([len(one.record.sequence) ** 2 for one in chunk], PAIRS_PER_BATCH, small=FEW_PAIRS):
            for k, maps in zip(group, predictor([chunk[k] for k in group]), strict=True):
                found[k] = maps
        for one, maps in zip(chunk, found, strict=True):
            yield TertiaryMaps(one.record, *maps)
