"""Contacts and distances of RNAs by the heads that are trained on chains with coordinates.

Shape suffixes: L bases, N pairs, W bases of a window.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS
from rnafm_cli.encoder.runtime import Runtime, mixed_precision
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.rna.chains import FARTHEST
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.baselines import spread_probabilities
from rnafm_cli.structure.fold import family_search, prior_parameters
from rnafm_cli.structure.pair import pair_inputs
from rnafm_cli.structure.plan import stitch
from rnafm_cli.structure.predict import Guide, PairPredictor, Query, batch_of, in_windows
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


class TertiaryPredictor(PairPredictor["TertiaryMaps"]):
    """One head or two that read the same inputs.

    Args:
        heads: by task, in evaluation mode.
        readout: where distances are read; what the head's card says if None.
    """

    cell_bytes = HEAD_CELL_BYTES
    doing = "predicting"

    def __init__(
        self, heads: dict[str, TertiaryHead], runtime: Runtime, *, readout: Readout | None = None, **more: Any
    ) -> None:
        super().__init__(runtime, **more)
        self._heads, self._readout = heads, readout

    def run(self, queries: Sequence[Query], guides: Sequence[Guide]) -> list[TertiaryMaps]:
        """Maps of RNAs of similar length."""
        if len(guides) == 1 and (window := self.plan(queries[0]).window):
            found = [self._in_windows(guides[0], window)]
        else:
            found = self._maps(guides)
        return [TertiaryMaps(query.record, *maps) for query, maps in zip(queries, found, strict=True)]

    @torch.inference_mode()
    def _maps(self, guides: Sequence[Guide]) -> list[Maps]:
        device = self.runtime.device
        contact = distance = sd = None
        with mixed_precision(device.type, bf16=self.runtime.dtype == torch.bfloat16):
            for task, head in self._heads.items():
                pair = head.config.pair
                inputs = pair_inputs(**batch_of(guides, pair), width=pair.embedding).to(device)
                logits = head(inputs, distances=task == "distance")
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
        sizes = [len(guide.sequence) for guide in guides]
        return [
            tuple(None if m is None else m[k, :size, :size].copy() for m in (contact, distance, sd))  # type: ignore[misc]
            for k, size in enumerate(sizes)
        ]

    def _in_windows(self, guide: Guide, window: int) -> Maps:
        length = len(guide.sequence)
        # Every window is run once and gives all maps; stitching goes map by map.
        run = in_windows(guide, lambda part: self._maps([part])[0])

        def stitched(number: int, outside_LL: np.ndarray) -> NDArray[np.float32]:
            def block(part: slice) -> np.ndarray:
                map_WW = run(part)[number]
                assert map_WW is not None
                return map_WW

            return stitch(length, window, block, outside_LL, one_partner=False)

        contact = distance = sd = None
        square, prior_LL = (length, length), guide.prior_LL
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
    prior: bool = True,
    families: Sequence[str | Path] = (),
    warn: Callable[[str], None] = warnings.warn,
    readout: Readout | None = None,
    max_bytes: int | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
) -> TertiaryPredictor:
    """The predictor of a model for ``contact``, ``distance``, or both.

    Args:
        prior: use the thermodynamic prior where a head takes one.
        families: libraries of families to look for, files or ``shipped``, where a head takes templates.
        warn: called once when the prior is wanted and ViennaRNA is missing.
        readout: where distances are read; what the head's card says if None.
        max_bytes: memory that the process may take.
        batch_tokens: tokens per batch of the encoder, if a head reads one.

    Raises:
        UsageError: for a codon model.
        WeightsError: when the model lacks a head, or the head belongs to another encoder.
    """
    try:
        heads = {task: _load_head(model, task) for task in tasks}
    except WeightsError:
        model.check_nucleotides()
        raise
    configs = {task: head.config.pair for task, head in heads.items()}
    encoders = [model.encoder_for(task) for task, config in configs.items() if config.embedding]
    if len({id(encoder) for encoder in encoders}) > 1:
        raise UsageError(f"the heads of '{model.name}' read different encoders", hint="ask for one map at a time")
    takes_templates = any("template" in config.inputs for config in configs.values())
    return TertiaryPredictor(
        heads,
        model.runtime,
        encoder=encoders[0] if encoders else None,
        parameters=prior_parameters(list(configs.values()), wanted=prior, warn=warn),
        search=family_search(model, families) if takes_templates else None,
        readout=readout,
        max_bytes=max_bytes,
        batch_tokens=batch_tokens,
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
