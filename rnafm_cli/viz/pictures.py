"""A drawing as a picture file: SVG as it is, PNG and PDF through matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnafm_cli.errors import UsageError
from rnafm_cli.io.streams import atomic_path, open_output
from rnafm_cli.viz.canvas import Boxes, Canvas, Curve, Disc, Line, Shape, Text

__all__ = ["PICTURE_SUFFIXES", "check_suffix", "save_figure", "write_picture"]

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
        raise UsageError(f"{path}: is no picture that can be written", hint=f"name it {', '.join(PICTURE_SUFFIXES)}")
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
