"""Arc diagram: the sequence along a line, each pair an arc above it; pairs may cross as they like."""

from __future__ import annotations

from rnafm_cli.viz.canvas import Boxes, Canvas, Line, Point, Text, labelled_positions, tick_step
from rnafm_cli.viz.palette import INK, MUTED, base_colour
from rnafm_cli.viz.subject import Subject, add_base_legend, add_caption, add_pair_legend, pair_legend_width

_WIDTH = 960.0
_WIDEST_STEP = 13.0
_LETTER_STEP = 6.5
"""Spacing of bases from which letters can be read."""
_STRIP_STEP = 1.6
"""Spacing from which a strip of base colours says something."""
_MARGIN = 26.0
_NARROWEST = 380.0
_HIGHEST = 330.0
# Heights grow a little slower than widths, so that hairpins beside a long-range stem are not flat; above 1/2,
# an arc within another never touches it.
_GROWTH = 0.8
_NUMBER_ROOM = 20.0
"""Between the numbers of positions: every tenth base is numbered up to about 700."""
_QUARTER = 0.5523
"""Bézier handle of a quarter of an ellipse, as a share of its radius."""


def draw_arcs(subject: Subject) -> Canvas:
    """The arc diagram of a structure; opacity is confidence, colour tells crossing pairs from nested ones."""
    length = len(subject)
    step = min(_WIDEST_STEP, max(_WIDTH / length, min(_LETTER_STEP, 1.5 * _WIDTH / length)))
    span = (length - 1) * step
    width = max(span + 2 * _MARGIN, _NARROWEST, pair_legend_width(subject, size=10.0) + 28.0)
    start = (width - span) / 2
    pairs = subject.drawn_pairs
    widest = max((pair.j - pair.i for pair in pairs), default=0) * step
    highest = min(widest / 2, _HIGHEST)
    base = 62.0 + highest + 8.0
    canvas = Canvas(subject.caption, width=width, height=base + 52.0)
    add_caption(canvas, subject, (14.0, 20.0), size=14.0, room=width - 28.0)
    used = add_pair_legend(canvas, subject, (14.0, 42.0), size=10.0)
    if step >= _STRIP_STEP and step < _LETTER_STEP:
        add_base_legend(canvas, (14.0 + used + (14.0 if used else 0.0), 42.0), size=10.0, round=False)
    stroke = min(max(step * 0.16, min(step * 0.35, 0.9), 0.35), 1.6)
    for pair in pairs:
        left, right = start + pair.i * step, start + pair.j * step
        height = highest * ((right - left) / widest) ** _GROWTH
        points = half_ellipse(left, right, base, min(height, (right - left) * 0.75))
        canvas.add(Line(points=points, curved=True, **pair.stroke(stroke)))
    _add_sequence(canvas, subject, start, base, step)
    return canvas


def half_ellipse(left: float, right: float, base: float, height: float) -> list[Point]:
    """Bézier points of the upper half of an ellipse standing on ``left`` and ``right``."""
    middle, radius = (left + right) / 2, (right - left) / 2
    top, handle, rise = base - height, radius * _QUARTER, height * _QUARTER
    rising = [(left, base), (left, base - rise), (middle - handle, top), (middle, top)]
    return [*rising, (middle + handle, top), (right, base - rise), (right, base)]


def _add_sequence(canvas: Canvas, subject: Subject, start: float, base: float, step: float) -> None:
    length, end = len(subject), start + (len(subject) - 1) * step
    letters = step >= _LETTER_STEP
    below = base + (step if letters else 2.0)
    canvas.add(Line(points=[(start, base), (end, base)], colour=MUTED, width=0.8))
    if step >= _STRIP_STEP:
        strip = step if letters else 5.0
        for letter in sorted(set(subject.sequence)):
            lefts = [start + (k - 0.5) * step for k, other in enumerate(subject.sequence) if other == letter]
            canvas.add(Boxes(boxes=[(x, base + 1.5, step, strip) for x in lefts], fill=base_colour(letter)))
        below = base + 1.5 + strip
    if letters:
        size, middle = min(step * 0.92, 10.5), base + 1.5 + step / 2
        for k, letter in enumerate(subject.sequence):
            canvas.add(Text(at=(start + k * step, middle), text=letter, size=size, colour=INK))
    numbered = tick_step(step, room=_NUMBER_ROOM)
    for position in labelled_positions(length, numbered):
        x = start + (position - 1) * step
        canvas.add(Line(points=[(x, below + 1.5), (x, below + 6.0)], colour=MUTED, width=0.8))
        canvas.add(Text(at=(x, below + 13.0), text=str(position), size=9.0, colour=MUTED))
    for position in range(numbered // 5, length, numbered // 5):
        if position % numbered:
            x = start + (position - 1) * step
            canvas.add(Line(points=[(x, below + 1.5), (x, below + 3.5)], colour=MUTED, width=0.5))
    middle = base + (1.5 + step / 2 if letters else 4.0)
    aside = max(step, 9.0) + 4
    for x, text in ((start - aside, "5′"), (end + aside, "3′")):
        canvas.add(Text(at=(x, middle), text=text, size=11.0, colour=INK, bold=True))
