"""Radial drawing: helices as ladders, loops as rings, crossing pairs as curves across.

ViennaRNA's RNApuzzler (Wiegreffe et al. 2018) lays the nested pairs out without overlaps.

One unit is the distance of neighbours in sequence. Shape suffixes: L bases, N obstacles, K directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import RnafmError
from rnafm_cli.rna.pairs import Pairs, are_canonical, no_pairs, to_dot_bracket
from rnafm_cli.viz.canvas import Canvas, Disc, Line, Text
from rnafm_cli.viz.palette import INK, MUTED, base_colour, layer_colour
from rnafm_cli.viz.subject import DrawnPair, Subject, add_base_legend, add_caption, add_pair_legend, pair_legend_width

_Points = NDArray[np.float64]

_STEP = 22.0
"""Units between neighbours in sequence."""
_RADIUS = 8.0
_LETTERS_UP_TO = 320
_LONGEST_STRAIGHT = 2.2
"""Pairs farther apart than this many steps are drawn as curves."""
_ANGLES_K = np.arange(24) * (2 * np.pi / 24)
_DIRECTIONS_K2 = np.stack([np.cos(_ANGLES_K), np.sin(_ANGLES_K)], axis=1)
_PUZZLER_TYPE = 4
_PUZZLER_STEP = 25.0
# RNApuzzler crashes on hairpins of fewer bases.
_LEAST_LOOP = 3
_SLIM = 1.7
_BROAD = 2.2
_COMPACT = 0.6
"""A ring is worth it when it needs at most this share of the line's length."""


def place_bases(nested: Pairs, length: int) -> _Points:
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


def _puzzler(structure: str) -> _Points:
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


def draw_radial(subject: Subject) -> Canvas:
    """The secondary structure with its nested pairs in the plane; confidence shades the rungs of the ladders."""
    length = len(subject)
    nested = subject.layers[0] if subject.layers else no_pairs()
    where_L2 = place_bases(nested, length) * _STEP
    # Larger in drawings that will be shrunk more to fit a page.
    size = min(max(float(np.ptp(where_L2, axis=0).max()) / 75.0, 11.0), 34.0)
    stroke = size / 11.0
    rungs = [pair for pair in subject.drawn_pairs if _is_rung(pair, where_L2)]
    bows = [_bow(pair, where_L2, stroke) for pair in subject.drawn_pairs if not _is_rung(pair, where_L2)]
    # Every tenth base is numbered; every fiftieth where bases are drawn tiny.
    every = 10 if length <= 1500 else 50
    numbered = range(every - 1, length, every)
    partner = {a: b for i, j in nested.tolist() for a, b in ((i, j), (j, i))}
    far = max(0.95 * _STEP, _RADIUS + 1.1 * size)
    wanted: list[tuple[int, float, int | None]] = [(0, 1.1 * _STEP, min(1, length - 1))]
    wanted += [(length - 1, 1.1 * _STEP, max(length - 2, 0)), *((k, far, partner.get(k)) for k in numbered)]
    middles = [where_L2[part].mean(axis=1) for part in subject.layers[:1] if len(part)]
    places_2 = _placed(wanted, where_L2, np.concatenate([where_L2, *middles, *map(_along, bows)]))
    labels = [*zip(places_2, ("5′", "3′"), (1.25 * size, 1.25 * size), strict=False)]
    labels += [(at_2, str(k + 1), size) for at_2, k in zip(places_2[2:], numbered, strict=True)]
    # Labels must lie within the page, too.
    halves_2 = np.array([(0.3 * len(text) * letters, letters / 2) for _, text, letters in labels])
    seen = np.concatenate([where_L2, places_2 - halves_2, places_2 + halves_2, *(np.array(bow.points) for bow in bows)])
    canvas = _fitted_canvas(subject, seen, size)
    points = where_L2.tolist()
    canvas.add(Line(points=points, colour=MUTED, width=1.6 * stroke))
    canvas.add(*(Line(points=[points[p.i], points[p.j]], **p.stroke(2.6 * stroke)) for p in rungs), *bows)
    canvas.add(*(mark for pair in rungs for mark in _rung_mark(pair, where_L2, subject)))
    for k, (letter, at) in enumerate(zip(subject.sequence, points, strict=True)):
        ring: dict[str, Any] = {"colour": "#ffffff", "width": 1.0, "title": f"{letter}{k + 1}"}
        canvas.add(Disc(centre=at, radius=_RADIUS, fill=base_colour(letter), **ring))
    if length <= _LETTERS_UP_TO:
        letters_at = zip(subject.sequence, points, strict=True)
        canvas.add(*(Text(at=at, text=letter, size=11.0, colour=INK) for letter, at in letters_at))
    for k, (at_2, text, letters) in zip(numbered, labels[2:], strict=True):
        way_2 = (at_2 - where_L2[k]) / (np.linalg.norm(at_2 - where_L2[k]) or 1.0)
        ends = [where_L2[k] + (_RADIUS + 1) * way_2, at_2 - 0.7 * size * way_2]
        canvas.add(Line(points=ends, colour=MUTED, width=1), Text(at=at_2, text=text, size=letters, colour=MUTED))
    canvas.add(*(Text(at=at_2, text=text, size=letters, colour=INK, bold=True) for at_2, text, letters in labels[:2]))
    return canvas


def _is_rung(pair: DrawnPair, where_L2: _Points) -> bool:
    return pair.layer == 0 and bool(np.linalg.norm(where_L2[pair.i] - where_L2[pair.j]) <= _LONGEST_STRAIGHT * _STEP)


def _rung_mark(pair: DrawnPair, where_L2: _Points, subject: Subject) -> list[Disc]:
    """A dot on a GU pair, an open circle on a pair that is not canonical, as in most drawings of RNA."""
    letters = {subject.sequence[pair.i], subject.sequence[pair.j]}
    canonical = bool(are_canonical(np.array([[pair.i, pair.j]]), subject.sequence)[0])
    if canonical and letters != {"G", "U"}:
        return []
    colour, (x, y) = layer_colour(pair.layer), where_L2[[pair.i, pair.j]].mean(axis=0)
    fill = colour if canonical else "#ffffff"
    return [Disc(centre=(x, y), radius=3.0, fill=fill, colour=colour, width=1.2, opacity=pair.opacity)]


def _bow(pair: DrawnPair, where_L2: _Points, stroke: float) -> Line:
    """A curve between two bases, bent away from the middle of the drawing."""
    start_2, end_2 = where_L2[pair.i], where_L2[pair.j]
    across_2 = np.array([start_2[1] - end_2[1], end_2[0] - start_2[0]])
    outward = ((start_2 + end_2) / 2 - where_L2.mean(axis=0)) @ across_2
    shift_2 = across_2 * np.copysign(0.22, outward)
    bent = [start_2 + (end_2 - start_2) * t + shift_2 for t in (0.25, 0.75)]
    return Line(points=[start_2, *bent, end_2], curved=True, **pair.stroke(2.0 * stroke))


def _along(bow: Line) -> _Points:
    """Points on a curve of one piece, about two for each step between bases, which labels should not cover."""
    start_2, first_2, second_2, end_2 = np.array(bow.points)
    t = np.linspace(0.0, 1.0, max(int(2 * np.linalg.norm(end_2 - start_2) / _STEP), 4))[:, None]
    return (1 - t) ** 3 * start_2 + 3 * t * (1 - t) ** 2 * first_2 + 3 * t**2 * (1 - t) * second_2 + t**3 * end_2


def _placed(wanted: list[tuple[int, float, int | None]], where_L2: _Points, obstacles_N2: _Points) -> _Points:
    """(n, 2) places for labels, each in turn where the least is in its way, the labels before it too.

    Args:
        wanted: the base, the distance of the label from it, and a base to keep away from where there is as much room.
    """
    found = []
    for base, distance, other in wanted:
        candidates_K2 = where_L2[base] + distance * _DIRECTIONS_K2
        gaps_KN = np.linalg.norm(candidates_K2[:, None] - obstacles_N2[None], axis=2)
        # What lies farther than two label distances is in nobody's way.
        nearest_K3 = np.minimum(np.sort(gaps_KN, axis=1)[:, :3], 2 * distance)
        room_K = nearest_K3 @ np.array([1.0, 0.5, 0.25])[: nearest_K3.shape[1]]
        if other is not None and (norm := np.linalg.norm(where_L2[base] - where_L2[other])) > 0:
            room_K = room_K + 0.25 * distance * (_DIRECTIONS_K2 @ ((where_L2[base] - where_L2[other]) / norm))
        found.append(candidates_K2[int(np.argmax(np.round(room_K, 6)))])
        obstacles_N2 = np.vstack([obstacles_N2, found[-1]])
    return np.array(found)


def _fitted_canvas(subject: Subject, seen: _Points, size: float) -> Canvas:
    """A canvas that holds all points, with the caption above and the colours below."""
    (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
    margin, caption, note = 1.2 * _STEP, 1.35 * size, size
    least = max(26.0 * note, pair_legend_width(subject, size=note) + 2 * note)
    spare = max(least - (right - left + 2 * margin), 0.0) / 2
    left, right = left - margin - spare, right + margin + spare
    top, bottom = top - margin - 2.2 * caption, bottom + margin + 3.4 * note
    canvas = Canvas(subject.caption, width=right - left, height=bottom - top, left=left, top=top)
    add_caption(canvas, subject, (left + note, top + 1.2 * caption), size=caption, room=right - left - 2 * note)
    # Colours of bases left out of long drawings would explain nothing.
    add_base_legend(canvas, (left + note, bottom - 2.7 * note), size=note)
    add_pair_legend(canvas, subject, (left + note, bottom - 1.2 * note), size=note)
    return canvas
