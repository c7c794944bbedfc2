"""Radial drawing: helices as ladders, loops as rings, crossing pairs as curves across.

Shape suffix: L bases.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.pairs import are_canonical, no_pairs
from rnafm_cli.viz.canvas import Canvas, Curve, Disc, Line, Point, Text
from rnafm_cli.viz.labels import LabelPlacer
from rnafm_cli.viz.layout import place_bases
from rnafm_cli.viz.legend import add_base_legend, add_caption, add_pair_legend
from rnafm_cli.viz.palette import INK, MUTED, base_colour, confidence_opacity, layer_colour
from rnafm_cli.viz.subject import DrawnPair, Subject
from rnafm_cli.viz.ticks import labelled_positions

__all__ = ["draw_radial"]

_STEP = 22.0
"""Units between neighbours in sequence."""
_RADIUS = 8.0
_LETTERS_UP_TO = 320
_LONGEST_STRAIGHT = 2.2
"""Pairs farther apart than this many steps are drawn as curves."""


def draw_radial(subject: Subject) -> Canvas:
    """The secondary structure with its nested pairs in the plane; confidence shades the rungs of the ladders."""
    length = len(subject)
    nested = subject.layers[0] if subject.layers else no_pairs()
    where_L2 = place_bases(nested, length) * _STEP
    points = [(float(x), float(y)) for x, y in where_L2]
    centre = (float(where_L2[:, 0].mean()), float(where_L2[:, 1].mean()))
    size = _label_size(where_L2)
    stroke = size / 11.0
    bows = [_bow(pair, points, centre, stroke) for pair in subject.pairs() if not _is_rung(pair, points)]
    placer = LabelPlacer(_obstacles(where_L2, subject, bows))
    ends = _end_marks(points, placer)
    numbers = _position_labels(points, subject, placer, size)
    labels = [box for at, text in ends for box in _corners(at, text, 1.25 * size)]
    labels += [box for at, _, text in numbers for box in _corners(at, text, size)]
    seen = [*points, *labels, *(p for bow in bows for p in bow.points)]
    canvas = _fitted_canvas(subject, np.array(seen), size)
    canvas.add(Line(points=points, colour=MUTED, width=1.6 * stroke))
    rungs = [pair for pair in subject.pairs() if _is_rung(pair, points)]
    canvas.add(*(_rung(pair, points, stroke) for pair in rungs), *bows)
    canvas.add(*(mark for pair in rungs for mark in _rung_mark(pair, points, subject)))
    _add_bases(canvas, subject, points)
    for at, base, text in numbers:
        canvas.add(
            Line(points=[_towards(base, at, _RADIUS + 1), _towards(at, base, 0.7 * size)], colour=MUTED, width=1)
        )
        canvas.add(Text(at=at, text=text, size=size, colour=MUTED))
    canvas.add(*(Text(at=at, text=text, size=1.25 * size, colour=INK, bold=True) for at, text in ends))
    return canvas


def _obstacles(where_L2: NDArray[np.float64], subject: Subject, bows: list[Curve]) -> NDArray[np.float64]:
    """Bases, the middles of the rungs and points along the bows, which labels should not cover."""
    middles = [where_L2[part].mean(axis=1) for part in subject.layers[:1] if len(part)]
    return np.concatenate([where_L2, *middles, *map(_along, bows)])


def _along(bow: Curve) -> NDArray[np.float64]:
    """Points on a curve of one piece, about two for each step between bases."""
    start, first, second, end = (np.array(point) for point in bow.points)
    count = max(int(2 * math.dist(start, end) / _STEP), 4)
    t = np.linspace(0.0, 1.0, count)[:, None]
    return (1 - t) ** 3 * start + 3 * t * (1 - t) ** 2 * first + 3 * t**2 * (1 - t) * second + t**3 * end


def _corners(at: Point, text: str, size: float) -> list[Point]:
    """Two opposite corners of a label, which must lie within the page."""
    half, (x, y) = len(text) * size * 0.3, at
    return [(x - half, y - size / 2), (x + half, y + size / 2)]


def _label_size(where_L2: NDArray[np.float64]) -> float:
    """Font size of numbers: larger in drawings that will be shrunk more to fit a page."""
    return min(max(float(np.ptp(where_L2, axis=0).max()) / 75.0, 11.0), 34.0)


def _end_marks(points: list[Point], placer: LabelPlacer) -> list[tuple[Point, str]]:
    marks = []
    for text, end, inner in (("5′", points[0], points[min(1, len(points) - 1)]), ("3′", points[-1], points[-2:][0])):
        away = (end[0] - inner[0], end[1] - inner[1])
        marks.append((placer.place(end, 1.1 * _STEP, away=away), text))
    return marks


def _position_labels(
    points: list[Point], subject: Subject, placer: LabelPlacer, size: float
) -> list[tuple[Point, Point, str]]:
    """Place, base and text of the number of every tenth base, fewer in long RNAs."""
    length = len(points)
    step = 10 if length <= _LETTERS_UP_TO else 50 if length <= 1500 else 100
    partner = {a: b for pair in subject.pairs() if pair.layer == 0 for a, b in ((pair.i, pair.j), (pair.j, pair.i))}
    found = []
    for position in labelled_positions(length, step)[1:]:
        k = position - 1
        if position % step:
            continue
        base = points[k]
        other = points[partner[k]] if k in partner else None
        away = (base[0] - other[0], base[1] - other[1]) if other else None
        found.append((placer.place(base, max(0.95 * _STEP, _RADIUS + 1.1 * size), away=away), base, str(position)))
    return found


def _fitted_canvas(subject: Subject, seen: NDArray[np.float64], size: float) -> Canvas:
    """A canvas that holds all points, with the caption above and the colours below."""
    (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
    margin, caption, note = 1.2 * _STEP, 1.35 * size, size
    least = (38.0 if len(subject.layers) > 1 else 26.0) * note
    spare = max(least - (right - left + 2 * margin), 0.0) / 2
    left, right = left - margin - spare, right + margin + spare
    top, bottom = top - margin - 2.2 * caption, bottom + margin + 3.4 * note
    canvas = Canvas(subject.caption, width=right - left, height=bottom - top, left=left, top=top)
    add_caption(canvas, subject, (left + note, top + 1.2 * caption), size=caption, room=right - left - 2 * note)
    # Colours of bases left out of long drawings would explain nothing.
    add_base_legend(canvas, (left + note, bottom - 2.7 * note), size=note)
    add_pair_legend(canvas, subject, (left + note, bottom - 1.2 * note), size=note)
    return canvas


def _is_rung(pair: DrawnPair, points: list[Point]) -> bool:
    return pair.layer == 0 and math.dist(points[pair.i], points[pair.j]) <= _LONGEST_STRAIGHT * _STEP


def _rung(pair: DrawnPair, points: list[Point], stroke: float) -> Line:
    ends = [points[pair.i], points[pair.j]]
    return Line(points=ends, colour=layer_colour(0), width=2.6 * stroke, opacity=_opacity(pair), title=pair.title)


def _rung_mark(pair: DrawnPair, points: list[Point], subject: Subject) -> list[Disc]:
    """A dot on a GU pair, an open circle on a pair that is not canonical, as in most drawings of RNA."""
    letters = {subject.sequence[pair.i], subject.sequence[pair.j]}
    canonical = bool(are_canonical(np.array([[pair.i, pair.j]]), subject.sequence)[0])
    if canonical and letters != {"G", "U"}:
        return []
    (x, y), (u, v) = points[pair.i], points[pair.j]
    fill = layer_colour(0) if canonical else "#ffffff"
    return [
        Disc(
            centre=((x + u) / 2, (y + v) / 2),
            radius=3.0,
            fill=fill,
            colour=layer_colour(0),
            width=1.2,
            opacity=_opacity(pair),
        )
    ]


def _bow(pair: DrawnPair, points: list[Point], centre: Point, stroke: float) -> Curve:
    """A curve between two bases, bent away from the middle of the drawing."""
    (x, y), (u, v) = points[pair.i], points[pair.j]
    middle = ((x + u) / 2, (y + v) / 2)
    across = (-(v - y), u - x)
    outward = (middle[0] - centre[0]) * across[0] + (middle[1] - centre[1]) * across[1]
    bend = math.copysign(0.22, outward)
    shift = (across[0] * bend, across[1] * bend)
    bent = [(x + (u - x) * t + shift[0], y + (v - y) * t + shift[1]) for t in (0.25, 0.75)]
    colour = layer_colour(pair.layer)
    return Curve(
        points=[(x, y), *bent, (u, v)], colour=colour, width=2.0 * stroke, opacity=_opacity(pair), title=pair.title
    )


def _add_bases(canvas: Canvas, subject: Subject, points: list[Point]) -> None:
    for k, (letter, at) in enumerate(zip(subject.sequence, points, strict=True)):
        canvas.add(
            Disc(
                centre=at,
                radius=_RADIUS,
                fill=base_colour(letter),
                colour="#ffffff",
                width=1.0,
                title=f"{letter}{k + 1}",
            )
        )
    if len(points) <= _LETTERS_UP_TO:
        canvas.add(
            *(Text(at=at, text=c, size=11.0, colour=INK) for c, at in zip(subject.sequence, points, strict=True))
        )


def _opacity(pair: DrawnPair) -> float:
    return 1.0 if pair.probability is None else confidence_opacity(pair.probability)


def _towards(start: Point, end: Point, distance: float) -> Point:
    """The point ``distance`` from the start on the way to the end."""
    whole = math.dist(start, end) or 1.0
    return start[0] + (end[0] - start[0]) * distance / whole, start[1] + (end[1] - start[1]) * distance / whole
