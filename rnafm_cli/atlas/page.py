"""An atlas as one HTML page that needs nothing else: it opens from disk, without a network.

Shape suffix: N points.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnafm_cli.atlas.figures import SCALE, closed_up, group_points, scale_limits
from rnafm_cli.io.streams import open_output

STARTS = 48
"""First bases that the page holds of each RNA."""

_TEMPLATES = Path(__file__).with_name("html")
_RAMP_STEPS = 32
_MOST_GROUPS = 65_000


@dataclass(frozen=True, eq=False, kw_only=True)
class PagePoints:
    """The RNAs of a page; with structures, ``starts`` holds whole sequences."""

    ids: Sequence[str]
    place_N2: np.ndarray
    lengths_N: np.ndarray
    starts: Sequence[str]
    structures: Sequence[str] | None = None
    """Dot-bracket strings; ``""`` for none."""


@dataclass(frozen=True, eq=False)
class GroupView:
    """Colours by group."""

    name: str
    labels: Sequence[str]


@dataclass(frozen=True, eq=False)
class ScaleView:
    """Colours by a quantity; NaN is unknown."""

    name: str
    value_N: np.ndarray
    logarithmic: bool = False


def write_page(
    path: Path,
    points: PagePoints,
    views: Sequence[GroupView | ScaleView],
    *,
    title: str = "RNA atlas",
    caption: str = "",
) -> None:
    """Write the page; equal input gives equal bytes.

    Args:
        views: ways to colour the points; the first is shown at the start.
    """
    place_N2 = closed_up(points.place_N2)
    content: dict[str, Any] = {
        "count": len(points.ids),
        "caption": caption,
        "x": _packed(place_N2[:, 0], "<f4"),
        "y": _packed(place_N2[:, 1], "<f4"),
        "lengths": _packed(points.lengths_N, "<u4"),
        "ids": _lines(points.ids),
        "starts": _lines(points.starts),
        "views": [_view(view, place_N2) for view in views],
    }
    if points.structures is not None:
        content["structures"] = _lines(points.structures)
    # "<" could end the script element from within an id.
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "@TITLE@": html.escape(title),
        "@STYLE@": _template("atlas.css"),
        "@SCRIPT@": _template("structure.js") + "\n" + _template("atlas.js"),
    }
    before, after = _template("atlas.html").split("@DATA@")
    for mark, text in parts.items():
        before, after = before.replace(mark, text), after.replace(mark, text)
    with open_output(path) as sink:
        sink.write(before + data + after + "\n")


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8").strip()


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _lines(words: Sequence[str]) -> str:
    return "\n".join(word.replace("\n", " ") for word in words)


def _view(view: GroupView | ScaleView, place_N2: np.ndarray) -> dict[str, Any]:
    if isinstance(view, ScaleView):
        return _scale(view)
    groups = group_points(place_N2, view.labels)
    # Unsigned 16 bit: -1 becomes 65535, which the page takes for no group.
    index = np.where(groups.index_N >= _MOST_GROUPS, -1, groups.index_N).astype(np.int64) & 0xFFFF
    described = zip(groups.names, groups.sizes, groups.colours, groups.anchors_L2.round(4).tolist(), strict=True)
    return {
        "key": "groups",
        "name": view.name,
        "index": _packed(index, "<u2"),
        "groups": [
            {"name": name, "size": size, "colour": colour, "place": place} for name, size, colour, place in described
        ][:_MOST_GROUPS],
    }


def _scale(view: ScaleView) -> dict[str, Any]:
    import matplotlib
    from matplotlib.colors import to_hex

    low, high = scale_limits(view.value_N, logarithmic=view.logarithmic)
    ramp = matplotlib.colormaps[SCALE](np.linspace(0, 1, _RAMP_STEPS))
    return {
        "key": view.name,
        "name": view.name,
        "value": _packed(view.value_N, "<f4"),
        "low": low,
        "high": high,
        "log": view.logarithmic,
        "ramp": [to_hex(colour) for colour in ramp],
    }
