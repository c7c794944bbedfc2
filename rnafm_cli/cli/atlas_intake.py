"""What ``rnafm atlas`` starts from: sequences through a model, or embeddings as they are."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnafm_cli.cli import console
from rnafm_cli.cli.options import Intake, LongChoice, OnErrorChoice, PrecisionChoice
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rnafm_cli.atlas.points import AtlasPoints
    from rnafm_cli.model import Model
    from rnafm_cli.rna.records import SequenceRecord

__all__ = ["AtlasIntake", "Gathered", "ModelChoice"]


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The model of a run and how it is run."""

    name: str
    weights_dir: Path | None
    device: str
    precision: PrecisionChoice
    threads: int | None
    layer: int
    batch_tokens: int
    long: LongChoice

    @cached_property
    def loaded(self) -> Model:
        """The model, read from disk when first used.

        Raises:
            UsageError: for a codon model.
        """
        from rnafm_cli.model import load_model

        model = load_model(
            self.name,
            weights_dir=self.weights_dir,
            device=self.device,
            precision=self.precision.value,
            threads=self.threads,
        )
        model.check_nucleotides()
        return model

    @property
    def provenance(self) -> dict[str, Any]:
        """What files of this run's embeddings say about themselves."""
        from rnafm_cli.encoder.embed import embedding_provenance

        return embedding_provenance(
            self.loaded,
            layer=self.layer,
            pool="mean",
            command=" ".join(["rnafm", *sys.argv[1:]]),
        )


@dataclass(frozen=True, eq=False)
class Gathered:
    """The points of a run and their labels."""

    points: AtlasPoints
    labels: list[str] | None
    """None when no point has one."""


class AtlasIntake:
    """Reads the inputs of one run."""

    def __init__(
        self, inputs: list[Path] | None, on_error: OnErrorChoice, model: ModelChoice, *, rename_duplicates: bool = False
    ) -> None:
        self._inputs = inputs or []
        self._model = model
        self._rename = rename_duplicates
        self.intake = Intake(inputs, on_error)
        self.embedded = self._all_embedded()

    @property
    def paths(self) -> list[Path]:
        """The inputs as given."""
        return self._inputs

    def gather(
        self,
        cache: Path,
        *,
        label_by: str | None,
        table: Path | None,
        per_label: int | None,
        seed: int,
        replace: bool,
        check: Callable[[list[str], list[str] | None], None] = lambda ids, labels: None,
    ) -> Gathered:
        """Points with vectors, at most ``per_label`` of each label; vectors are kept in ``cache``.

        Args:
            check: called with ids and labels before anything is embedded; raises what cannot be done with them.
        """
        from rnafm_cli.atlas.points import chosen_per_label, embedded_points, labels_of, points_of, read_label_table

        known = read_label_table(table, key=label_by or "label") if table else None
        if self.embedded:
            points = embedded_points(self._inputs, reject=self.intake.reject)
            records: list[SequenceRecord] = []
        else:
            records = self._records()
            points = points_of(records, self._model.provenance)
        labels = labels_of(points, label_by, table=known, tell=console.info)
        if per_label is not None:
            if labels is None:
                raise UsageError("--per-label needs labels, and no sequence has one", hint="give --labels TSV")
            rows = chosen_per_label(labels, per_label, seed=seed)
            points, labels = points.chosen(rows), [labels[k] for k in rows]
            records = [records[k] for k in rows] if records else records
        check(points.ids, labels)
        if records:
            kept, vectors = self.embed(records, cache, self._model.provenance, replace=replace)
            points = dataclasses.replace(points.chosen(kept), vectors_ND=vectors)
            labels = [labels[k] for k in kept] if labels is not None else None
        return Gathered(points, labels)

    def embed(
        self,
        records: list[SequenceRecord],
        cache: Path,
        provenance: dict[str, Any],
        *,
        replace: bool,
        encoder: Any = None,
        description: str = "embedding",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the records that have vectors, and the vectors, by way of the file that keeps them."""
        from rnafm_cli.atlas.points import pooled_vectors

        loaded, long = self._model.loaded, self._model.long
        try:
            with console.progress(len(records), description) as bar:
                return pooled_vectors(
                    records,
                    encoder or loaded.encoder,
                    loaded.runtime,
                    cache=cache,
                    provenance=provenance,
                    layer=self._model.layer,
                    batch_tokens=self._model.batch_tokens,
                    long=long.value,
                    reject=self.intake.skip if long is LongChoice.skip else self.intake.reject,
                    replace=replace,
                    advance=bar.advance,
                )
        except KeyboardInterrupt:
            console.warn("interrupted; what is embedded is kept, run the command again to go on from there")
            raise

    def stream(self) -> Iterable[SequenceRecord]:
        """The sequences one by one, ids as they are."""
        return self.intake.records()

    def _records(self) -> list[SequenceRecord]:
        """All sequences, with ids that stay apart."""
        from rnafm_cli.io.names import DistinctNames
        from rnafm_cli.io.names import rename_duplicates as renamed

        source: Iterable[SequenceRecord] = self.intake.records()
        if self._rename:
            source = renamed(source)
        names = DistinctNames(str, kind="id")
        records = []
        for record in source:
            try:
                names.claim(record)
            except InputError as error:
                self.intake.reject(error)
            else:
                records.append(record)
        return records

    def _all_embedded(self) -> bool:
        kinds = [_is_embeddings(path) for path in self._inputs]
        if any(kinds) and not all(kinds):
            raise UsageError("FASTA and embeddings cannot be mixed", hint="embed the FASTA first: rnafm embed")
        return any(kinds)


def _is_embeddings(path: Path) -> bool:
    if str(path) == "-":
        return False
    from rnafm_cli.atlas.points import is_embeddings

    return is_embeddings(path)
