"""Which nucleotides a protein's binding hangs on: every single substitution, in silico.

Shape suffixes: L nucleotides, P proteins, W windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.encoder.embed import shared_out
from rnafm_cli.encoder.workers import window_starts
from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.function.rbp import DEFAULT_STEP, Binding, BindingPredictor, StructureOf, folds_long
from rnafm_cli.rna.records import SequenceRecord

LETTERS = "ACGU"


@dataclass(frozen=True, eq=False)
class Saliency:
    """What substitutions do to one RNA's binding.

    Args:
        effects_PL4: change of the calibrated log odds when a nucleotide becomes A, C, G or U; 0 for the one it is, and
            NaN everywhere at a letter other than these.
    """

    record: SequenceRecord
    proteins: tuple[str, ...]
    effects_PL4: NDArray[np.float64]

    @property
    def importance_PL(self) -> NDArray[np.float64]:
        """Log odds lost, on average, when a nucleotide becomes one of the three others; 0 where there is no effect."""
        return np.nan_to_num(-self.effects_PL4.sum(axis=2) / 3)


def saliency(
    record: SequenceRecord,
    predictor: BindingPredictor,
    *,
    step: int = DEFAULT_STEP,
    structure_of: StructureOf | None = None,
) -> Saliency:
    """Substitute every nucleotide in the window in whose middle it lies most nearly, and score the window again.

    Each window is encoded by itself, with every substitution anew: 303 windows for 101 nucleotides. The structure that
    is given stays as it is.
    """
    size, sequence = predictor.window, record.sequence
    starts = np.asarray(window_starts(len(sequence), size, size - min(step, size)))
    middles = starts + min(size, len(sequence)) / 2
    owner_L = np.abs(np.arange(len(sequence))[:, None] + 0.5 - middles).argmin(axis=1)
    unpaired = structure_of(record) if structure_of is not None else None
    effects_LP4 = np.full((len(sequence), len(predictor.proteins), 4), np.nan)
    for number, start in enumerate(starts.tolist()):
        window = sequence[start : start + size]
        places = [k for k in np.flatnonzero(owner_L == number).tolist() if sequence[k] in LETTERS]
        changes = [(k, letter) for k in places for letter in LETTERS if letter != sequence[k]]
        texts = [window, *(window[: k - start] + letter + window[k - start + 1 :] for k, letter in changes)]
        reduced = predictor.reduced([dataclasses.replace(record, sequence=text) for text in texts])
        known = None if unpaired is None else [unpaired[start : start + size]] * len(texts)
        odds = predictor.log_odds(texts, reduced, known)
        effects_LP4[places] = 0.0
        for (k, letter), odds_P in zip(changes, odds[1:], strict=True):
            effects_LP4[k, :, LETTERS.index(letter)] = odds_P - odds[0]
    return Saliency(record, predictor.proteins, effects_LP4.transpose(1, 0, 2))


def bind_with_saliency(
    records: Iterable[SequenceRecord],
    predictor: BindingPredictor,
    *,
    step: int = DEFAULT_STEP,
    structure_of: StructureOf | None = None,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
) -> Iterator[tuple[Binding, Saliency]]:
    """Yield every record's binding and what it hangs on, in input order; see :func:`rnafm_cli.function.rbp.bind`."""

    def explained(record: SequenceRecord) -> tuple[Binding, Saliency] | InputError:
        (found,) = predictor.bindings([record], step=step, structure_of=structure_of)
        if isinstance(found, InputError):
            return found
        return found, saliency(record, predictor, step=step, structure_of=structure_of)

    return shared_out(
        records,
        lambda batch: list(map(explained, batch)),
        predictor.runtime,
        encoder=predictor.encoder,
        batch_tokens=1,
        long=long,
        reject=reject,
        alone=folds_long(structure_of),
    )
