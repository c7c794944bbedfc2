"""Contacts and distances of RNAs by the heads that are trained on chains with coordinates.

Shape suffixes: L bases, N pairs, W bases of a window.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.rna.chains import FARTHEST
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.baselines import spread_probabilities
from rnafm_cli.structure.pair import Guide, pair_inputs
from rnafm_cli.structure.predict import Maps, PairPredictor, Query, head_file, ready, surroundings
from rnafm_cli.structure.tertiary_head import TertiaryConfig, TertiaryHead

if TYPE_CHECKING:
    from rnafm_cli.encoder.model import NamedModel
    from rnafm_cli.families.alignment import Template

_TOP = re.compile(r"(?P<times>\d+(\.\d+)?)?\s*\*?\s*L\s*(/\s*(?P<part>\d+(\.\d+)?))?|(?P<fixed>\d+)", re.IGNORECASE)


def parse_top(text: str) -> Callable[[int], int]:
    """Read ``L/2``, ``L``, ``1.5L`` or ``100``: how many pairs an RNA of L bases has, at least 1.

    Raises:
        UsageError: for anything else.
    """
    match = _TOP.fullmatch(text.strip())
    times, part, fixed = (float(match[name] or 1) for name in ("times", "part", "fixed")) if match else (0.0, 1.0, 0.0)
    if match is None or not (times and part and fixed):
        raise UsageError(f"--top {text}: is no number of pairs", hint="write L/2, L, 2L or a number")
    if match["fixed"]:
        return lambda length: int(fixed)
    return lambda length: max(1, int(times / part * length))


def best_pairs(
    maps: Maps,
    *,
    least: float | None = None,
    farthest: float | None = None,
    separation: int = 1,
    top: Callable[[int], int] | None = None,
) -> NDArray[np.int64]:
    """(N, 2) pairs to write, 0-based, i < j, the best first: most probable, or nearest where there are no contacts.

    Args:
        maps: ``contact``, ``distance`` or both, see :meth:`TertiaryMaps.named`.
        least: smallest contact probability; None does not matter, nor do the next ones.
        farthest: largest distance, Å.
        separation: smallest j - i.
        top: how many of the best, by the length.
    """
    ranked_LL = -maps["contact"] if "contact" in maps else maps["distance"]
    pairs_N2 = np.stack(np.triu_indices(len(ranked_LL), k=separation), axis=1)
    rows, columns = pairs_N2.T
    kept = np.ones(len(rows), dtype=np.bool_)
    if least is not None and "contact" in maps:
        kept &= maps["contact"][rows, columns] >= least
    if farthest is not None and "distance" in maps:
        kept &= maps["distance"][rows, columns] <= farthest
    pairs_N2 = pairs_N2[kept]
    order = np.argsort(ranked_LL[*pairs_N2.T], kind="stable")
    return pairs_N2[order if top is None else order[: top(len(ranked_LL))]]


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
        super().__init__(head, runtime, **more)
        self._tasks = tasks

    @torch.inference_mode()
    def maps(self, guides: Sequence[Guide]) -> list[Maps]:
        """What is asked for: ``contact`` probabilities, ``distance`` and its deviation ``sd`` (Å)."""
        config = self.head.config
        inputs = pair_inputs(guides, config.pair.inputs).to(self.runtime.device)
        with self.precision:
            logits = self.head(inputs, distances="distance" in self._tasks)
        maps: dict[str, Tensor] = {}
        if "contact" in self._tasks:
            maps["contact"] = logits.contacts()
        if "distance" in self._tasks:
            mean, sd = logits.distances()
            maps |= {"distance": mean, "sd": sd * config.sd_scale}
        found: list[Maps] = [{} for _ in guides]
        for name, map_BLL in maps.items():
            # The head also has an opinion on a base and itself.
            map_BLL.diagonal(dim1=1, dim2=2).fill_(1.0 if name == "contact" else 0.0)
            for mine, map_LL, size in zip(found, map_BLL.float().cpu().numpy(), inputs.lengths_B.tolist(), strict=True):
                mine[name] = map_LL[:size, :size].copy()
        return found

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


def load_tertiary_predictor(model: NamedModel, tasks: Sequence[str], **settings: Any) -> TertiaryPredictor:
    """The predictor of a model for ``contact``, ``distance``, or both.

    Args:
        settings: see :func:`rnafm_cli.structure.predict.surroundings`.

    Raises:
        UsageError: for a codon model.
        WeightsError: when the model lacks a head, or the head belongs to another encoder.
    """
    tensors, card = head_file(model, HEAD_KIND)
    try:
        config = TertiaryConfig.from_dict(card.config)
    except (KeyError, TypeError) as error:
        raise WeightsError(f"'{card.name}' (of kind {card.kind}) is no head for contacts and distances") from error
    head = ready(lambda: TertiaryHead(config), tensors, card, model.runtime)
    return TertiaryPredictor(head, model.runtime, tasks, **surroundings(model, HEAD_KIND, config.pair, **settings))


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
