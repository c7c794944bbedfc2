"""What ``rnafm atlas`` does: sequences or embeddings in; a folder with tables, figures and page, or type calls, out."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rnafm_cli.cli import console
from rnafm_cli.cli.options import Intake, LongChoice
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rnafm_cli.atlas.comparison import Panel
    from rnafm_cli.atlas.layout import LayoutOptions
    from rnafm_cli.atlas.placement import AtlasFile
    from rnafm_cli.atlas.points import AtlasPoints
    from rnafm_cli.atlas.results import AtlasFolder
    from rnafm_cli.model import Model
    from rnafm_cli.rna.records import SequenceRecord

_BASELINES = {"random": "random weights", "onehot": "one-hot", "kmer": "4-mer counts"}
_MAPPED_AT_ONCE = 256


@dataclass(kw_only=True, eq=False)
class AtlasRun:
    """One run: what the user asked for, and the steps that do it."""

    inputs: list[Path]
    intake: Intake
    target: AtlasFile | None
    """The atlas to place sequences on; None to make one."""
    folder: Path | None
    cache: Path | None
    force: bool
    rename_duplicates: bool
    model_name: str | None
    weights_dir: Path | None
    device: str
    precision: Any
    threads: int | None
    layer: int
    batch_tokens: int
    long: LongChoice
    layout: LayoutOptions
    label_by: str | None
    labels: Path | None
    per_label: int | None
    views: list[Any]
    baselines: list[Any]
    root: str | None
    measure: Literal["diffusion", "walk"]
    times: Path | None
    fold: bool
    page: bool
    title: str

    def __post_init__(self) -> None:
        if self.embedded and (self.baselines or self.fold):
            raise UsageError(
                f"{'--compare' if self.baselines else '--fold'} needs the sequences",
                hint="give the FASTA, and the embeddings with --h5 to reuse them",
            )

    @cached_property
    def embedded(self) -> bool:
        """Whether the inputs are embeddings.

        Raises:
            UsageError: when some are and some are not.
        """
        from rnafm_cli.atlas.points import is_embeddings

        kinds = {str(path) != "-" and is_embeddings(path) for path in self.inputs}
        if len(kinds) > 1:
            raise UsageError("FASTA and embeddings cannot be mixed", hint="embed the FASTA first: rnafm embed")
        return kinds == {True}

    @cached_property
    def model(self) -> Model:
        """The model, read from disk when first used: the one asked for, else the map's if at hand, else the default.

        Raises:
            UsageError: for a codon model.
        """
        from rnafm_cli.model import load_model
        from rnafm_cli.weights.registry import MODELS

        made_by = str(self.target.settings.get("model", "")) if self.target else ""
        name = self.model_name or (made_by if made_by in MODELS or Path(made_by).is_file() else "rnafm-mini")
        model = load_model(
            name, weights_dir=self.weights_dir, device=self.device, precision=self.precision, threads=self.threads
        )
        model.check_nucleotides()
        return model

    @property
    def provenance(self) -> dict[str, Any]:
        """What files of this run's embeddings say about themselves."""
        from rnafm_cli.encoder.embed import embedding_provenance

        command = " ".join(["rnafm", *sys.argv[1:]])
        return embedding_provenance(self.model, layer=self.layer, pool="mean", command=command)

    def make(self) -> None:
        """Read, embed, lay out, measure, write."""
        from rnafm_cli.atlas.comparison import folds_of
        from rnafm_cli.atlas.layout import lay_out
        from rnafm_cli.atlas.placement import atlas_file_of, write_atlas_file
        from rnafm_cli.atlas.points import clusters_as_labels, read_times, view_labels
        from rnafm_cli.atlas.results import AtlasFolder
        from rnafm_cli.atlas.trajectory import find_trajectory, roots_named
        from rnafm_cli.io.streams import open_output

        folder = self._results_folder("atlas.tsv")
        times = read_times(self.times) if self.times else None
        points, labels, counts = self._gather(folder, times)
        seed = self.layout.seed
        with console.progress(len(points), "neighbours") as bar:
            layout = lay_out(points.vectors_ND, self.layout, tell=console.info, warn=console.warn, advance=bar.advance)
        if labels is None:
            console.info("the sequences have no labels: clusters are the labels")
        made = AtlasFolder(
            folder=folder,
            points=points,
            layout=layout,
            labels=labels or clusters_as_labels(layout.cluster_N),
            label_counts=counts,
            title=self.title,
            seed=seed,
        )
        summary: dict[str, Any] = {
            "sequences": len(points),
            "labels": len(set(labels or ()) - {""}),
            "clusters": int(layout.cluster_N.max()) + 1,
            "variance_kept": round(float(layout.pca.share_K.sum()), 4),
            **{key: points.provenance.get(key) for key in ("model", "weights_sha256", "layer", "pooling")},
            "layout": dataclasses.asdict(self.layout) | {"method": layout.method},
        }
        folds = folds_of(
            points, made.labels, seed=seed, every=bool(self.baselines), tell=console.info, warn=console.warn
        )
        panels = self._compare(made, folds) if self.baselines else []
        trajectory = None
        if self.root is not None:
            console.info(f"pseudotime from {self.root}")
            roots = roots_named(self.root, points.ids, made.labels)
            trajectory = find_trajectory(layout, self.root, roots, measure=self.measure, seed=seed, warn=console.warn)
        structures = self._structures(points, folder / "structures.dbn") if self.fold else None
        made.write_points(None if trajectory is None else trajectory.time_N)
        roles = view_labels("role", points, made.labels)
        write_atlas_file(folder / "atlas.h5", atlas_file_of(points, layout, made.labels, roles, fold_N=folds))
        made.draw_maps(self.views, warn=console.warn)
        if panels:
            summary["comparison"] = made.write_comparison(panels, tell=console.info)
        if trajectory is not None:
            summary["trajectory"] = made.write_trajectory(trajectory, times, tell=console.info, warn=console.warn)
        if self.page:
            made.write_page(self.label_by or "type", trajectory, structures, by_role="role" in self.views)
        with open_output(folder / "atlas.json") as sink:
            sink.write(json.dumps(summary, indent=1, default=str) + "\n")
        console.info(f"wrote the atlas of {len(points):,} sequences to {folder}")

    def _results_folder(self, result: str) -> Path:
        """Make the folder of results, and keep the results that are there unless told otherwise."""
        assert self.folder is not None
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder}: is not a folder")
        if (self.folder / result).exists() and not self.force:
            raise UsageError(
                f"{self.folder / result}: exists", hint="--force replaces the results; embeddings that fit are kept"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    def _gather(
        self, folder: Path, times: Mapping[str, float] | None
    ) -> tuple[AtlasPoints, list[str] | None, Counter[str]]:
        """The points, at most ``--per-label`` of each label, with their labels (None when no point has one).

        Also how many sequences had each label before the choice.
        """
        from rnafm_cli.atlas.points import chosen_per_label, embedded_points, labels_of, points_of, read_label_table

        known = read_label_table(self.labels, key=self.label_by or "label") if self.labels else None
        records: list[SequenceRecord] = []
        if self.embedded:
            points = embedded_points(self.inputs, reject=self.intake.reject)
        else:
            records = self._records()
            points = points_of(records, self.provenance)
        labels = labels_of(points, self.label_by, table=known, tell=console.info)
        counts = Counter(labels or ())
        if self.per_label is not None:
            if labels is None:
                raise UsageError("--per-label needs labels, and no sequence has one", hint="give --labels TSV")
            rows = chosen_per_label(labels, self.per_label, seed=self.layout.seed)
            points, labels = points.chosen(rows), [labels[k] for k in rows]
            records = [records[k] for k in rows] if records else records
        self._check(points.ids, labels, times)
        if records:
            kept, vectors = self._embed(records, self.cache or folder / "embeddings.h5", self.provenance)
            points = dataclasses.replace(points.chosen(kept), vectors_ND=vectors)
            labels = [labels[k] for k in kept] if labels is not None else None
        return points, labels, counts

    def _records(self) -> list[SequenceRecord]:
        """All sequences, with ids that stay apart."""
        from rnafm_cli.io.names import DistinctNames, rename_duplicates

        source: Iterable[SequenceRecord] = self.intake.records()
        if self.rename_duplicates:
            source = rename_duplicates(source)
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

    def _check(self, ids: list[str], labels: list[str] | None, times: Mapping[str, float] | None) -> None:
        """Refuse, before anything is embedded, what these sequences cannot give."""
        from rnafm_cli.atlas.trajectory import labels_with_times, roots_named

        if labels is None:
            # Clusters will be the labels, and their names are not known yet.
            if self.baselines:
                raise UsageError("--compare measures labels, and the sequences have none", hint="give --labels TSV")
            return
        if self.root is not None:
            roots_named(self.root, ids, labels)
        if times is not None:
            labels_with_times(labels, times)

    def _embed(
        self,
        records: list[SequenceRecord],
        cache: Path,
        provenance: dict[str, Any],
        *,
        encoder: Any = None,
        description: str = "embedding",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the records that have vectors, and the vectors, by way of the file that keeps them."""
        from rnafm_cli.atlas.points import pooled_vectors

        try:
            with console.progress(len(records), description) as bar:
                return pooled_vectors(
                    records,
                    encoder or self.model.encoder,
                    self.model.runtime,
                    cache=cache,
                    provenance=provenance,
                    layer=self.layer,
                    batch_tokens=self.batch_tokens,
                    long=self.long.value,
                    reject=self._reject_long,
                    # Embeddings of a run may be replaced where they do not fit, a file of the user's own never.
                    replace=self.force and self.cache is None,
                    advance=bar.advance,
                )
        except KeyboardInterrupt:
            console.warn("interrupted; what is embedded is kept, run the command again to go on from there")
            raise

    @property
    def _reject_long(self) -> Any:
        return self.intake.skip if self.long is LongChoice.skip else self.intake.reject

    def _compare(self, made: AtlasFolder, folds: np.ndarray | None) -> list[Panel]:
        """The same sequences by other vectors."""
        from rnafm_cli.atlas.comparison import baseline_vectors, compare_layouts
        from rnafm_cli.atlas.points import view_labels
        from rnafm_cli.atlas.results import model_name

        points = made.points
        if len(set(made.labels) - {""}) < 2:
            console.warn("one label only: the maps are drawn without figures")
        name = model_name(points.provenance)
        kinds: dict[str, Any] = {name: lambda: points.vectors_ND}
        for kind in self.baselines:
            kinds[_BASELINES[kind]] = (
                (lambda: self._random_vectors(made))
                if kind == "random"
                else lambda kind=kind: baseline_vectors(kind, points.sequences or [])
            )
        views = {view: view_labels(view, points, made.labels) for view in dict.fromkeys(["type", *self.views])}
        return compare_layouts(kinds, views, self.layout, fold_N=folds, ready={name: made.layout}, tell=console.info)

    def _random_vectors(self, made: AtlasFolder) -> np.ndarray:
        """The same sequences through the same network with random weights, kept beside the embeddings."""
        from rnafm_cli.encoder.network import untrained
        from rnafm_cli.rna.records import SequenceRecord

        seed, by = self.layout.seed, self.provenance
        by |= {"model": f"{by['model']} with random weights, seed {seed}", "weights_sha256": f"random {seed}"}
        records = [SequenceRecord(*one) for one in zip(made.points.ids, made.points.sequences or [], strict=True)]
        cache = self.cache or made.folder / "embeddings.h5"
        encoder = untrained(self.model.encoder, seed=seed).to(self.model.runtime.dtype)
        kept_beside = cache.with_name(f"{cache.stem}.random.h5")
        return self._embed(records, kept_beside, by, encoder=encoder, description="embedding, random weights")[1]

    def _structures(self, points: AtlasPoints, path: Path) -> list[str]:
        """The dot-bracket string of each RNA, ``""`` where it cannot be folded; kept in a file."""
        from rnafm_cli.io.streams import open_output
        from rnafm_cli.rna.records import SequenceRecord

        refused: list[InputError] = []
        structures = dict.fromkeys(points.ids, "")
        records = [
            SequenceRecord(name, "".join(letter if letter in "ACGU" else "N" for letter in sequence))
            for name, sequence in zip(points.ids, points.sequences or [], strict=True)
        ]
        with console.progress(len(records), "folding") as bar, open_output(path) as sink:
            for result in self.model.fold(
                records, batch_tokens=self.batch_tokens, reject=refused.append, warn=console.warn
            ):
                found = result.structure
                structures[found.id] = found.dot_bracket
                sink.write(f">{found.id}\n{found.sequence}\n{found.dot_bracket}\n")
                bar.advance()
        if refused:
            console.warn(f"{len(refused)} RNAs have no structure: {refused[0].message}")
        return list(structures.values())

    def map(self, *, table_format: Any) -> None:
        """Write where each sequence lies on the atlas and what it is, to stdout or into a folder with figures."""
        from rnafm_cli.atlas.placement import CALL_COLUMNS, call_row, map_onto
        from rnafm_cli.atlas.results import Newcomer, write_mapped
        from rnafm_cli.io.streams import open_output
        from rnafm_cli.io.tables import TableWriter

        atlas, seed = self.target, self.layout.seed
        assert atlas is not None
        table_name = f"calls.{table_format}"
        folder = self._results_folder(table_name) if self.folder else None
        placed: list[Newcomer] = []
        far = 0
        with ExitStack() as stack:
            sink = stack.enter_context(open_output(folder / table_name if folder else "-"))
            table = TableWriter(sink, CALL_COLUMNS, format=table_format)
            bar = stack.enter_context(console.progress(description="mapping"))
            for names, vectors in self._vectors(atlas):
                some = [
                    Newcomer(*name, call) for name, call in zip(names, map_onto(atlas, vectors, seed=seed), strict=True)
                ]
                table.write_all(call_row(one.id, one.length, one.call, format=table_format) for one in some)
                table.flush()
                bar.advance(len(some))
                far += sum(one.call.far for one in some)
                placed += some if folder else []
            table.flush()
        if not len(atlas.share_P):
            console.warn("the atlas was made without sequences or with one label: its calls have no confidence")
        if far:
            console.warn(f"{far} sequences lie far from everything on the atlas: their type may not be on it")
        if folder:
            write_mapped(folder, atlas, placed, title=self.title, seed=seed, page=self.page)
            console.info(f"wrote the calls of {len(placed):,} sequences to {folder}")

    def _vectors(self, atlas: AtlasFile) -> Iterator[tuple[list[tuple[str, int, str]], np.ndarray]]:
        """(Id, length, first bases) and vectors, some at a time, once they are known to be of the atlas's model."""
        from itertools import islice

        import numpy as np

        from rnafm_cli.atlas.placement import STARTS, check_vectors
        from rnafm_cli.atlas.points import embedded_points

        if self.embedded:
            points = embedded_points(self.inputs, reject=self.intake.reject)
            check_vectors(atlas, points.provenance, points.vectors_ND.shape[1])
            named = [(name, int(length), "") for name, length in zip(points.ids, points.lengths_N, strict=True)]
            source: Iterator[tuple[tuple[str, int, str], np.ndarray]] = zip(named, points.vectors_ND, strict=True)
        else:
            check_vectors(atlas, self.provenance, self.model.encoder.config.width)
            found = self.model.embed(
                self.intake.records(),
                layer=self.layer,
                pool="mean",
                batch_tokens=self.batch_tokens,
                long=self.long.value,
                reject=self._reject_long,
            )
            source = (((record.id, len(record), record.sequence[:STARTS]), vector_D) for record, vector_D in found)
        while some := list(islice(source, _MAPPED_AT_ONCE)):
            yield [name for name, _ in some], np.stack([vector_D for _, vector_D in some])
