"""A drawing as a list of shapes, its SVG text, and its picture file: SVG as it is, PNG and PDF through matplotlib.

Lengths are in points-like units, y grows downwards. The same drawing gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from xml.sax.saxutils import escape

from rnafm_cli.errors import UsageError
from rnafm_cli.io.streams import atomic_path, open_output

PICTURE_SUFFIXES = (".svg", ".png", ".pdf")
Point: TypeAlias = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

_FONTS = "Arial, Helvetica, Liberation Sans, DejaVu Sans, sans-serif"
_BASELINE = 0.36
"""Share of the font size from the middle of a capital letter down to its baseline."""
_DPI = 200
_UNITS_PER_INCH = 96.0
_POINTS_PER_UNIT = 72.0 / _UNITS_PER_INCH
_STEPS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
# Without dates and versions the same figure gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What all shapes have."""

    opacity: float = 1.0
    title: str = ""
    """What a browser tells where the mouse rests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Shape):
    """Strokes through the points, straight ones or cubic Bézier pieces: a start point, then three for each piece."""

    points: Sequence[Point]
    colour: str
    width: float
    curved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Disc(Shape):
    """A filled circle, with an outline if ``width`` is positive."""

    centre: Point
    radius: float
    fill: str
    colour: str = "none"
    width: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes(Shape):
    """Filled rectangles of one colour: (left, top, width, height) each."""

    boxes: Sequence[tuple[float, float, float, float]]
    fill: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Shape):
    """A line of text whose capital letters are centred vertically at ``at``."""

    at: Point
    text: str
    size: float
    colour: str
    anchor: Anchor = "middle"
    bold: bool = False


@dataclass(eq=False)
class Canvas:
    """Shapes on white paper, later ones on top.

    Args:
        name: what is drawn; the document's title, which browsers show and screen readers say.
        left, top, width, height: the part of the plane that is seen.
    """

    name: str
    width: float
    height: float
    left: float = 0.0
    top: float = 0.0
    shapes: list[Shape] = field(default_factory=list)

    def add(self, *shapes: Shape) -> None:
        """Put shapes on top of the others."""
        self.shapes += shapes

    def svg(self) -> str:
        """The drawing as an SVG document."""
        left, top, width, height = map(_number, (self.left, self.top, self.width, self.height))
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="{left} {top} {width} {height}" font-family="{_FONTS}" role="img">'
        )
        paper = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#ffffff"/>'
        lines = [head, f"<title>{_clean(self.name)}</title>", paper, *map(_element, self.shapes), "</svg>"]
        return "\n".join(lines) + "\n"


def _element(shape: Shape) -> str:
    opacity = "" if shape.opacity >= 1 else f' opacity="{_number(shape.opacity)}"'
    match shape:
        case Line():
            start, *rest = (f"{_number(x)},{_number(y)}" for x, y in shape.points)
            data = f"M{start}C{' '.join(rest)}" if shape.curved else "L".join([f"M{start}", *rest])
            stroke = f'fill="none" stroke="{shape.colour}" stroke-width="{_number(shape.width)}"'
            element = f'path d="{data}" {stroke} stroke-linecap="round"{opacity}'
        case Disc():
            (x, y), radius = map(_number, shape.centre), _number(shape.radius)
            line = f' stroke="{shape.colour}" stroke-width="{_number(shape.width)}"' if shape.width > 0 else ""
            element = f'circle cx="{x}" cy="{y}" r="{radius}" fill="{shape.fill}"{line}{opacity}'
        case Boxes():
            corners = (map(_number, (x, y, width, height, -width)) for x, y, width, height in shape.boxes)
            data = "".join(f"M{x},{y}h{width}v{height}h{back}z" for x, y, width, height, back in corners)
            element = f'path d="{data}" fill="{shape.fill}"{opacity}'
        case Text():
            x, y = _number(shape.at[0]), _number(shape.at[1] + _BASELINE * shape.size)
            style = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
            style += ' font-weight="bold"' if shape.bold else ""
            style += f' fill="{shape.colour}"{opacity}'
            return f'<text x="{x}" y="{y}" font-size="{_number(shape.size)}"{style}>{_clean(shape.text)}</text>'
    return f"<{element}><title>{_clean(shape.title)}</title></{element.split()[0]}>" if shape.title else f"<{element}/>"


def _number(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _clean(text: str) -> str:
    """Text safe in XML: markup escaped, control characters (which XML has no way to write) replaced."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in text))


def tick_step(spacing: float, *, room: float = 34.0) -> int:
    """The smallest round distance between numbers that leaves each ``room``, for bases ``spacing`` apart."""
    return next((step for step in _STEPS if step * spacing >= room), _STEPS[-1])


def labelled_positions(length: int, step: int) -> list[int]:
    """Positions (1-based) to number: the first, every ``step``-th, and the last where it does not crowd."""
    inner = [p for p in range(step, length + 1, step) if length - p >= step / 2 or p == length]
    return sorted({1, *inner, length})


def plain_frame(axes: Any) -> None:
    """Axes without the upper and right line, with small letters."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(9)
    axes.yaxis.label.set_size(9)


def write_picture(canvas: Canvas, path: Path) -> None:
    """Write a drawing in the format that the name's suffix tells; the file appears whole or not at all.

    Raises:
        UsageError: for an unknown suffix, or a folder that does not exist.
    """
    if path.suffix.lower() == ".svg":
        with open_output(path) as sink:
            sink.write(canvas.svg())
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(canvas.width / _UNITS_PER_INCH, canvas.height / _UNITS_PER_INCH), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(canvas.left, canvas.left + canvas.width)
    axes.set_ylim(canvas.top + canvas.height, canvas.top)
    for order, shape in enumerate(canvas.shapes):
        _draw(axes, shape, order)
    save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Save a matplotlib figure without dates, its letters as text, so that equal figures are equal files.

    Raises:
        UsageError: for an unknown suffix, or a folder that does not exist.
    """
    import matplotlib

    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise UsageError(f"{path}: is not a picture that can be written", hint=f"name it {', '.join(PICTURE_SUFFIXES)}")
    settings: Any = {"svg.hashsalt": "rnafm", "svg.fonttype": "none", "pdf.fonttype": 42}
    with matplotlib.rc_context(settings), atomic_path(path) as written:
        figure.savefig(written, format=suffix[1:], dpi=_DPI, metadata=_METADATA[suffix])


def _draw(axes: Any, shape: Shape, order: int) -> None:
    from matplotlib.patches import Circle, PathPatch
    from matplotlib.path import Path as Outline

    style: dict[str, Any] = {"alpha": shape.opacity, "zorder": order}
    match shape:
        case Text():
            style |= {"fontsize": shape.size * _POINTS_PER_UNIT, "fontweight": "bold" if shape.bold else "normal"}
            align = {"start": "left", "middle": "center", "end": "right"}[shape.anchor]
            axes.text(*shape.at, shape.text, color=shape.colour, ha=align, va="center_baseline", **style)
        case Line():
            codes = [Outline.MOVETO] + [Outline.CURVE4 if shape.curved else Outline.LINETO] * (len(shape.points) - 1)
            style |= {"facecolor": "none", "edgecolor": shape.colour, "linewidth": shape.width * _POINTS_PER_UNIT}
            axes.add_patch(PathPatch(Outline(list(shape.points), codes), capstyle="round", **style))
        case Disc():
            edge = shape.colour if shape.width > 0 else "none"
            style |= {"facecolor": shape.fill, "edgecolor": edge, "linewidth": shape.width * _POINTS_PER_UNIT}
            axes.add_patch(Circle(shape.centre, shape.radius, capstyle="round", **style))
        case Boxes() if shape.boxes:
            corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)] for x, y, w, h in shape.boxes]
            outlines = Outline.make_compound_path(*(Outline(one, closed=True) for one in corners))
            axes.add_patch(PathPatch(outlines, facecolor=shape.fill, edgecolor="none", **style))
