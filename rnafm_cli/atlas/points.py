"""What an atlas is made of: pooled vectors with the ids, lengths, attributes and labels of their RNAs.

Roles: housekeeping RNAs serve the expression of all genes (translation, splicing, modification, export, telomeres);
regulatory ones act on particular genes or transcripts; the rest is ``other``. The division is this project's.

Shape suffixes: N records, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from rnafm_cli.encoder.embed import embed
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.io.embeddings import EmbeddingWriter, read_embeddings, read_provenance, sequence_hash
from rnafm_cli.io.hdf5 import Provenance
from rnafm_cli.io.streams import input_name, open_text
from rnafm_cli.io.tables import cells_of, column_names
from rnafm_cli.rna.records import SequenceRecord

IDENTITY = ("model", "weights_sha256", "layer", "pooling")
"""What embeddings say of their origin, which vectors on one map have in common."""
UNLABELLED = ""
_LONG = 200
"""Nucleotides from which a non-coding RNA counts as long."""

View = Literal["type", "role", "length"]
_HOUSEKEEPING = "RNase_MRP_RNA RNase_P_RNA SRP_RNA rRNA scaRNA snRNA snoRNA tRNA telomerase_RNA tmRNA"
_REGULATORY = """IRES antisense_RNA antitoxin_RNA cis_reg frameshift_element leader lncRNA miRNA piRNA pre_miRNA
    riboswitch sRNA siRNA thermoregulator"""
ROLES = dict.fromkeys(_HOUSEKEEPING.split(), "housekeeping") | dict.fromkeys(_REGULATORY.split(), "regulatory")


@dataclass(frozen=True, eq=False)
class AtlasPoints:
    """RNAs and their vectors, in input order."""

    records: list[SequenceRecord]
    """Without letters where only embeddings were given."""
    vectors_ND: np.ndarray
    """float32."""
    lengths_N: np.ndarray
    """int64 letters; 0 where unknown."""
    attributes: list[dict[str, str]]
    provenance: Mapping[str, Any]
    """What made the vectors."""

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ids(self) -> list[str]:
        """Of all records."""
        return [record.id for record in self.records]

    @property
    def sequences(self) -> list[str] | None:
        """Of all records; None when only embeddings were given."""
        return [record.sequence for record in self.records] if self.records[0].sequence else None

    def chosen(self, rows: np.ndarray) -> AtlasPoints:
        """Some of the points, by number."""
        records, attributes = ([every[k] for k in rows] for every in (self.records, self.attributes))
        return AtlasPoints(records, self.vectors_ND[rows], self.lengths_N[rows], attributes, self.provenance)


def points_of(records: list[SequenceRecord], provenance: Provenance) -> AtlasPoints:
    """Points of records that have no vectors yet (width 0)."""
    lengths = np.asarray([len(record) for record in records], dtype=np.int64)
    attributes = [record.attributes for record in records]
    return AtlasPoints(records, np.zeros((len(records), 0), dtype=np.float32), lengths, attributes, provenance)


def is_embeddings(path: Path) -> bool:
    """Whether a path is an HDF5 file or a folder, as ``rnafm embed`` writes them, and not FASTA."""
    return path.is_dir() or (path.is_file() and bool(h5py.is_hdf5(path)))


def embedded_points(paths: Sequence[Path], *, reject: Reject = raise_rejected) -> AtlasPoints:
    """Points from embeddings of ``rnafm embed`` or another tool; rows of nucleotides are averaged.

    Args:
        reject: called with the error of a record that cannot be used (values that are no numbers, nothing in
            it); when it returns, the record is left out.

    Raises:
        InputError: for vectors of several models, ids that come twice, and files with nothing in them.
    """
    provenance = _joint_provenance(paths)
    found: dict[str, tuple[np.ndarray, int, str]] = {}
    width = 0
    for path in paths:
        for identifier, array, told in read_embeddings(path):
            if identifier in found:
                raise InputError(f"{path}: the id '{identifier}' appears twice", hint="give every record its own id")
            if array.ndim > 2 or not array.size:
                reject(InputError(f"{path}: '{identifier}' has shape {array.shape}, no vector and no rows of vectors"))
                continue
            length = int(told.get("length", len(array) if array.ndim == 2 else 0))
            vector_D = np.atleast_2d(np.asarray(array, dtype=np.float32)).mean(axis=0)
            if found and len(vector_D) != width:
                raise InputError(
                    f"{path}: '{identifier}' comes from another model than '{next(iter(found))}'"
                    f" ({len(vector_D)} and {width} values)",
                    hint="embed all sequences with one model",
                )
            if not np.isfinite(vector_D).all():
                reject(InputError(f"{path}: the embedding of '{identifier}' holds NaN or infinite values"))
                continue
            width = len(vector_D)
            found[identifier] = vector_D, length, str(told.get("description", ""))
    if not found:
        raise InputError(f"{', '.join(map(str, paths))}: holds no embeddings that can be used")
    vectors, lengths, descriptions = zip(*found.values(), strict=True)
    records = [SequenceRecord(name, "", words) for name, words in zip(found, descriptions, strict=True)]
    attributes = [record.attributes for record in records]
    return AtlasPoints(records, np.stack(vectors), np.asarray(lengths), attributes, provenance)


def _joint_provenance(paths: Sequence[Path]) -> dict[str, Any]:
    """What made the files, the same for all of them."""
    joint: dict[str, Any] = {}
    for path in paths:
        found = read_provenance(path)
        if found.get("pooling") == "none":
            found["pooling"] = "mean"
        for key in IDENTITY:
            if key in found and joint.setdefault(key, found[key]) != found[key]:
                raise InputError(
                    f"{path}: was made with {key} {found[key]}, {paths[0]} with {joint[key]}",
                    hint="embed all sequences with one model",
                )
    return joint


def pooled_vectors(
    records: Sequence[SequenceRecord],
    encoder: Encoder,
    runtime: Runtime,
    *,
    cache: Path,
    provenance: Provenance,
    replace: bool = False,
    advance: Callable[[], None] = lambda: None,
    **how: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean-pooled vectors by way of an HDF5 file that keeps what is done.

    Returns:
        Ascending numbers (n,) of the records that have a vector, and the vectors (n, D), float32.

    Args:
        cache: file of ``rnafm embed --pool mean --layout matrix``; made, continued or added to.
        provenance: what makes the vectors.
        replace: start over when the file was made by something else, or of other sequences with the same ids.
        advance: called for each record that is done.
        how: for :func:`encoder.embed.embed`.

    Raises:
        UsageError: when the file was made by something else.
        InputError: for ids that come twice.
    """
    with ExitStack() as stack:
        kept: dict[str, Any] = {"provenance": provenance, "layout": "matrix"}
        try:
            advice = "run the command again to go on from there"
            writer = stack.enter_context(EmbeddingWriter(cache, resume=True, advice=advice, **kept))
            fits = not (replace and any(map(writer.holds_another, records)))
        except UsageError:
            if not replace:
                raise
            fits = False
        if not fits:
            stack.close()
            writer = stack.enter_context(EmbeddingWriter(cache, force=True, **kept))

        for record, vector_D in embed(writer.todo(records, advance), encoder, runtime, pool="mean", **how):
            writer.add(record, vector_D)
            advance()
    number = {record.id: k for k, record in enumerate(records)}
    row_of: dict[int, np.ndarray] = {}
    for identifier, vector_D, told in read_embeddings(cache):
        k = number.get(identifier)
        if k is not None and told["sequence_sha256"] == sequence_hash(records[k].sequence):
            row_of[k] = np.asarray(vector_D, dtype=np.float32)
    if not row_of:
        raise InputError("no record could be embedded")
    rows = sorted(row_of)
    return np.asarray(rows), np.stack([row_of[k] for k in rows])


def read_label_table(path: str | Path, *, key: str) -> dict[str, dict[str, str]]:
    """Attributes by record id from a table, TSV or CSV.

    With a header line that starts with ``id``, each further column is an attribute; without one, the second of two
    columns is the attribute ``key``. Empty cells are unknown.

    Raises:
        InputError: naming the line, for rows of another width and ids that come twice with different values.
    """
    result: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    with open_text(path) as handle:
        for number, (name, *cells) in cells_of(handle):
            if not columns:
                headed = bool(cells) and column_names([name]) == ["id"]
                columns = cells if headed else [key]
                if headed:
                    continue
            if len(cells) != len(columns):
                raise InputError(
                    f"{input_name(path)}:{number}: {len(cells) + 1} columns, expected {len(columns) + 1}",
                    hint="a table of labels has tabs or commas between the id and its labels; a header line starts "
                    "with id",
                )
            values = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
            if result.setdefault(name, values) != values:
                raise InputError(f"{input_name(path)}:{number}: the id '{name}' has two different labels")
    if not result:
        raise InputError(f"{input_name(path)}: holds no labels")
    return result


def read_times(path: str | Path) -> dict[str, float]:
    """A number for each label, from the first two columns of a table (a header line may stand above).

    Raises:
        InputError: naming the line, for a second column that is no number.
    """
    result: dict[str, float] = {}
    with open_text(path) as handle:
        for k, (number, cells) in enumerate(cells_of(handle)):
            try:
                result[cells[0]] = float(cells[1])
            except (IndexError, ValueError) as error:
                if k > 0 or len(cells) < 2:
                    raise InputError(
                        f"{input_name(path)}:{number}: has no number in its second column", hint="give label, tab, time"
                    ) from error
    if not result:
        raise InputError(f"{input_name(path)}: holds no times")
    return result


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
        names = f"short (below {_LONG} nt)", f"long (from {_LONG} nt)"
        return [names[length >= _LONG] if length else UNLABELLED for length in points.lengths_N.tolist()]
    return [
        attributes.get("role") or role_of(attributes.get("type", label))
        for attributes, label in zip(points.attributes, labels, strict=True)
    ]


def role_of(kind: str) -> str:
    """``housekeeping``, ``regulatory`` or ``other`` for a type's name; ``""`` for none."""
    return ROLES.get(kind, "other") if kind else ""
