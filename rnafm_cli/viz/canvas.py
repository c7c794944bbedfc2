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

FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")
Point: TypeAlias = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

_BASELINE = 0.36
"""Share of the font size from the middle of a capital letter down to its baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Straight strokes through the points."""

    points: Sequence[Point]
    colour: str
    width: float
    opacity: float = 1.0
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Cubic Bézier pieces: a start point, then three points for each piece."""

    points: Sequence[Point]
    colour: str
    width: float
    opacity: float = 1.0
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disc:
    """A filled circle, with an outline if ``width`` is positive."""

    centre: Point
    radius: float
    fill: str
    colour: str = "none"
    width: float = 0.0
    opacity: float = 1.0
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Filled rectangles of one colour: (left, top, width, height) each."""

    boxes: Sequence[tuple[float, float, float, float]]
    fill: str
    opacity: float = 1.0
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A line of text whose capital letters are centred vertically at ``at``."""

    at: Point
    text: str
    size: float
    colour: str
    anchor: Anchor = "middle"
    bold: bool = False
    opacity: float = 1.0


Shape: TypeAlias = Line | Curve | Disc | Boxes | Text


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
        left, top, width, height = map(number, (self.left, self.top, self.width, self.height))
        fonts = ", ".join(FONTS) + ", sans-serif"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="{left} {top} {width} {height}" font-family="{fonts}" role="img">'
        )
        paper = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#ffffff"/>'
        lines = [head, f"<title>{_clean(self.name)}</title>", paper, *map(_element, self.shapes), "</svg>"]
        return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _element(shape: Shape) -> str:
    match shape:
        case Line():
            data = "M" + "L".join(map(_point, shape.points))
            return _closed("path", f'd="{data}" {_stroke(shape)}', shape.title)
        case Curve():
            data = f"M{_point(shape.points[0])}C" + " ".join(map(_point, shape.points[1:]))
            return _closed("path", f'd="{data}" {_stroke(shape)}', shape.title)
        case Disc():
            (x, y), outline = shape.centre, ""
            if shape.width > 0:
                outline = f' stroke="{shape.colour}" stroke-width="{number(shape.width)}"'
            where = f'cx="{number(x)}" cy="{number(y)}" r="{number(shape.radius)}"'
            return _closed("circle", f'{where} fill="{shape.fill}"{outline}{_opacity(shape.opacity)}', shape.title)
        case Boxes():
            data = "".join(
                f"M{number(x)},{number(y)}h{number(w)}v{number(h)}h{number(-w)}z" for x, y, w, h in shape.boxes
            )
            return _closed("path", f'd="{data}" fill="{shape.fill}"{_opacity(shape.opacity)}', shape.title)
        case Text():
            x, y = shape.at
            weight = ' font-weight="bold"' if shape.bold else ""
            anchor = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
            return (
                f'<text x="{number(x)}" y="{number(y + _BASELINE * shape.size)}" font-size="{number(shape.size)}"'
                f'{anchor}{weight} fill="{shape.colour}"{_opacity(shape.opacity)}>{_clean(shape.text)}</text>'
            )


def _stroke(shape: Line | Curve) -> str:
    opacity = _opacity(shape.opacity)
    width = number(shape.width)
    return f'fill="none" stroke="{shape.colour}" stroke-width="{width}" stroke-linecap="round"{opacity}'


def _opacity(value: float) -> str:
    return "" if value >= 1 else f' opacity="{number(value)}"'


def _closed(tag: str, attributes: str, title: str) -> str:
    if not title:
        return f"<{tag} {attributes}/>"
    return f"<{tag} {attributes}><title>{_clean(title)}</title></{tag}>"


def _point(point: Point) -> str:
    return f"{number(point[0])},{number(point[1])}"


def _clean(text: str) -> str:
    """Text safe in XML: markup escaped, control characters (which XML has no way to write) replaced."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in text))


PICTURE_SUFFIXES = (".svg", ".png", ".pdf")
_DPI = 200
_UNITS_PER_INCH = 96.0
_POINTS_PER_UNIT = 72.0 / _UNITS_PER_INCH
_HASH_SALT = "rnafm"
# Without dates and versions the same figure gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def check_suffix(path: Path) -> str:
    """The suffix of a picture, in lower case.

    Raises:
        UsageError: when it is none that can be written.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise UsageError(f"{path}: is not a picture that can be written", hint=f"name it {', '.join(PICTURE_SUFFIXES)}")
    return suffix


def write_picture(canvas: Canvas, path: Path) -> None:
    """Write a drawing in the format that the name's suffix tells; the file appears whole or not at all.

    Raises:
        UsageError: for an unknown suffix, or a folder that does not exist.
    """
    if check_suffix(path) == ".svg":
        with open_output(path) as sink:
            sink.write(canvas.svg())
    else:
        save_figure(_figure(canvas), path)


def save_figure(figure: Any, path: Path) -> None:
    """Save a matplotlib figure without dates, its letters as text, so that equal figures are equal files."""
    import matplotlib

    suffix = check_suffix(path)
    settings: Any = {"svg.hashsalt": _HASH_SALT, "svg.fonttype": "none", "pdf.fonttype": 42}
    with matplotlib.rc_context(settings), atomic_path(path) as written:
        figure.savefig(written, format=suffix[1:], dpi=_DPI, metadata=_METADATA[suffix])


def _figure(canvas: Canvas) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(canvas.width / _UNITS_PER_INCH, canvas.height / _UNITS_PER_INCH), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(canvas.left, canvas.left + canvas.width)
    axes.set_ylim(canvas.top + canvas.height, canvas.top)
    for order, shape in enumerate(canvas.shapes):
        _add(axes, shape, order)
    return figure


def _add(axes: Any, shape: Shape, order: int) -> None:
    from matplotlib.patches import Circle, PathPatch
    from matplotlib.path import Path as Outline

    if isinstance(shape, Text):
        axes.text(
            *shape.at,
            shape.text,
            fontsize=shape.size * _POINTS_PER_UNIT,
            color=shape.colour,
            alpha=shape.opacity,
            fontweight="bold" if shape.bold else "normal",
            horizontalalignment={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
            verticalalignment="center_baseline",
            zorder=order,
        )
        return
    style: dict[str, Any] = {"alpha": shape.opacity, "zorder": order, "capstyle": "round"}
    if isinstance(shape, Line | Curve):
        piece = Outline.CURVE4 if isinstance(shape, Curve) else Outline.LINETO
        outline = Outline(list(shape.points), [Outline.MOVETO] + [piece] * (len(shape.points) - 1))
        style |= {"facecolor": "none", "edgecolor": shape.colour, "linewidth": shape.width * _POINTS_PER_UNIT}
        axes.add_patch(PathPatch(outline, **style))
    elif isinstance(shape, Disc):
        edge = shape.colour if shape.width > 0 else "none"
        style |= {"facecolor": shape.fill, "edgecolor": edge, "linewidth": shape.width * _POINTS_PER_UNIT}
        axes.add_patch(Circle(shape.centre, shape.radius, **style))
    elif isinstance(shape, Boxes) and shape.boxes:
        corners = [
            point for x, y, w, h in shape.boxes for point in ((x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y))
        ]
        codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY] * len(shape.boxes)
        axes.add_patch(PathPatch(Outline(corners, codes), **style | {"facecolor": shape.fill, "edgecolor": "none"}))
