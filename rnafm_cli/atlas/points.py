"""What an atlas is made of: pooled vectors with the ids, lengths, attributes and labels of their RNAs.

Roles: housekeeping RNAs serve the expression of all genes (translation, splicing, modification, export, telomeres);
regulatory ones act on particular genes or transcripts; the rest is ``other``. The division is this project's.

Shape suffixes: N records, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, embed
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.io.embeddings import EmbeddingWriter, read_embeddings, read_provenance, sequence_hash
from rnafm_cli.io.hdf5 import Provenance
from rnafm_cli.io.streams import input_name, open_text
from rnafm_cli.io.tables import cells_of, column_names
from rnafm_cli.rna.records import SequenceRecord


def header_attributes(description: str) -> dict[str, str]:
    """The ``key=value`` words of a header's description; words without ``=`` are left out."""
    pairs = (word.partition("=") for word in description.split())
    return {key: value for key, sign, value in pairs if key and sign and value}


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
        for number, cells in cells_of(handle):
            if not columns:
                headed = column_names(cells)[0] == "id" and len(cells) > 1
                columns = cells[1:] if headed else [key]
                if headed:
                    continue
            if len(cells) != len(columns) + 1:
                raise InputError(
                    f"{input_name(path)}:{number}: {len(cells)} columns, expected {len(columns) + 1}",
                    hint="a table of labels has tabs or commas between the id and its labels; a header line starts "
                    "with id",
                )
            values = {name: cell for name, cell in zip(columns, cells[1:], strict=True) if cell}
            if result.setdefault(cells[0], values) != values:
                raise InputError(f"{input_name(path)}:{number}: the id '{cells[0]}' has two different labels")
    if not result:
        raise InputError(f"{input_name(path)}: holds no labels")
    return result


def read_times(path: str | Path) -> Mapping[str, float]:
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


_HOUSEKEEPING = "RNase_MRP_RNA RNase_P_RNA SRP_RNA rRNA scaRNA snRNA snoRNA tRNA telomerase_RNA tmRNA"
_REGULATORY = """IRES antisense_RNA antitoxin_RNA cis_reg frameshift_element leader lncRNA miRNA piRNA pre_miRNA
    riboswitch sRNA siRNA thermoregulator"""
ROLES = dict.fromkeys(_HOUSEKEEPING.split(), "housekeeping") | dict.fromkeys(_REGULATORY.split(), "regulatory")


def role_of(kind: str) -> str:
    """``housekeeping``, ``regulatory`` or ``other`` for a type's name; ``""`` for none."""
    return ROLES.get(kind, "other") if kind else ""


_IDENTITY = ("model", "weights_sha256", "layer", "pooling")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ADVICE = "run the command again to go on from there"


@dataclass(frozen=True, eq=False)
class AtlasPoints:
    """RNAs and their vectors, in input order."""

    ids: list[str]
    vectors_ND: np.ndarray
    """float32."""
    lengths_N: np.ndarray
    """int64 letters; 0 where unknown."""
    attributes: list[dict[str, str]]
    sequences: list[str] | None = None
    """None when only embeddings were given."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What made the vectors."""

    def __len__(self) -> int:
        return len(self.ids)

    def chosen(self, rows: np.ndarray) -> AtlasPoints:
        """Some of the points, by number."""
        return AtlasPoints(
            [self.ids[k] for k in rows],
            self.vectors_ND[rows],
            self.lengths_N[rows],
            [self.attributes[k] for k in rows],
            None if self.sequences is None else [self.sequences[k] for k in rows],
            self.provenance,
        )


def is_embeddings(path: Path) -> bool:
    """Whether a path is an HDF5 file or a folder, as ``rnafm embed`` writes them, and not FASTA."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as handle:
            return path.is_file() and handle.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC
    except OSError:
        return False


def points_of(records: Sequence[SequenceRecord], provenance: Provenance) -> AtlasPoints:
    """Points of records that have no vectors yet (width 0)."""
    return AtlasPoints(
        [record.id for record in records],
        np.zeros((len(records), 0), dtype=np.float32),
        np.asarray([len(record.sequence) for record in records], dtype=np.int64),
        [header_attributes(record.description) for record in records],
        [record.sequence for record in records],
        dict(provenance),
    )


def pooled_vectors(
    records: Sequence[SequenceRecord],
    encoder: Encoder,
    runtime: Runtime,
    *,
    cache: Path,
    provenance: Provenance,
    layer: int = -1,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
    replace: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean-pooled vectors by way of an HDF5 file that keeps what is done.

    Returns:
        Ascending numbers (n,) of the records that have a vector, and the vectors (n, D), float32.

    Args:
        cache: file of ``rnafm embed --pool mean --layout matrix``; made, continued or added to.
        provenance: what makes the vectors.
        replace: start over when the file was made by something else, or of other sequences with the same ids.
        advance: called for each record that is done.

    Raises:
        UsageError: when the file was made by something else.
        InputError: for ids that come twice.
    """
    with ExitStack() as stack:
        writer = _writer(stack, cache, provenance, records if replace else None)

        def todo() -> Iterable[SequenceRecord]:
            for record in records:
                if writer.done(record):
                    advance()
                else:
                    yield record

        for record, vector_D in embed(
            todo(),
            encoder,
            runtime,
            layer=layer,
            pool="mean",
            batch_tokens=batch_tokens,
            long=long,
            reject=reject,
        ):
            writer.add(record, vector_D)
            advance()
    place = {record.id: k for k, record in enumerate(records)}
    row_of: dict[int, np.ndarray] = {}
    for identifier, vector_D, attributes in read_embeddings(cache):
        k = place.get(identifier)
        if k is not None and attributes["sequence_sha256"] == sequence_hash(records[k].sequence):
            row_of[k] = np.asarray(vector_D, dtype=np.float32)
    kept = sorted(row_of)
    if not kept:
        raise InputError("no record could be embedded")
    return np.asarray(kept), np.stack([row_of[k] for k in kept])


def _writer(
    stack: ExitStack, cache: Path, provenance: Provenance, replaced_for: Sequence[SequenceRecord] | None
) -> EmbeddingWriter:
    """A writer that goes on from what is there, or starts over, if it may, where that is of no use here."""
    try:
        with ExitStack() as opened:
            writer = opened.enter_context(
                EmbeddingWriter(cache, provenance=provenance, layout="matrix", resume=True, advice=_ADVICE)
            )
            if not any(writer.holds_another(record) for record in replaced_for or ()):
                stack.enter_context(opened.pop_all())
                return writer
    except UsageError:
        if replaced_for is None:
            raise
    return stack.enter_context(EmbeddingWriter(cache, provenance=provenance, layout="matrix", force=True))


def embedded_points(paths: Sequence[Path], *, reject: Reject = raise_rejected) -> AtlasPoints:
    """Points from embeddings of ``rnafm embed`` or another tool; rows of nucleotides are averaged.

    Args:
        reject: called with the error of a record that cannot be used (values that are no numbers, nothing in
            it); when it returns, the record is left out.

    Raises:
        InputError: for vectors of several models, ids that come twice, and files with nothing in them.
    """
    provenance = _joint_provenance(paths)
    ids: dict[str, None] = {}
    vectors: list[np.ndarray] = []
    lengths: list[int] = []
    known: list[dict[str, str]] = []
    made_by: object = None
    for path in paths:
        for identifier, array, attributes in read_embeddings(path):
            if identifier in ids:
                raise InputError(f"{path}: the id '{identifier}' appears twice", hint="give every record its own id")
            if array.ndim > 2 or not array.size:
                reject(InputError(f"{path}: '{identifier}' has shape {array.shape}, no vector and no rows of vectors"))
                continue
            vector_D = np.asarray(array, dtype=np.float32)
            vector_D = vector_D.mean(axis=0) if vector_D.ndim == 2 else np.atleast_1d(vector_D)
            made = attributes.get("weights_sha256") or attributes.get("model")
            if vectors and (vector_D.shape != vectors[0].shape or (made and made_by and made != made_by)):
                raise InputError(
                    f"{path}: '{identifier}' comes from another model than '{next(iter(ids))}'"
                    f" ({len(vector_D)} and {len(vectors[0])} values)",
                    hint="embed all sequences with one model",
                )
            if not np.isfinite(vector_D).all():
                reject(InputError(f"{path}: the embedding of '{identifier}' holds NaN or infinite values"))
                continue
            made_by = made_by or made
            ids[identifier] = None
            vectors.append(vector_D)
            lengths.append(int(attributes.get("length", len(array) if array.ndim == 2 else 0)))
            known.append(header_attributes(str(attributes.get("description", ""))))
    if not vectors:
        raise InputError(f"{', '.join(map(str, paths))}: holds no embeddings that can be used")
    return AtlasPoints(list(ids), np.stack(vectors), np.asarray(lengths), known, None, provenance)


def _joint_provenance(paths: Sequence[Path]) -> dict[str, Any]:
    """What made the files, the same for all of them."""
    joint: dict[str, Any] = {}
    for path in paths:
        found = read_provenance(path)
        if found.get("pooling") == "none":
            found["pooling"] = "mean"
        for key in _IDENTITY:
            if key in found and joint.setdefault(key, found[key]) != found[key]:
                raise InputError(
                    f"{path}: was made with {key} {found[key]}, {paths[0]} with {joint[key]}",
                    hint="embed all sequences with one model",
                )
    return joint


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
