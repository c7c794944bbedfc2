"""Radial drawing: helices as ladders, loops as rings, crossing pairs as curves across.

ViennaRNA's RNApuzzler (Wiegreffe et al. 2018) draws without overlaps. Where the package is missing, or the
structure is none that it can take, every loop becomes a regular polygon.

 One unit is the distance of neighbours in sequence.

Shape suffixes: L bases, N obstacles, K directions.
"""

from __future__ import annotations

import importlib
import importlib.util
import math

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.pairs import Pairs, are_canonical, no_pairs, pairs_to_partners, to_dot_bracket
from rnafm_cli.viz.axes import labelled_positions
from rnafm_cli.viz.canvas import Canvas, Curve, Disc, Line, Point, Text
from rnafm_cli.viz.palette import INK, MUTED, base_colour, confidence_opacity, layer_colour
from rnafm_cli.viz.subject import DrawnPair, Subject, add_base_legend, add_caption, add_pair_legend

_PUZZLER_TYPE = 4
_PUZZLER_STEP = 25.0
_SHORTEST = 5
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
    """
    drawn = nested[nested[:, 1] - nested[:, 0] > _LEAST_LOOP]
    if length >= _SHORTEST and len(drawn) and importlib.util.find_spec("RNA") is not None:
        where_L2 = _puzzler(to_dot_bracket(drawn, length))
        if np.ptp(where_L2[:, 0]) > _BROAD * np.ptp(where_L2[:, 1]):
            ring_L2 = _ring(to_dot_bracket(drawn, length))
            where_L2 = ring_L2 if np.ptp(ring_L2, axis=0).max() < _COMPACT * np.ptp(where_L2[:, 0]) else where_L2
    else:
        where_L2 = polygon_layout(nested, length)
    width, height = np.ptp(where_L2, axis=0)
    if height > _SLIM * width and height > _SLIM * 10:
        # Upwards becomes rightwards: the 5' strand of a long hairpin ends on top, as in drawings of miRNA precursors.
        where_L2 = np.stack([where_L2[:, 1], -where_L2[:, 0]], axis=1)
    return where_L2 * np.array([1.0, -1.0])


def polygon_layout(nested: Pairs, length: int) -> NDArray[np.float64]:
    """Coordinates (L, 2), y upwards: each loop a regular polygon, the exterior along a line; parts may overlap."""
    partners = pairs_to_partners(nested, length).tolist()
    where = [0j] * length
    open_pairs: list[tuple[int, int]] = []
    x, k = 0.0, 0
    while k < length:
        where[k] = complex(x)
        if (j := partners[k]) > k:
            x += 1.0
            where[j] = complex(x)
            open_pairs.append((k, j))
            k = j
        x, k = x + 1.0, k + 1
    while open_pairs:
        i, j = open_pairs.pop()
        inside: list[int] = []
        k = i + 1
        while k < j:
            inside.append(k)
            if (m := partners[k]) > k:
                inside.append(m)
                open_pairs.append((k, m))
                k = m
            k += 1
        corners = len(inside) + 2
        # Walking the polygon from i, each edge turns right by the same angle until it closes from j to i.
        turn = -math.tau / corners
        edge = (where[i] - where[j]) * complex(math.cos(turn), math.sin(turn)) / max(abs(where[i] - where[j]), 1e-9)
        here = where[i]
        for k in inside:
            here += edge
            where[k] = here
            edge *= complex(math.cos(turn), math.sin(turn))
    return np.array([[point.real, point.imag] for point in where])


def _ring(structure: str) -> NDArray[np.float64]:
    """A layout with the exterior bent to a ring: that of the structure within one more pair, which is left out."""
    return _puzzler(f"({structure})")[1:-1]


def _puzzler(structure: str) -> NDArray[np.float64]:
    library = importlib.import_module("RNA")
    before = library.cvar.rna_plot_type
    library.cvar.rna_plot_type = _PUZZLER_TYPE
    try:
        found = library.get_xy_coordinates(structure)
        points = [(found.get(k).X, found.get(k).Y) for k in range(len(structure))]
    finally:
        library.cvar.rna_plot_type = before
    return np.array(points, dtype=np.float64) / _PUZZLER_STEP


_DIRECTIONS = 24


class LabelPlacer:
    """Puts each label where the least is in its way, and remembers it as an obstacle for the next.

    Args:
        obstacles_N2: centres of what is drawn already.
    """

    def __init__(self, obstacles_N2: NDArray[np.float64]) -> None:
        self._taken_N2 = obstacles_N2
        angles_K = np.arange(_DIRECTIONS) * (math.tau / _DIRECTIONS)
        self._directions_K2 = np.stack([np.cos(angles_K), np.sin(angles_K)], axis=1)

    def place(self, at: Point, distance: float, *, away: Point | None = None) -> Point:
        """A place for a label that belongs to the base at ``at``.

        Args:
            distance: from the base to the middle of the label.
            away: a preferred direction, taken where there is as much room.
        """
        origin_2 = np.array(at)
        candidates_K2 = origin_2 + distance * self._directions_K2
        gaps_KN = np.linalg.norm(candidates_K2[:, None] - self._taken_N2[None], axis=2)
        # What lies farther than two label distances is in nobody's way.
        nearest_K3 = np.minimum(np.sort(gaps_KN, axis=1)[:, :3], 2 * distance)
        room_K = nearest_K3 @ np.array([1.0, 0.5, 0.25])[: nearest_K3.shape[1]]
        if away is not None and (norm := math.hypot(*away)) > 0:
            room_K = room_K + 0.25 * distance * (self._directions_K2 @ (np.array(away) / norm))
        best_2 = candidates_K2[int(np.argmax(np.round(room_K, 6)))]
        self._taken_N2 = np.vstack([self._taken_N2, best_2])
        return float(best_2[0]), float(best_2[1])


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
    """Place, base and text of the number of every tenth base; of every fiftieth where bases are drawn tiny."""
    length = len(points)
    step = 10 if length <= 1500 else 50
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
    width = 2.6 * stroke * pair.weight
    return Line(points=ends, colour=layer_colour(0), width=width, opacity=_opacity(pair), title=pair.title)


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
        points=[(x, y), *bent, (u, v)],
        colour=colour,
        width=2.0 * stroke * pair.weight,
        opacity=_opacity(pair),
        title=pair.title,
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
