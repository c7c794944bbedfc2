"""Dot plot: pair probabilities, contacts or distances above the diagonal, the structure below.

Shape suffix: L bases.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from rnafm_cli.viz.canvas import Anchor, Boxes, Canvas, Line, Point, Text, labelled_positions, tick_step
from rnafm_cli.viz.palette import INK, MUTED, PALE, base_colour, layer_colour
from rnafm_cli.viz.subject import Subject, add_caption, put_text

_SIZE = 620.0
_WIDEST_CELL = 14.0
_LETTER_CELL = 6.0
_STRIP_CELL = 1.6
_SHADES = 8
_LEAST_DOT = 1.8
"""Side below which a dot is kept at this size and shaded instead."""
_EDGE = 46.0
_HEAD = 86.0
_DOT = "#0072b2"


@dataclass(frozen=True, eq=False)
class Above:
    """What the upper triangle shows.

    Args:
        values_LL: 0 to 1, symmetric.
        marks: values in the legend and their names.
        filled: whether values are shades of whole cells, or areas of squares.
        least: below this nothing is drawn.
    """

    values_LL: np.ndarray
    label: str
    marks: tuple[tuple[float, str], ...] = ((0.1, "0.1"), (0.5, "0.5"), (1.0, "1"))
    filled: bool = False
    least: float = 0.005


def contacts_above(contact_LL: np.ndarray) -> Above:
    """Probabilities of contacts."""
    return Above(contact_LL, "probability of a contact (< 8 Å)", least=0.05)


def distances_above(distance_LL: np.ndarray) -> Above:
    """Distances in Å, the darker the closer; nothing from 18 Å."""
    marks = ((0.9, "2 Å"), (0.6, "8 Å"), (0.2, "16 Å"))
    return Above(1 - distance_LL / 20.0, "distance", marks, filled=True, least=0.1)


def draw_dots(subject: Subject, above: Above | None = None) -> Canvas:
    """Squares whose area is the probability of the pair (row i, column j > i); the structure at (j, i).

    Args:
        above: what the upper triangle shows instead of the pair probabilities.
    """
    if above is None and subject.probs_LL is not None:
        above = Above(subject.probs_LL, "pair probability")
    length = len(subject)
    cell = min(_WIDEST_CELL, _SIZE / length)
    side = cell * length
    width = max(side + 2 * _EDGE, 14.0 + _add_legend(Canvas("", width=0.0, height=0.0), subject, above))
    left, top = (width - side) / 2, _HEAD
    canvas = Canvas(subject.caption, width=width, height=top + side + 40.0)
    add_caption(canvas, subject, (14.0, 20.0), size=14.0, room=width - 28.0)
    _add_frame(canvas, subject, left, top, cell)
    if above is not None:
        _add_above(canvas, above, left, top, cell)
    for layer, pairs in enumerate(subject.layers):
        dot = max(0.86 * cell, min(_LEAST_DOT, 3 * cell))
        boxes = [(*_corner(left, top, cell, dot, int(j), int(i)), dot, dot) for i, j in pairs]
        canvas.add(Boxes(boxes=boxes, fill=layer_colour(layer)))
    _add_legend(canvas, subject, above)
    return canvas


def _corner(left: float, top: float, cell: float, dot: float, row: int, column: int) -> tuple[float, float]:
    return left + (column + 0.5) * cell - dot / 2, top + (row + 0.5) * cell - dot / 2


def _add_above(canvas: Canvas, above: Above, left: float, top: float, cell: float) -> None:
    """Dots by area; where even a certain pair's dot is tiny, all are as large and shades tell them apart."""
    rows, columns = np.nonzero(np.triu(above.values_LL >= above.least, 1))
    probs = np.clip(above.values_LL[rows, columns].astype(np.float64), 0.0, 1.0)
    least = cell if above.filled else min(_LEAST_DOT, 3 * cell)
    shaded: dict[int, list[tuple[float, float, float, float]]] = defaultdict(list)
    for row, column, p in zip(rows.tolist(), columns.tolist(), probs.tolist(), strict=True):
        exact = cell * p ** (2 / 3) if above.filled else 0.96 * cell * p**0.5
        dot = max(exact, least)
        # A dot drawn larger than its area allows becomes paler by as much.
        shade = min(1 + round((_SHADES - 1) * min((exact / dot) ** 1.5, 1.0)), _SHADES)
        shaded[shade].append((*_corner(left, top, cell, dot, row, column), dot, dot))
    for shade in sorted(shaded):
        canvas.add(Boxes(boxes=shaded[shade], fill=_DOT, opacity=shade / _SHADES))


def _add_frame(canvas: Canvas, subject: Subject, left: float, top: float, cell: float) -> None:
    length, side = len(subject), cell * len(subject)
    right, bottom = left + side, top + side
    letters, strip = cell >= _LETTER_CELL, cell >= _STRIP_CELL
    gap = cell if letters else 4.0 if strip else 0.0
    for position in labelled_positions(length, tick_step(cell, room=18.0)):
        x, y = left + (position - 0.5) * cell, top + (position - 0.5) * cell
        lines = ([(x, top), (x, bottom)], [(left, y), (right, y)])
        canvas.add(*(Line(points=line, colour=PALE, width=0.5) for line in lines))
        above_below: list[tuple[Point, Anchor]] = [((x, top - gap - 8), "middle"), ((x, bottom + gap + 8), "middle")]
        beside: list[tuple[Point, Anchor]] = [((left - gap - 5, y), "end"), ((right + gap + 5, y), "start")]
        for spot, anchor in above_below + beside:
            canvas.add(Text(at=spot, text=str(position), size=9.0, colour=MUTED, anchor=anchor))
    if strip:
        for letter in sorted(set(subject.sequence)):
            at = [k * cell for k, c in enumerate(subject.sequence) if c == letter]
            boxes = [(left + d, y, cell, gap) for d in at for y in (top - gap, bottom)]
            boxes += [(x, top + d, gap, cell) for d in at for x in (left - gap, right)]
            canvas.add(Boxes(boxes=boxes, fill=base_colour(letter)))
    if letters:
        for k, letter in enumerate(subject.sequence):
            d = (k + 0.5) * cell
            spots = [(left + d, top - gap / 2), (left + d, bottom + gap / 2)]
            spots += [(left - gap / 2, top + d), (right + gap / 2, top + d)]
            canvas.add(*(Text(at=at, text=letter, size=0.86 * cell, colour=INK) for at in spots))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    canvas.add(*(Line(points=line, colour=MUTED, width=0.9) for line in (corners, corners[::2])))


def _add_legend(canvas: Canvas, subject: Subject, above: Above | None) -> float:
    """What the two triangles show; returns the width used."""
    y, size = 42.0, 10.0
    x = put_text(canvas, f"above: {above.label if above else 'no probabilities given'}", 14.0, y, size)
    for value, name in above.marks if above else ():
        dot, shade = (11.0, value) if above and above.filled else (11.0 * value**0.5, 1.0)
        canvas.add(Boxes(boxes=[(x + 5.5 - dot / 2, y - dot / 2, dot, dot)], fill=_DOT, opacity=shade))
        x = put_text(canvas, name, x + 14, y, size)
    x = put_text(canvas, "below: structure", x + 6, y, size)
    for layer, name in enumerate(subject.layer_names):
        canvas.add(Boxes(boxes=[(x, y - 5, 10, 10)], fill=layer_colour(layer)))
        x = put_text(canvas, name, x + 14, y, size)
    return x
