"""Radial drawing: helices as ladders, loops as rings, crossing pairs as curves across.

ViennaRNA's RNApuzzler (Wiegreffe et al. 2018) lays the nested pairs out without overlaps.

One unit is the distance of neighbours in sequence. Shape suffixes: L bases, N obstacles, K directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import RnafmError
from rnafm_cli.rna.pairs import Pairs, are_canonical, no_pairs, to_dot_bracket
from rnafm_cli.viz.canvas import Canvas, Curve, Disc, Line, Point, Text
from rnafm_cli.viz.palette import INK, MUTED, base_colour
from rnafm_cli.viz.subject import DrawnPair, Subject, add_base_legend, add_caption, add_pair_legend

_PUZZLER_TYPE = 4
_PUZZLER_STEP = 25.0
# RNApuzzler crashes on hairpins of fewer bases.
_LEAST_LOOP = 3
_SLIM = 1.7
_BROAD = 2.2
_COMPACT = 0.6
"""A ring is worth it when it needs at most this share of the line's length."""


def place_bases(nested: Pairs, length: int) -> NDArray[np.float64]:
    """Coordinates (L, 2) of all bases, y downwards, the 5' end to the left; a tall slim fold is laid on its side.

    Args:
        nested: (n, 2) pairs that do not cross, 0-based.

    Raises:
        RnafmError: without ViennaRNA.
    """
    drawn = nested[nested[:, 1] - nested[:, 0] > _LEAST_LOOP]
    if not len(drawn):
        return np.stack([np.arange(length), np.zeros(length)], axis=1).astype(np.float64)
    structure = to_dot_bracket(drawn, length)
    where_L2 = _puzzler(structure)
    width, height = np.ptp(where_L2, axis=0)
    if width > _BROAD * height:
        # The exterior bent to a ring: the layout within one more pair, which is left out.
        ring_L2 = _puzzler(f"({structure})")[1:-1]
        where_L2 = ring_L2 if np.ptp(ring_L2, axis=0).max() < _COMPACT * width else where_L2
        width, height = np.ptp(where_L2, axis=0)
    if height > _SLIM * width and height > _SLIM * 10:
        # Upwards becomes rightwards: the 5' strand of a long hairpin ends on top, as in drawings of miRNA precursors.
        where_L2 = np.stack([where_L2[:, 1], -where_L2[:, 0]], axis=1)
    return where_L2 * np.array([1.0, -1.0])


def _puzzler(structure: str) -> NDArray[np.float64]:
    try:
        import RNA
    except ImportError as error:
        raise RnafmError("radial drawings need ViennaRNA's Python package", hint="pip install ViennaRNA") from error
    before = RNA.cvar.rna_plot_type
    RNA.cvar.rna_plot_type = _PUZZLER_TYPE
    try:
        found = RNA.get_xy_coordinates(structure)
        points = [(found.get(k).X, found.get(k).Y) for k in range(len(structure))]
    finally:
        RNA.cvar.rna_plot_type = before
    return np.array(points, dtype=np.float64) / _PUZZLER_STEP


_ANGLES_K = np.arange(24) * (math.tau / 24)
_DIRECTIONS_K2 = np.stack([np.cos(_ANGLES_K), np.sin(_ANGLES_K)], axis=1)


def _placed(
    wanted: Sequence[tuple[Point, float, Point | None]], obstacles_N2: NDArray[np.float64]
) -> list[tuple[float, float]]:
    """A place for each label in turn where the least is in its way, the labels before it too.

    Args:
        wanted: the base, the distance of the label from it, and a point to keep away from where there is as much room.
    """
    found: list[tuple[float, float]] = []
    for at, distance, other in wanted:
        candidates_K2 = np.array(at) + distance * _DIRECTIONS_K2
        gaps_KN = np.linalg.norm(candidates_K2[:, None] - obstacles_N2[None], axis=2)
        # What lies farther than two label distances is in nobody's way.
        nearest_K3 = np.minimum(np.sort(gaps_KN, axis=1)[:, :3], 2 * distance)
        room_K = nearest_K3 @ np.array([1.0, 0.5, 0.25])[: nearest_K3.shape[1]]
        if other is not None and (norm := math.dist(at, other)) > 0:
            room_K = room_K + 0.25 * distance * (_DIRECTIONS_K2 @ ((np.array(at) - other) / norm))
        best_2 = candidates_K2[int(np.argmax(np.round(room_K, 6)))]
        obstacles_N2 = np.vstack([obstacles_N2, best_2])
        found.append((float(best_2[0]), float(best_2[1])))
    return found


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
    # Larger in drawings that will be shrunk more to fit a page.
    size = min(max(float(np.ptp(where_L2, axis=0).max()) / 75.0, 11.0), 34.0)
    stroke = size / 11.0
    bows = [_bow(pair, points, centre, stroke) for pair in subject.drawn_pairs if not _is_rung(pair, points)]
    # Every tenth base is numbered; every fiftieth where bases are drawn tiny.
    every = 10 if length <= 1500 else 50
    numbered = range(every - 1, length, every)
    partner = {a: b for i, j in nested.tolist() for a, b in ((i, j), (j, i))}
    far = max(0.95 * _STEP, _RADIUS + 1.1 * size)
    wanted: list[tuple[Point, float, Point | None]]
    wanted = [(points[0], 1.1 * _STEP, points[min(1, length - 1)]), (points[-1], 1.1 * _STEP, points[-2:][0])]
    wanted += [(points[k], far, points[partner[k]] if k in partner else None) for k in numbered]
    places = _placed(wanted, _obstacles(where_L2, subject, bows))
    labels = [(at, text, 1.25 * size) for at, text in zip(places, ("5′", "3′"), strict=False)]
    labels += [(at, str(k + 1), size) for at, k in zip(places[2:], numbered, strict=True)]
    corners = [corner for label in labels for corner in _corners(*label)]
    seen = [*points, *corners, *(p for bow in bows for p in bow.points)]
    canvas = _fitted_canvas(subject, np.array(seen), size)
    canvas.add(Line(points=points, colour=MUTED, width=1.6 * stroke))
    rungs = [pair for pair in subject.drawn_pairs if _is_rung(pair, points)]
    canvas.add(*(Line(points=[points[p.i], points[p.j]], **p.stroke(2.6 * stroke)) for p in rungs), *bows)
    canvas.add(*(mark for pair in rungs for mark in _rung_mark(pair, points, subject)))
    for k, (letter, at) in enumerate(zip(subject.sequence, points, strict=True)):
        ring: dict[str, Any] = {"colour": "#ffffff", "width": 1.0, "title": f"{letter}{k + 1}"}
        canvas.add(Disc(centre=at, radius=_RADIUS, fill=base_colour(letter), **ring))
    if length <= _LETTERS_UP_TO:
        letters_at = zip(subject.sequence, points, strict=True)
        canvas.add(*(Text(at=at, text=letter, size=11.0, colour=INK) for letter, at in letters_at))
    for k, (at, text, letters) in zip(numbered, labels[2:], strict=True):
        ends = [_towards(points[k], at, _RADIUS + 1), _towards(at, points[k], 0.7 * size)]
        canvas.add(Line(points=ends, colour=MUTED, width=1), Text(at=at, text=text, size=letters, colour=MUTED))
    canvas.add(*(Text(at=at, text=text, size=letters, colour=INK, bold=True) for at, text, letters in labels[:2]))
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


def _rung_mark(pair: DrawnPair, points: list[Point], subject: Subject) -> list[Disc]:
    """A dot on a GU pair, an open circle on a pair that is not canonical, as in most drawings of RNA."""
    letters = {subject.sequence[pair.i], subject.sequence[pair.j]}
    canonical = bool(are_canonical(np.array([[pair.i, pair.j]]), subject.sequence)[0])
    if canonical and letters != {"G", "U"}:
        return []
    (x, y), (u, v) = points[pair.i], points[pair.j]
    fill = pair.colour if canonical else "#ffffff"
    middle = ((x + u) / 2, (y + v) / 2)
    return [Disc(centre=middle, radius=3.0, fill=fill, colour=pair.colour, width=1.2, opacity=pair.opacity)]


def _bow(pair: DrawnPair, points: list[Point], centre: Point, stroke: float) -> Curve:
    """A curve between two bases, bent away from the middle of the drawing."""
    (x, y), (u, v) = points[pair.i], points[pair.j]
    middle = ((x + u) / 2, (y + v) / 2)
    across = (-(v - y), u - x)
    outward = (middle[0] - centre[0]) * across[0] + (middle[1] - centre[1]) * across[1]
    bend = math.copysign(0.22, outward)
    shift = (across[0] * bend, across[1] * bend)
    bent = [(x + (u - x) * t + shift[0], y + (v - y) * t + shift[1]) for t in (0.25, 0.75)]
    return Curve(points=[(x, y), *bent, (u, v)], **pair.stroke(2.0 * stroke))


def _towards(start: Point, end: Point, distance: float) -> Point:
    """The point ``distance`` from the start on the way to the end."""
    whole = math.dist(start, end) or 1.0
    return start[0] + (end[0] - start[0]) * distance / whole, start[1] + (end[1] - start[1]) * distance / whole
