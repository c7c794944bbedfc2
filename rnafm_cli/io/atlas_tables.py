"""The tables of an atlas: its points, what was compared, the clusters of a path, and calls of new sequences.

Shape suffixes: N points.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnafm_cli.io.streams import open_output
from rnafm_cli.io.tables import TableWriter

__all__ = ["CALL_COLUMNS", "call_row", "write_points", "write_rows"]

CALL_COLUMNS = ("id", "label", "confidence", "runner_up", "far", "x", "y", "length", "neighbours")


def write_points(
    path: Path,
    ids: Sequence[str],
    place_N2: np.ndarray,
    labels: Sequence[str],
    cluster_N: np.ndarray,
    lengths_N: np.ndarray,
    time_N: np.ndarray | None = None,
) -> None:
    """One row a sequence in input order: ``id x y label cluster pseudotime length``.

    Clusters count from 1; what is not known is empty.
    """
    with open_output(path) as sink:
        table = TableWriter(sink, ("id", "x", "y", "label", "cluster", "pseudotime", "length"))
        for k, identifier in enumerate(ids):
            time = None if time_N is None or not np.isfinite(time_N[k]) else float(time_N[k])
            x, y = map(float, place_N2[k])
            table.write([identifier, x, y, labels[k], int(cluster_N[k]) + 1, time, int(lengths_N[k]) or None])
        table.flush()


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Any table; a number that is none (NaN) is an empty cell."""
    with open_output(path) as sink:
        table = TableWriter(sink, columns)
        for row in rows:
            table.write({name: _known(value) for name, value in row.items()})
        table.flush()


def call_row(identifier: str, length: int, call: Any, *, format: str = "tsv") -> list[Any]:
    """The row of a new sequence in :data:`CALL_COLUMNS`.

    Args:
        call: with ``label``, ``confidence``, ``runner_up``, ``far``, ``x``, ``y`` and ``neighbours``, each an id, a
            label and a distance.
    """
    near: Any = [list(neighbour) for neighbour in call.neighbours]
    if format == "tsv":
        near = ";".join(f"{name}={label}:{far:.3g}" for name, label, far in call.neighbours)
    return [
        identifier,
        call.label,
        _known(round(call.confidence, 4)),
        call.runner_up,
        call.far,
        call.x,
        call.y,
        length or None,
        near,
    ]


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
