"""An atlas as one HTML page that needs nothing else: it opens from disk, without a network.

Shape suffix: N points.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from rnafm_cli.atlas.figures import SCALE, closed_up, group_points, scale_limits
from rnafm_cli.rna.pairs import from_dot_bracket
from rnafm_cli.viz.page import html_page, json_text, packed
from rnafm_cli.viz.structure import draw_structure

_TEMPLATE = Path(__file__).with_name("html") / "atlas.html"
_RAMP_STEPS = 32
_MOST_GROUPS = 65_000

Colouring: TypeAlias = Sequence[str] | np.ndarray
"""The group of each point, ``""`` for none; or a quantity, NaN where unknown."""


def write_page(
    path: Path,
    ids: Sequence[str],
    place_N2: np.ndarray,
    lengths_N: np.ndarray,
    starts: Sequence[str],
    views: Mapping[str, Colouring],
    *,
    structures: Sequence[str] | None = None,
    title: str = "RNA atlas",
    caption: str = "",
) -> None:
    """Write the page; equal input gives equal bytes.

    Args:
        starts: first bases; with structures, whole sequences.
        views: ways to colour the points by name; the first is shown at the start.
        structures: dot-bracket strings; ``""`` for none.
    """
    place_N2 = closed_up(place_N2)
    content: dict[str, Any] = {
        "count": len(ids),
        "x": _numbers(place_N2[:, 0], "<f4"),
        "y": _numbers(place_N2[:, 1], "<f4"),
        "lengths": _numbers(lengths_N, "<u4"),
        "ids": _lines(ids),
        "starts": _lines(starts),
        "views": [
            _scale(name, view) if isinstance(view, np.ndarray) else _groups(name, view, place_N2)
            for name, view in views.items()
        ],
    }
    if structures is not None:
        content["structures"] = [_drawn(*one) if one[2] else "" for one in zip(ids, starts, structures, strict=True)]
    with html_page(path, _TEMPLATE, title=title, caption=caption) as write:
        write(json_text(content))


def _drawn(name: str, sequence: str, brackets: str) -> str:
    drawing = draw_structure(name, sequence, from_dot_bracket(brackets), style="radial")
    return packed({"brackets": brackets, "drawing": drawing})


def _numbers(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _lines(words: Sequence[str]) -> str:
    return "\n".join(word.replace("\n", " ") for word in words)


def _groups(name: str, labels: Sequence[str], place_N2: np.ndarray) -> dict[str, Any]:
    found = group_points(place_N2, labels)
    # Unsigned 16 bit: -1 becomes 65535, which the page takes for no group.
    index = np.where(found.index_N >= _MOST_GROUPS, -1, found.index_N).astype(np.int64) & 0xFFFF
    every = zip(found.names, found.sizes, found.colours, found.anchors_L2.round(4).tolist(), strict=True)
    groups = [{"name": name, "size": size, "colour": colour, "place": place} for name, size, colour, place in every]
    return {"key": "groups", "name": name, "index": _numbers(index, "<u2"), "groups": groups[:_MOST_GROUPS]}


def _scale(name: str, value_N: np.ndarray) -> dict[str, Any]:
    is_length = name == "length"
    low, high = scale_limits(value_N, logarithmic=is_length)
    ramp = [to_hex(colour) for colour in matplotlib.colormaps[SCALE](np.linspace(0, 1, _RAMP_STEPS))]
    value = _numbers(value_N, "<f4")
    return {"key": name, "name": name, "value": value, "low": low, "high": high, "log": is_length, "ramp": ramp}
