"""What an atlas is made of: pooled vectors with the ids, lengths and attributes of their RNAs.

Shape suffixes: N records, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.io.embeddings import EmbeddingWriter, Provenance, read_embeddings, read_provenance, sequence_hash
from rnafm_cli.io.labels import header_attributes
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.tasks.embed import embed
from rnafm_cli.tasks.encode import DEFAULT_BATCH_TOKENS
from rnafm_cli.tasks.runtime import Runtime

__all__ = ["AtlasPoints", "embedded_points", "is_embeddings", "points_of", "pooled_vectors"]

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
