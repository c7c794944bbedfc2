"""Drawings of one RNA's structure in three styles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import UsageError
from rnafm_cli.rna.pairs import Pairs
from rnafm_cli.viz.arcs import draw_arcs
from rnafm_cli.viz.canvas import Canvas
from rnafm_cli.viz.dots import draw_dots
from rnafm_cli.viz.radial import draw_radial
from rnafm_cli.viz.subject import Subject

__all__ = ["STYLES", "Style", "draw_structure", "structure_canvas"]

Style = Literal["arc", "radial", "dots"]
STYLES: dict[str, Callable[[Subject], Canvas]] = {"arc": draw_arcs, "radial": draw_radial, "dots": draw_dots}
assert set(STYLES) == set(get_args(Style))


def draw_structure(
    name: str,
    sequence: str,
    pairs: Pairs,
    probs_LL: NDArray[np.floating] | None = None,
    *,
    style: Style = "arc",
) -> str:
    """An SVG drawing of a secondary structure; equal input gives equal bytes.

    Args:
        name: caption.
        sequence: L letters, upper case.
        pairs: (n, 2), 0-based; crossing pairs are drawn in other colours.
        probs_LL: symmetric pair probabilities; they set the opacity of pairs, and the dots of ``dots``.
        style: ``arc`` (the sequence on a line), ``radial`` (helices and loops in the plane) or ``dots`` (matrix).

    Raises:
        UsageError: for an unknown style.
        InputError: when the pairs are no structure of the sequence.
    """
    return structure_canvas(name, sequence, pairs, probs_LL, style=style).svg()


def structure_canvas(
    name: str, sequence: str, pairs: Pairs, probs_LL: NDArray[np.floating] | None = None, *, style: Style = "arc"
) -> Canvas:
    """The same drawing as shapes, for writers of other formats than SVG."""
    if style not in STYLES:
        raise UsageError(f"unknown drawing style '{style}'", hint=f"known are {', '.join(STYLES)}")
    return STYLES[style](Subject.of(name, sequence, pairs, probs_LL))
