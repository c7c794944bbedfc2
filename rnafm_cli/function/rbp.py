"""Which proteins bind an RNA: windows over its length through the RBP head, all proteins at once.

Shape suffixes: L nucleotides, W windows, B batch, P proteins, K reduced channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, shared_out
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.encoder.workers import window_starts
from rnafm_cli.errors import InputError, Reject, WeightsError, raise_rejected
from rnafm_cli.function.binding import BindingHead, WindowInputs
from rnafm_cli.function.heads import load_head, reduced_embeddings
from rnafm_cli.function.inputs import aligned_letters, aligned_rows
from rnafm_cli.function.metrics import Platt
from rnafm_cli.io.tables import Tabular
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.weights.files import Card


@dataclass(frozen=True, slots=True)
class Reported:
    """A published figure, on the set's test part and with the publication's own training rows."""

    measure: str
    value: float
    by: str


_PRISMNET = "PrismNet, sequence + icSHAPE (Sun et al. 2021), as run for K-attention, mean of 4 seeds"

REPORTED: dict[str, Reported] = {
    "PrismNet_TIA1_Hela": Reported("AUROC", 0.959, _PRISMNET),
    "PrismNet_IGF2BP1_K562": Reported("AUROC", 0.921, _PRISMNET),
    "PrismNet_SRSF1_HepG2": Reported("AUROC", 0.888, _PRISMNET),
}


MOST_UNKNOWN = 0.5
"""Share of letters other than A, C, G, U above which nothing is called.

Measured on 960 development windows of all models, masked in one stretch: AUROC 0.90 as they are, 0.84 with 30 % masked,
0.78 with 50 %, 0.70 with 60 %; from 75 % on some models call most unbound windows bound.
"""
DEFAULT_STEP = 20
"""Nucleotides from one window to the next, at most."""
_WINDOWS_PER_BATCH = 256
_FOLDED_ALONE = 800
"""Nucleotides."""

StructureOf = Callable[[SequenceRecord], NDArray[np.floating] | None]
"""(L,) how likely each nucleotide of a record is unpaired, 0 to 1, NaN where unknown; None if nothing is known."""


@dataclass(frozen=True, eq=False)
class Binding(Tabular):
    """One RNA's binding probabilities.

    Args:
        starts_W, ends_W: windows, 0-based, ends excluded.
        probabilities_WP: calibrated, as if bound and unbound windows were as frequent as among the
            development rows that calibrate the head.
        thresholds_P: probabilities from which a window is called bound.
        unclear_W: windows of which too little is known to call anything.
    """

    record: SequenceRecord
    proteins: tuple[str, ...]
    starts_W: NDArray[np.int64]
    ends_W: NDArray[np.int64]
    probabilities_WP: NDArray[np.float64]
    thresholds_P: NDArray[np.float64]
    unclear_W: NDArray[np.bool_]

    @property
    def probabilities_P(self) -> NDArray[np.float64]:
        """Of the RNA: those of its most probable windows, unclear ones left out if there are others."""
        clear_W = ~self.unclear_W
        return self.probabilities_WP[clear_W if clear_W.any() else slice(None)].max(axis=0)

    def rows(self) -> list[dict[str, Any]]:
        """A row per protein, for :func:`rnafm_cli.to_frame`; the call is NA where too little of the RNA is known."""
        unclear = bool(self.unclear_W.all())
        return [
            {
                "id": self.record.id,
                "protein": protein,
                "probability": float(p),
                "call": "NA" if unclear else "bound" if p >= limit else "unbound",
            }
            for protein, p, limit in zip(self.proteins, self.probabilities_P, self.thresholds_P, strict=True)
        ]


class BindingPredictor:
    """The RBP head of a model with its calibration.

    Args:
        embeddings: let the head read embeddings, if it was trained with them; without, the encoder is not needed and
            RNAs take a thirtieth of the time, for probabilities that are a little less accurate.
        batch_tokens: tokens per batch of the encoder.

    Raises:
        WeightsError: when the model has no such head, or it belongs to another encoder.
    """

    def __init__(self, model: NamedModel, *, embeddings: bool = True, batch_tokens: int = DEFAULT_BATCH_TOKENS) -> None:
        self.head, self.card = load_head(model, BindingHead, embeddings=embeddings)
        self.runtime, self.batch_tokens = model.runtime, batch_tokens
        self.encoder = model.encoder_for("rbp") if embeddings and self.head.reduction is not None else None
        self.proteins = self.head.config.proteins
        self.window = self.head.config.window
        curves = self.card.config.get("calibration", {})
        self.curves = [Platt(**curves[name]) if name in curves else Platt() for name in self.proteins]

    @property
    def takes_structure(self) -> bool:
        """Whether the head was trained to see structure."""
        return self.head.config.structure

    @cached_property
    def thresholds_P(self) -> NDArray[np.float64]:
        """Probability from which each protein is called bound."""
        return np.array([curve.threshold for curve in self.curves])

    def reduced(self, records: Sequence[SequenceRecord]) -> list[Tensor | None]:
        """(L, K) reduced embeddings of each record; None in their place if none are read."""
        return reduced_embeddings(records, self.head, self.encoder, self.runtime, batch_tokens=self.batch_tokens)

    @torch.inference_mode()
    def log_odds(
        self,
        sequences: Sequence[str],
        reduced: Sequence[Tensor | None] | None,
        unpaired: Sequence[NDArray[np.floating] | None] | None = None,
    ) -> NDArray[np.float64]:
        """(B, P) calibrated log odds of windows, each at most ``window`` long."""
        device, window = self.runtime.device, self.window
        inputs = WindowInputs(aligned_letters(sequences, window, "middle").to(device))
        if reduced is not None and self.encoder is not None:
            channels = self.head.config.reduced
            inputs.reduced_BLK = aligned_rows(reduced, window, "middle", channels=channels).to(device)
        if unpaired is not None and self.takes_structure:
            known = aligned_rows(unpaired, window, "middle", channels=1, fill=float("nan"))
            inputs.unpaired_BL = known[..., 0].to(device)
        logits_BP = self.head(inputs).float().cpu().numpy().astype(np.float64)
        slopes, intercepts = (np.array([getattr(c, part) for c in self.curves]) for part in ("slope", "intercept"))
        return logits_BP * slopes + intercepts

    def bindings(
        self,
        records: Sequence[SequenceRecord],
        *,
        step: int = DEFAULT_STEP,
        structure_of: StructureOf | None = None,
    ) -> list[Binding | InputError]:
        """The binding of each record, or why there is none; see :func:`bind`."""
        size = self.window
        starts = [window_starts(len(record.sequence), size, size - min(step, size)) for record in records]
        known: list[NDArray[np.floating] | InputError | None] = [_structure(structure_of, record) for record in records]
        reduced = self.reduced(records)
        cut = [
            (record.sequence[start : start + size], _part(rows, start, size), _part(unpaired, start, size))
            for record, rows, unpaired, mine in zip(records, reduced, known, starts, strict=True)
            for start in mine
        ]
        found: list[NDArray[np.float64]] = []
        for first in range(0, len(cut), _WINDOWS_PER_BATCH):
            sequences, rows, unpaired = zip(*cut[first : first + _WINDOWS_PER_BATCH], strict=True)
            found.append(self.log_odds(sequences, rows, unpaired if structure_of is not None else None))
        ends = np.cumsum([len(mine) for mine in starts])[:-1]
        odds = np.split(np.concatenate(found), ends)
        return [
            structure if isinstance(structure, InputError) else self._binding(record, np.asarray(mine), odds_WP)
            for record, structure, mine, odds_WP in zip(records, known, starts, odds, strict=True)
        ]

    def _binding(self, record: SequenceRecord, starts_W: NDArray[np.int64], odds_WP: NDArray[np.float64]) -> Binding:
        probabilities_WP = 1 / (1 + np.exp(-odds_WP))
        if not np.isfinite(probabilities_WP).all():
            raise WeightsError(f"{record.where}: the head '{self.card.name}' gives no finite probabilities")
        ends_W = np.minimum(starts_W + self.window, len(record.sequence))
        unknown = np.cumsum([0, *(letter not in "ACGU" for letter in record.sequence)])
        unclear_W = unknown[ends_W] - unknown[starts_W] > MOST_UNKNOWN * (ends_W - starts_W)
        return Binding(record, self.proteins, starts_W, ends_W, probabilities_WP, self.thresholds_P, unclear_W)


def _structure(structure_of: StructureOf | None, record: SequenceRecord) -> NDArray[np.floating] | InputError | None:
    try:
        unpaired_L = structure_of(record) if structure_of is not None else None
    except InputError as error:
        return error
    if unpaired_L is not None and len(unpaired_L) != len(record.sequence):
        return InputError(f"{record.where}: {len(unpaired_L)} values of structure for its nucleotides")
    return unpaired_L


def _part(values: Any, start: int, size: int) -> Any:
    return None if values is None or isinstance(values, InputError) else values[start : start + size]


def bind(
    records: Iterable[SequenceRecord],
    predictor: BindingPredictor,
    *,
    step: int = DEFAULT_STEP,
    structure_of: StructureOf | None = None,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
) -> Iterator[Binding]:
    """Yield every record's binding in input order, in flat memory.

    The RNA is encoded once, as a whole; windows that overlap by all but at most ``step`` nucleotides are cut from its
    embeddings. A shorter RNA lies in the middle of one window.

    Args:
        step: largest distance between the starts of neighbouring windows.
        structure_of: what is known of each record's structure, for a head that takes structure; asked in the process
            that does the work.
        long: what happens to records beyond the encoder's limit.
        reject: called with the error of a record that cannot be used.
    """

    def work(batch: Sequence[SequenceRecord]) -> list[Binding | InputError]:
        return predictor.bindings(batch, step=step, structure_of=structure_of)

    return shared_out(
        records,
        work,
        predictor.runtime,
        encoder=predictor.encoder,
        batch_tokens=predictor.batch_tokens,
        long=long,
        reject=reject,
        alone=folds_long(structure_of),
    )


def folds_long(structure_of: StructureOf | None) -> Callable[[Sequence[SequenceRecord]], bool]:
    """Whether records are long enough that folding several of them at a time could fill the memory."""
    return lambda batch: structure_of is not None and any(len(record.sequence) > _FOLDED_ALONE for record in batch)


def dev_figures(card: Card) -> dict[str, dict[str, float]]:
    """Figures on the development rows by protein, as the card has them."""
    return {name: figures for name, figures in card.metrics.items() if isinstance(figures, dict)}
