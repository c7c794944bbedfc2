"""What is known of an RNA's structure before it is folded: constraints and SHAPE reactivities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.rna.constraints import Constraints, parse_constraints
from rnafm_cli.rna.decode import DecodeOptions
from rnafm_cli.rna.pairs import are_canonical
from rnafm_cli.rna.records import SequenceRecord

__all__ = ["Evidence", "EvidenceOf", "no_evidence"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Knowledge of one RNA of L bases.

    Args:
        constraint: L of RNAfold's symbols, see :func:`rnafm_cli.rna.constraints.parse_constraints`.
        reactivities: (L,) SHAPE reactivities, NaN where there is none.
    """

    constraint: str | None = None
    reactivities: NDArray[np.float64] | None = None

    def __bool__(self) -> bool:
        return self.constraint is not None or self.reactivities is not None

    @property
    def constraints(self) -> Constraints | None:
        """The constraint as the decoder takes it."""
        return None if self.constraint is None else parse_constraints(self.constraint)

    def nested(self, sequence: str) -> str | None:
        """The constraint as far as a nested ensemble of canonical pairs can meet it, for the prior.

        Pairs in ``[]`` and ``{}``, which are there to cross others, and non-canonical ones keep their bases
        unpaired instead: those pairs are the decoder's.
        """
        if self.constraint is None:
            return None
        symbols = ["x" if symbol in "[]{}" else symbol for symbol in self.constraint]
        pairs = parse_constraints(self.constraint).forced_pairs
        for i, j in pairs[~are_canonical(pairs, sequence)].tolist():
            symbols[i] = symbols[j] = "x"
        return "".join(symbols)

    def check(self, record: SequenceRecord, options: DecodeOptions) -> None:
        """Refuse evidence that no structure of the record can meet.

        Raises:
            InputError: naming the record.
        """
        length = len(record.sequence)
        try:
            if constraints := self.constraints:
                constraints.check(length, min_loop=options.least_loop, max_layers=options.most_layers)
        except InputError as error:
            raise InputError(f"{record.where}: {error.message}", hint=error.hint) from error
        if self.reactivities is not None and len(self.reactivities) != length:
            raise InputError(f"{record.where}: {len(self.reactivities)} reactivities for {length} bases")


EvidenceOf = Callable[[SequenceRecord], Evidence]


def no_evidence(record: SequenceRecord) -> Evidence:
    """The default: nothing is known."""
    return Evidence()
