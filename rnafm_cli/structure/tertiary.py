"""Contacts and distances of RNAs by the heads that are trained on chains with coordinates.

Shape suffixes: L bases, N pairs, W bases of a window.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS
from rnafm_cli.encoder.runtime import Runtime, mixed_precision
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.rna.chains import FARTHEST
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.baselines import spread_probabilities
from rnafm_cli.structure.pair import pair_inputs
from rnafm_cli.structure.predict import Guide, Maps, PairPredictor, Query, batch_of, head_file, ready, surroundings
from rnafm_cli.structure.tertiary_head import TertiaryConfig, TertiaryHead

if TYPE_CHECKING:
    from rnafm_cli.encoder.model import NamedModel
    from rnafm_cli.families.alignment import Template

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
HEAD_KIND = "contact"
"""Kind and component of the one head that tells both."""
_HEAD_CELL_BYTES = 1250
"""Working memory of a head for a pair of bases, distances included, measured at 1,000 nt in float32."""


class TertiaryPredictor(PairPredictor["TertiaryMaps"]):
    """A head for contacts and distances.

    Args:
        head: in evaluation mode.
        tasks: what is asked for, some of :data:`TASKS`.
    """

    cell_bytes = _HEAD_CELL_BYTES
    doing = "predicting"
    relatives = True

    def __init__(self, head: TertiaryHead, runtime: Runtime, tasks: Sequence[str], **more: Any) -> None:
        super().__init__(runtime, **more)
        self._head, self._tasks = head, tasks

    @torch.inference_mode()
    def maps(self, guides: Sequence[Guide]) -> list[Maps]:
        """What is asked for: ``contact`` probabilities, ``distance`` and its deviation ``sd`` (Å)."""
        device, pair = self.runtime.device, self._head.config.pair
        inputs = pair_inputs(**batch_of(guides, pair), width=pair.embedding).to(device)
        with mixed_precision(device.type, bf16=self.runtime.dtype == torch.bfloat16):
            logits = self._head(inputs, distances="distance" in self._tasks)
        maps: dict[str, Tensor] = {}
        if "contact" in self._tasks:
            maps["contact"] = logits.contacts()
        if "distance" in self._tasks:
            mean, sd = logits.distances()
            maps |= {"distance": mean, "sd": sd * self._head.config.sd_scale}
        for name, map_BLL in maps.items():
            # The head also has an opinion on a base and itself.
            map_BLL.diagonal(dim1=1, dim2=2).fill_(1.0 if name == "contact" else 0.0)
        return [
            {name: m[k, :size, :size].float().cpu().numpy().copy() for name, m in maps.items()}
            for k, size in enumerate(len(guide.sequence) for guide in guides)
        ]

    def outside(self, guide: Guide) -> Maps:
        """Contacts as likely as the prior's pairs nearby; all distances long."""
        square, prior_LL = (len(guide.sequence),) * 2, guide.prior_LL
        maps: Maps = {}
        if "contact" in self._tasks:
            maps["contact"] = np.zeros(square, np.float32) if prior_LL is None else spread_probabilities(prior_LL)
        if "distance" in self._tasks:
            maps |= {"distance": np.full(square, FARTHEST, dtype=np.float32), "sd": np.zeros(square, dtype=np.float32)}
        return maps

    def result(self, query: Query, guide: Guide, maps: Maps) -> TertiaryMaps:
        """The maps of a record."""
        return TertiaryMaps(query.record, maps.get("contact"), maps.get("distance"), maps.get("sd"), guide.template)


def load_tertiary_predictor(
    model: NamedModel,
    tasks: Sequence[str],
    *,
    prior: bool = True,
    families: Sequence[str | Path] = (),
    warn: Callable[[str], None] = warnings.warn,
    max_bytes: int | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
) -> TertiaryPredictor:
    """The predictor of a model for ``contact``, ``distance``, or both.

    Args:
        prior, families, warn: see :func:`rnafm_cli.structure.predict.surroundings`.
        max_bytes: memory that the process may take.
        batch_tokens: tokens per batch of the encoder, if the head reads one.

    Raises:
        UsageError: for a codon model.
        WeightsError: when the model lacks a head, or the head belongs to another encoder.
    """
    tensors, card = head_file(model, HEAD_KIND)
    if card.kind != HEAD_KIND:
        raise WeightsError(f"'{card.name}' is a model of kind {card.kind}, not {HEAD_KIND}")
    try:
        config = TertiaryConfig.from_dict(card.config)
    except (KeyError, TypeError) as error:
        raise WeightsError(f"the card of '{card.name}' ({card.kind}) holds no usable configuration") from error
    return TertiaryPredictor(
        ready(lambda: TertiaryHead(config), tensors, card, model.runtime),
        model.runtime,
        tasks,
        max_bytes=max_bytes,
        batch_tokens=batch_tokens,
        **surroundings(model, HEAD_KIND, config.pair, prior=prior, families=families, warn=warn),
    )


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
    template: Template | None = None
    """What was known of its families."""

    @property
    def relatives(self) -> list[str]:
        """Names of its families of which a 3D structure was known."""
        hits = self.template.hits if self.template is not None else []
        return [hit.family.name for hit in hits if hit.family.packed_shape is not None]

    def named(self) -> dict[str, NDArray[np.float32]]:
        """The maps that there are, as files name them."""
        maps = {"contact": self.contact_LL, "distance": self.distance_LL, "sd": self.sd_LL}
        return {name: map_LL for name, map_LL in maps.items() if map_LL is not None}

    def rows(self) -> list[dict[str, Any]]:
        """A row per pair i < j, counted from 1, for :func:`rnafm_cli.to_frame`."""
        i_P, j_P = np.triu_indices(len(self.record), 1)
        columns = {"p" if name == "contact" else name: map_LL[i_P, j_P] for name, map_LL in self.named().items()}
        return [
            {
                "id": self.record.id,
                "i": int(i) + 1,
                "j": int(j) + 1,
                **dict(zip(columns, map(float, found), strict=True)),
            }
            for i, j, *found in zip(i_P, j_P, *columns.values(), strict=True)
        ]
