"""The thermodynamic prior of an RNA: the whole ensemble, or that of local pairs where the RNA is long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna import thermo

__all__ = ["prior_of"]

LONGEST_SPAN = 400
"""Pairs farther apart are left out of the prior of a long RNA."""


def prior_of(
    sequence: str,
    parameters: thermo.Parameters,
    constraint: str | None = None,
    reactivities: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """ViennaRNA's pair probabilities, (L, L) symmetric; of a long RNA of which nothing is known, local ones.

    Args:
        parameters, constraint, reactivities: see :func:`rnafm_cli.rna.thermo.pair_probabilities`.
    """
    long = len(sequence) > thermo.LONGEST_EXACT
    if long and constraint is None and reactivities is None:
        return thermo.local_pair_probabilities(sequence, parameters=parameters, max_span=LONGEST_SPAN)
    return thermo.pair_probabilities(
        sequence,
        parameters=parameters,
        constraint=constraint,
        shape=reactivities,
        max_span=LONGEST_SPAN if long else None,
    )
