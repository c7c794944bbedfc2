"""Names of the points of an atlas: types, roles, lengths or clusters.

Shape suffix: N points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.rna.roles import role_of
from rnafm_cli.tasks.atlas_points import AtlasPoints

__all__ = ["LONG", "UNLABELLED", "View", "chosen_per_label", "clusters_as_labels", "labels_of", "view_labels"]

View = Literal["type", "role", "length"]

UNLABELLED = ""
LONG = 200
"""Nucleotides from which a non-coding RNA counts as long."""


def labels_of(
    points: AtlasPoints,
    key: str | None,
    *,
    table: Mapping[str, Mapping[str, str]] | None = None,
    tell: Callable[[str], None] = lambda message: None,
) -> list[str] | None:
    """The label of each point, ``""`` where it has none; None when no point has one.

    Args:
        key: the attribute that is the label; ``type`` if None, or the table's first column when it has no ``type``.
        table: attributes by id, which come before those of the headers.

    Raises:
        InputError: when a key is asked for that no point has, or the table names none of the points.
    """
    if table is not None:
        known = sum(identifier in table for identifier in points.ids)
        if not known:
            raise InputError("the table of labels names none of the sequences", hint="its first column is the id")
        if known < len(points):
            tell(f"the table of labels has {known:,} of {len(points):,} sequences")
        for identifier, attributes in zip(points.ids, points.attributes, strict=True):
            attributes.update(table.get(identifier, {}))
    columns = {name for values in (table or {}).values() for name in values}
    wanted = key or ("type" if "type" in columns or not columns else min(columns))
    labels = [attributes.get(wanted, UNLABELLED) for attributes in points.attributes]
    missing = labels.count(UNLABELLED)
    if missing < len(labels):
        if missing:
            tell(f"{missing:,} of {len(labels):,} sequences have no {wanted}: they are drawn in grey")
        return labels
    if key is None:
        return None
    others = Counter(name for attributes in points.attributes for name in attributes)
    have = ", ".join(name for name, _ in others.most_common(8))
    raise InputError(
        f"no sequence has the attribute '{key}'",
        hint=f"the headers have {have}" if have else "write key=value words into the headers, or give --labels TSV",
    )


def clusters_as_labels(cluster_N: np.ndarray) -> list[str]:
    """Labels for points that have none: the numbers of their clusters, from 1."""
    return [f"cluster {number + 1}" for number in cluster_N]


def view_labels(view: View, points: AtlasPoints, labels: list[str]) -> list[str]:
    """Another division of the same points.

    Args:
        view: ``type`` are the labels; ``role`` is the attribute of that name, else it follows from the attribute
            ``type`` or the label; ``length`` is short (below 200 nt) or long.
    """
    if view == "type":
        return labels
    if view == "length":
        names = {True: f"long (from {LONG} nt)", False: f"short (below {LONG} nt)"}
        return [names[bool(length >= LONG)] if length else UNLABELLED for length in points.lengths_N]
    return [
        attributes.get("role") or role_of(attributes.get("type", label))
        for attributes, label in zip(points.attributes, labels, strict=True)
    ]


def chosen_per_label(labels: list[str], most: int, *, seed: int = 0) -> np.ndarray:
    """Ascending numbers of at most ``most`` points of each label, a seeded choice."""
    taken: Counter[str] = Counter()
    kept = []
    for k in np.random.default_rng(seed).permutation(len(labels)):
        taken[labels[k]] += 1
        if taken[labels[k]] <= most:
            kept.append(int(k))
    return np.asarray(sorted(kept), dtype=np.int64)
