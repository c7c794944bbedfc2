"""Structures as matchings: the best set of pairs when crossings cost nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.pairs import Pairs, no_pairs

__all__ = ["heaviest_matching"]


def heaviest_matching(candidates: Pairs, gains_C: NDArray[np.floating]) -> Pairs:
    """The set of candidate pairs, each base in at most one, with the greatest sum of gains.

    Solved exactly as an integer programme by scipy's HiGHS. Canonical pairs join a purine and a pyrimidine, so
    their linear programme has whole-numbered corners and no branching is needed; other pairs branch a little.

    Args:
        candidates: (C, 2), 0-based, i < j.
        gains_C: gain of each; only positive ones matter.

    Raises:
        RuntimeError: when the solver gives up, which a programme of this kind gives no reason for.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    positive = gains_C > 0
    candidates, gains_C = candidates[positive], np.asarray(gains_C, dtype=np.float64)[positive]
    if len(candidates) == 0:
        return no_pairs()
    bases, row = np.unique(candidates.ravel(), return_inverse=True)
    column = np.repeat(np.arange(len(candidates)), 2)
    uses = csr_array((np.ones(len(column)), (row.ravel(), column)), shape=(len(bases), len(candidates)))
    solution = milp(
        -gains_C,
        integrality=np.ones(len(candidates)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(uses, -np.inf, 1),
        options={"mip_rel_gap": 0.0},
    )
    if solution.x is None:
        raise RuntimeError(f"matching failed: {solution.message}")
    return candidates[solution.x > 0.5]
