"""The line that explains the colours of a drawing."""

from __future__ import annotations

from rnafm_cli.viz.canvas import Boxes, Canvas, Disc, Line, Point, Text
from rnafm_cli.viz.palette import BASE_COLOURS, INK, LAYER_COLOURS, MUTED, confidence_opacity, layer_colour
from rnafm_cli.viz.subject import Subject

__all__ = ["add_base_legend", "add_caption", "add_pair_legend", "layer_names", "put_text"]

_LETTER_WIDTH = 0.47
"""Mean width of a letter as a share of the font size, for text that cannot be measured here."""


def add_caption(canvas: Canvas, subject: Subject, at: Point, *, size: float, room: float) -> None:
    """The name, cut to the room there is, and the size of the RNA."""
    caption = subject.caption
    most = max(int(room / (size * _LETTER_WIDTH)), 8)
    if len(caption) > most:
        spare = max(most - (len(caption) - len(subject.name)) - 1, 4)
        caption = subject.name[:spare] + "…" + caption[len(subject.name) :]
    canvas.add(Text(at=at, text=caption, size=size, colour=INK, anchor="start", bold=True))


def add_pair_legend(canvas: Canvas, subject: Subject, at: Point, *, size: float) -> float:
    """Colours of the layers where pairs cross, and shades of confidence where it is known; returns the width used."""
    x, y = at
    for layer, name in enumerate(layer_names(subject)):
        canvas.add(Line(points=[(x, y), (x + 2 * size, y)], colour=layer_colour(layer), width=size / 5))
        x = put_text(canvas, name, x + 2.5 * size, y, size)
    if subject.probs_LL is not None and subject.layers:
        x = put_text(canvas, "pair probability", x, y, size, gap=0.6)
        for probability in (0.1, 0.5, 1.0):
            points = [(x, y), (x + 2 * size, y)]
            shade = confidence_opacity(probability)
            canvas.add(Line(points=points, colour=layer_colour(0), width=size / 5, opacity=shade))
            x = put_text(canvas, f"{probability:g}", x + 2.4 * size, y, size, gap=1.0)
    return x - at[0]


def add_base_legend(canvas: Canvas, at: Point, *, size: float, round: bool = True) -> None:
    """Colours of the four bases."""
    x, y = at
    for letter, fill in BASE_COLOURS.items():
        half = size * 0.45
        if round:
            canvas.add(Disc(centre=(x + half, y), radius=half, fill=fill))
        else:
            canvas.add(Boxes(boxes=[(x, y - half, 2 * half, 2 * half)], fill=fill))
        x = put_text(canvas, letter, x + 1.2 * size, y, size, gap=0.8)


def layer_names(subject: Subject) -> list[str]:
    """What the colours of a knotted structure stand for; empty where there is only one."""
    if len(subject.layers) < 2:
        return []
    names = ["nested", "crossing"] + [f"crossing {k}" for k in range(2, len(subject.layers))]
    return names[: len(LAYER_COLOURS)]


def put_text(canvas: Canvas, text: str, x: float, y: float, size: float, *, gap: float = 1.4) -> float:
    """Add text and return where the next thing may start."""
    canvas.add(Text(at=(x, y), text=text, size=size, colour=MUTED, anchor="start"))
    return x + (len(text) * _LETTER_WIDTH + gap) * size
