"""Which proteins bind an RNA, and on which nucleotides that hangs: windows over its length, all proteins at once.

Shape suffixes: L nucleotides, W windows, B batch, P proteins, K reduced channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, shared_out
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.encoder.workers import window_starts
from rnafm_cli.errors import InputError, Reject, UsageError, WeightsError, raise_rejected
from rnafm_cli.function.heads import BindingHead, HeadPredictor
from rnafm_cli.function.metrics import Platt
from rnafm_cli.io.tables import Tabular
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.weights.registry import nearest_name

REPORTED = {
    "PrismNet_TIA1_Hela": "AUROC 0.959",
    "PrismNet_IGF2BP1_K562": "AUROC 0.921",
    "PrismNet_SRSF1_HepG2": "AUROC 0.888",
}
"""Published figures by set, on its test part and with the publication's own training rows."""
REPORTED_BY = "PrismNet, sequence + icSHAPE (Sun et al. 2021), as run for K-attention, mean of 4 seeds"
_MOST_UNKNOWN = 0.5
"""Share of letters other than A, C, G, U above which nothing is called.

Measured on 960 development windows of all models, masked in one stretch: AUROC 0.90 as they are, 0.84 with 30 % masked,
0.78 with 50 %, 0.70 with 60 %; from 75 % on some models call most unbound windows bound.
"""
DEFAULT_STEP = 20
"""Nucleotides from one window to the next, at most."""
LETTERS = "ACGU"
_WINDOWS_PER_BATCH = 256
_FOLDED_ALONE = 800
"""Nucleotides from which an RNA is folded by itself: several at a time could fill the memory."""

Unpaired = NDArray[np.floating] | None
"""(L,) how likely each nucleotide is unpaired, 0 to 1, NaN where unknown; None if nothing is known."""
StructureOf = Callable[[SequenceRecord], Unpaired]


def protein_of(name: str) -> str:
    """The bare protein of a set's name: ``TIA1`` of ``RBP31_TIA1_Hela_ICLIP``; the name itself if it has no parts."""
    parts = name.split("_")
    return parts[1] if len(parts) > 1 else name


def matching(names: Sequence[str], wanted: str) -> list[str]:
    """The outputs that a name stands for: the one of that name, else all of that bare protein; case is no matter."""
    exact = [name for name in names if name.lower() == wanted.lower()]
    return exact or [name for name in names if protein_of(name).lower() == wanted.lower()]


def chosen_outputs(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Numbers of the outputs that some names stand for, in the head's order; of all of them without names.

    Raises:
        UsageError: for a name that stands for none.
    """
    found: set[str] = set()
    for name in wanted:
        matched = matching(names, name)
        if not matched:
            close = nearest_name(name.upper(), sorted(map(protein_of, names))) or nearest_name(name, names)
            raise UsageError(
                f"there is no protein '{name}'",
                hint=f"did you mean {close}? 'rnafm rbp --list' prints all" if close else "see 'rnafm rbp --list'",
            )
        found.update(matched)
    return [number for number, name in enumerate(names) if name in found or not wanted]


@dataclass(frozen=True, eq=False)
class Binding(Tabular):
    """One RNA's binding probabilities.

    Args:
        starts_W, ends_W: windows, 0-based, ends excluded.
        probabilities_WP: calibrated, as if bound and unbound windows were as frequent as among the
            development rows that calibrate the head.
        thresholds_P: probabilities from which a window is called bound.
        unclear_W: windows of which too little is known to call anything.
        effects_PL4: what substitutions do, where it was asked: change of the calibrated log odds when a nucleotide
            becomes A, C, G or U; 0 for the one it is, NaN at any other letter.
    """

    record: SequenceRecord
    proteins: tuple[str, ...]
    starts_W: NDArray[np.int64]
    ends_W: NDArray[np.int64]
    probabilities_WP: NDArray[np.float64]
    thresholds_P: NDArray[np.float64]
    unclear_W: NDArray[np.bool_]
    effects_PL4: NDArray[np.float64] | None = None

    @property
    def probabilities_P(self) -> NDArray[np.float64]:
        """Of the RNA: those of its most probable windows, unclear ones left out if there are others."""
        clear_W = ~self.unclear_W
        return self.probabilities_WP[clear_W if clear_W.any() else slice(None)].max(axis=0)

    @property
    def importance_PL(self) -> NDArray[np.float64]:
        """Log odds lost, on average, when a nucleotide becomes one of the three others; 0 where there is no effect."""
        if self.effects_PL4 is None:
            raise ValueError("substitutions were not asked for")
        return np.nan_to_num(-self.effects_PL4.sum(axis=2) / 3)

    def rows(self, chosen: Sequence[int] | None = None, *, windows: bool = False) -> list[dict[str, Any]]:
        """A row per protein, or per window and protein; the call is NA where too little of the RNA is known.

        Args:
            chosen: numbers of the proteins; all if None.
        """
        parts: list[tuple[dict[str, Any], Any, Any]] = [({}, self.probabilities_P, self.unclear_W.all())]
        if windows:
            places = [{"start": int(a), "end": int(b)} for a, b in zip(self.starts_W, self.ends_W, strict=True)]
            parts = list(zip(places, self.probabilities_WP, self.unclear_W, strict=True))
        return [
            {"id": self.record.id}
            | place
            | {
                "protein": self.proteins[k],
                "probability": float(p_P[k]),
                "call": "NA" if unclear else "bound" if p_P[k] >= self.thresholds_P[k] else "unbound",
            }
            for place, p_P, unclear in parts
            for k in (range(len(self.proteins)) if chosen is None else chosen)
        ]


class BindingPredictor(HeadPredictor[BindingHead]):
    """The RBP head of a model with its calibration; see :class:`HeadPredictor`.

    Args:
        embeddings: without, RNAs take a thirtieth of the time, for probabilities that are a little less accurate.
        threshold: probability from which every protein is called bound; each one's own if None.
    """

    def __init__(
        self,
        model: NamedModel,
        *,
        embeddings: bool = True,
        threshold: float | None = None,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
    ) -> None:
        super().__init__(model, BindingHead, embeddings=embeddings, batch_tokens=batch_tokens)
        self.proteins, self.window = self.head.config.proteins, self.head.config.window
        curves = self.card.config.get("calibration", {})
        self.curves = [Platt(**curves[name]) if name in curves else Platt() for name in self.proteins]
        self.thresholds_P = np.array([curve.threshold if threshold is None else threshold for curve in self.curves])

    @torch.inference_mode()
    def log_odds(
        self,
        sequences: Sequence[str],
        reduced: Sequence[Tensor | None] | None,
        unpaired: Sequence[Unpaired] | None = None,
    ) -> NDArray[np.float64]:
        """(B, P) calibrated log odds of windows, each at most ``window`` long."""
        logits_BP = self.head(self.head.inputs(sequences, reduced, unpaired)).float().cpu().numpy().astype(np.float64)
        slopes, intercepts = (np.array([getattr(c, part) for c in self.curves]) for part in ("slope", "intercept"))
        return logits_BP * slopes + intercepts

    def bindings(
        self,
        records: Sequence[SequenceRecord],
        unpaired: Sequence[Unpaired],
        *,
        step: int = DEFAULT_STEP,
        explain: bool = False,
    ) -> list[Binding]:
        """The binding of each record; see :func:`bind`."""
        starts, reduced = [self._starts(record, step) for record in records], self.reduced(records)
        windows = [
            [None if values is None else values[start : start + self.window] for values in known]
            for *known, mine in zip([record.sequence for record in records], reduced, unpaired, starts, strict=True)
            for start in mine
        ]
        parts = [windows[k : k + _WINDOWS_PER_BATCH] for k in range(0, len(windows), _WINDOWS_PER_BATCH)]
        odds = iter([odds_P for part in parts for odds_P in self.log_odds(*zip(*part, strict=True))])
        found = []
        for record, unpaired_L, starts_W in zip(records, unpaired, starts, strict=True):
            probabilities_WP = 1 / (1 + np.exp(-np.array(list(islice(odds, len(starts_W))))))
            if not np.isfinite(probabilities_WP).all():
                raise WeightsError(f"{record.where}: the head '{self.card.name}' gives no finite probabilities")
            ends_W = np.minimum(starts_W + self.window, len(record.sequence))
            unknown = np.cumsum([0, *(letter not in LETTERS for letter in record.sequence)])
            unclear_W = unknown[ends_W] - unknown[starts_W] > _MOST_UNKNOWN * (ends_W - starts_W)
            effects_PL4 = self.effects(record, unpaired_L, step=step) if explain else None
            whole = (self.proteins, starts_W, ends_W, probabilities_WP, self.thresholds_P, unclear_W, effects_PL4)
            found.append(Binding(record, *whole))
        return found

    def _starts(self, record: SequenceRecord, step: int) -> NDArray[np.int64]:
        return np.asarray(window_starts(len(record.sequence), self.window, self.window - min(step, self.window)))

    def effects(self, record: SequenceRecord, unpaired_L: Unpaired, *, step: int = DEFAULT_STEP) -> NDArray[np.float64]:
        """(P, L, 4) what every substitution does to the binding of a record, as :class:`Binding` has it.

        A nucleotide is substituted in the window in whose middle it lies most nearly. Each window is encoded by itself,
        with every substitution anew: 303 windows for 101 nucleotides. The structure that is given stays as it is.
        """
        size, sequence = self.window, record.sequence
        starts = self._starts(record, step)
        middles = starts + min(size, len(sequence)) / 2
        owner_L = np.abs(np.arange(len(sequence))[:, None] + 0.5 - middles).argmin(axis=1)
        effects_LP4 = np.full((len(sequence), len(self.proteins), 4), np.nan)
        for number, start in enumerate(starts.tolist()):
            window = sequence[start : start + size]
            places = [k for k in np.flatnonzero(owner_L == number).tolist() if sequence[k] in LETTERS]
            changes = [(k, letter) for k in places for letter in LETTERS if letter != sequence[k]]
            texts = [window, *(window[: k - start] + letter + window[k - start + 1 :] for k, letter in changes)]
            reduced = self.reduced([dataclasses.replace(record, sequence=text) for text in texts])
            known = None if unpaired_L is None else [unpaired_L[start : start + size]] * len(texts)
            odds = self.log_odds(texts, reduced, known)
            effects_LP4[places] = 0.0
            for (k, letter), odds_P in zip(changes, odds[1:], strict=True):
                effects_LP4[k, :, LETTERS.index(letter)] = odds_P - odds[0]
        return effects_LP4.transpose(1, 0, 2)


def bind(
    records: Iterable[SequenceRecord],
    predictor: BindingPredictor,
    *,
    step: int = DEFAULT_STEP,
    structure_of: StructureOf | None = None,
    explain: bool = False,
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
        explain: also find out what every substitution does.
        long: what happens to records beyond the encoder's limit.
        reject: called with the error of a record that cannot be used.
    """

    def structure(record: SequenceRecord) -> Unpaired | InputError:
        try:
            unpaired_L = structure_of(record) if structure_of is not None else None
        except InputError as error:
            return error
        if unpaired_L is not None and len(unpaired_L) != len(record.sequence):
            return InputError(f"{record.where}: {len(unpaired_L)} values of structure for its nucleotides")
        return unpaired_L

    def work(batch: Sequence[SequenceRecord]) -> list[Binding | InputError]:
        known = [structure(record) for record in batch]
        usable = [(record, one) for record, one in zip(batch, known, strict=True) if not isinstance(one, InputError)]
        records, unpaired = [record for record, _ in usable], [one for _, one in usable]
        found = iter(predictor.bindings(records, unpaired, step=step, explain=explain))
        return [one if isinstance(one, InputError) else next(found) for one in known]

    def folds_long(batch: Sequence[SequenceRecord]) -> bool:
        return structure_of is not None and any(len(record.sequence) > _FOLDED_ALONE for record in batch)

    return shared_out(
        records,
        work,
        predictor.runtime,
        encoder=predictor.encoder,
        batch_tokens=1 if explain else predictor.batch_tokens,
        long=long,
        reject=reject,
        alone=folds_long,
    )
