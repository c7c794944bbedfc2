from __future__ import annotations

import numpy as np
import pytest

from rnafm_cli.rna.pairs import as_pairs, from_dot_bracket, no_pairs
from rnafm_cli.viz.radial import place_bases


@pytest.mark.parametrize(
    "pairs", [no_pairs(), as_pairs([(0, 1)]), as_pairs([(0, 2), (3, 6)]), as_pairs([(0, 3), (1, 2)])]
)
def test_pairs_that_viennarna_cannot_lay_out_are_left_to_the_line(pairs: np.ndarray) -> None:
    where_L2 = place_bases(pairs, 8)
    assert where_L2.shape == (8, 2)
    assert np.isfinite(where_L2).all()


def test_no_two_bases_share_a_place() -> None:
    structure = "(((((((..((((........)))).((((.........)))).....(((((.......))))))))))))...."
    where_L2 = place_bases(from_dot_bracket(structure), len(structure))
    gaps = np.linalg.norm(where_L2[:, None] - where_L2[None], axis=2) + 9 * np.eye(len(structure))
    assert gaps.min() > 0.8


def test_a_slim_hairpin_lies_on_its_side_with_the_5_prime_strand_on_top() -> None:
    structure = "(" * 30 + "...." + ")" * 30
    where_L2 = place_bases(from_dot_bracket(structure), 64)
    width, height = np.ptp(where_L2, axis=0)
    assert width > 2 * height
    assert where_L2[0, 0] < where_L2[31, 0]
    assert where_L2[0, 1] < where_L2[63, 1]
