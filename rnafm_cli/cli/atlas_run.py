"""One run of ``rnafm atlas`` that makes a map: from sequences to a folder of results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rnafm_cli.cli import console
from rnafm_cli.cli.atlas_intake import AtlasIntake, Gathered, ModelChoice
from rnafm_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from rnafm_cli.tasks.atlas_comparison import Panel
    from rnafm_cli.tasks.atlas_layout import Layout, LayoutOptions
    from rnafm_cli.tasks.atlas_points import AtlasPoints
    from rnafm_cli.tasks.atlas_trajectory import Trajectory

__all__ = ["AtlasRun", "Wishes", "check_folder", "model_name"]

CALIBRATED = 10_000
"""Points on which the calls of an atlas are calibrated, if no comparison needs the folds of all."""
NAMES = {"random": "random weights", "onehot": "one-hot", "kmer": "4-mer counts"}


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked for."""

    folder: Path
    cache: Path
    force: bool
    replace_cache: bool
    """Whether embeddings that do not fit may be replaced: those of a run, never a file of the user's own."""
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


def check_folder(folder: Path, result: str, *, force: bool) -> None:
    """Make the folder of results, and keep the results that are there unless told otherwise."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is no folder")
    if (folder / result).exists() and not force:
        raise UsageError(
            f"{folder / result}: exists", hint="--force replaces the results; embeddings that fit are kept"
        )
    folder.mkdir(parents=True, exist_ok=True)


def model_name(provenance: Mapping[str, Any]) -> str:
    """What to call the model in figures: its name, or that of its file without folder and suffix."""
    return Path(str(provenance.get("model", "embeddings"))).name.removesuffix(".safetensors")


class AtlasRun:
    """The steps of a run; what is known by then is in the attributes."""

    def __init__(self, intake: AtlasIntake, model: ModelChoice, wishes: Wishes) -> None:
        self.intake, self.model, self.wishes = intake, model, wishes
        self.summary: dict[str, Any] = {}

    def run(self) -> None:
        """Read, embed, lay out, measure, write."""
        from rnafm_cli.io.labels import read_times
        from rnafm_cli.tasks.atlas_labels import clusters_as_labels

        wishes = self.wishes
        check_folder(wishes.folder, "atlas.tsv", force=wishes.force)
        times = read_times(wishes.times) if wishes.times else None
        gathered = self.intake.gather(
            wishes.cache,
            label_by=wishes.label_by,
            table=wishes.labels,
            per_label=wishes.per_label,
            seed=wishes.layout.seed,
            replace=wishes.replace_cache,
            check=lambda ids, labels: self._check(ids, labels, times),
        )
        points = gathered.points
        layout = self._lay_out(points)
        if gathered.labels is None:
            console.info("the sequences have no labels: clusters are the labels")
        labels = gathered.labels or clusters_as_labels(layout.cluster_N)
        self._describe(points, layout, labels, gathered)
        folds = self._folds(points, labels)
        panels = self._compare(points, layout, labels, folds)
        trajectory = self._trajectory(layout, points, labels)
        structures = self._structures(points) if wishes.fold else None
        self._write(points, layout, labels, folds, trajectory)

        from rnafm_cli.cli.atlas_drawing import AtlasDrawing

        drawing = AtlasDrawing(wishes, self.caption(points, layout), points, layout, labels)
        drawing.maps()
        if panels:
            self.summary["comparison"] = drawing.comparison(panels)
        if trajectory is not None:
            self.summary["trajectory"] = drawing.trajectory(trajectory, times)
        if wishes.page:
            drawing.page(trajectory, structures)
        self._write_summary()
        console.info(f"wrote the atlas of {len(points):,} sequences to {wishes.folder}")

    def _check(self, ids: list[str], labels: list[str] | None, times: Mapping[str, float] | None) -> None:
        """Refuse what these sequences cannot give; where clusters will be the labels, their names are not known yet."""
        wishes = self.wishes
        if labels is None:
            if wishes.baselines:
                raise UsageError("--compare measures labels, and the sequences have none", hint="give --labels TSV")
            return
        from rnafm_cli.tasks.atlas_trajectory import labels_with_times, roots_named

        if wishes.root is not None:
            roots_named(wishes.root, ids, labels)
        if times is not None:
            labels_with_times(labels, times)

    def caption(self, points: AtlasPoints, layout: Layout) -> str:
        """What stands below the figures: what was drawn and how."""
        made = points.provenance
        vectors = f"{model_name(made)}, layer {made['layer']}" if "layer" in made else model_name(made)
        how = {"umap": "UMAP", "pca": "principal axes", "tsne": "t-SNE"}[layout.method]
        near = layout.neighbours.index_NK.shape[1]
        detail = "" if layout.method == "pca" else f" of {layout.pca}"
        detail += f", {near} neighbours" if layout.method == "umap" else ""
        return f"{len(points):,} RNAs; {vectors}, mean over nucleotides; {how}{detail}; seed {self.wishes.layout.seed}"

    def _lay_out(self, points: AtlasPoints) -> Layout:
        from rnafm_cli.tasks.atlas_layout import lay_out

        with console.progress(len(points), "neighbours") as bar:
            return lay_out(
                points.vectors_ND, self.wishes.layout, tell=console.info, warn=console.warn, advance=bar.advance
            )

    def _describe(self, points: AtlasPoints, layout: Layout, labels: list[str], gathered: Gathered) -> None:
        import dataclasses

        made = {key: points.provenance.get(key) for key in ("model", "weights_sha256", "layer", "pooling")}
        self.summary |= {
            "sequences": len(points),
            "labels": len(set(labels) - {""}) if gathered.labels else 0,
            "clusters": int(layout.cluster_N.max()) + 1,
            "variance_kept": round(float(layout.pca.share_K.sum()), 4),
            **made,
            "layout": dataclasses.asdict(self.wishes.layout) | {"method": layout.method},
        }

    def _folds(self, points: AtlasPoints, labels: list[str]) -> np.ndarray | None:
        """Folds without near copies between them, by which calls are calibrated and vectors compared.

        A comparison takes all points; else a sample is enough, and -1 stands for the others.
        """
        if len(set(labels) - {""}) < 2:
            return None
        if points.sequences is None:
            console.warn(
                "embeddings tell no near copies apart: --map-onto will give no confidence on this map; for that, make "
                "it from sequences"
            )
            return None
        import numpy as np

        from rnafm_cli.rna.kmers import separate_folds

        console.info("near copies among the sequences")
        seed, count = self.wishes.layout.seed, len(points)
        if self.wishes.baselines or count <= CALIBRATED:
            return separate_folds(points.sequences, seed=seed)
        rows = np.random.default_rng(seed).permutation(count)[:CALIBRATED]
        folds = np.full(count, -1, dtype=np.int64)
        folds[rows] = separate_folds([points.sequences[k] for k in rows], seed=seed)
        return folds

    def _compare(self, points: AtlasPoints, layout: Layout, labels: list[str], folds: np.ndarray | None) -> list[Panel]:
        wishes = self.wishes
        if not wishes.baselines:
            return []
        from rnafm_cli.tasks.atlas_comparison import baseline_vectors, compare_layouts
        from rnafm_cli.tasks.atlas_labels import view_labels

        sequences = points.sequences
        assert sequences is not None
        if len(set(labels) - {""}) < 2:
            console.warn("one label only: the maps are drawn without figures")
        name = model_name(points.provenance)
        kinds: dict[str, Any] = {name: lambda: points.vectors_ND}
        for kind in wishes.baselines:
            if kind == "random":
                kinds[NAMES[kind]] = lambda: self._random_vectors(points)
            else:
                kinds[NAMES[kind]] = lambda kind=kind: baseline_vectors(kind, sequences)
        views = {view: view_labels(view, points, labels) for view in dict.fromkeys(["type", *wishes.views])}
        return compare_layouts(kinds, views, wishes.layout, fold_N=folds, ready={name: layout}, tell=console.info)

    def _random_vectors(self, points: AtlasPoints) -> np.ndarray:
        """The same sequences through the same network with random weights, kept beside the embeddings."""
        from rnafm_cli.models.untrained import untrained
        from rnafm_cli.rna.records import SequenceRecord

        seed = self.wishes.layout.seed
        made = self.model.provenance
        made |= {"model": f"{made['model']} with random weights, seed {seed}", "weights_sha256": f"random {seed}"}
        records = [SequenceRecord(name, s) for name, s in zip(points.ids, points.sequences or [], strict=True)]
        cache = self.wishes.cache.with_name(f"{self.wishes.cache.stem}.random.h5")
        encoder = untrained(self.model.loaded.encoder, seed=seed).to(self.model.loaded.runtime.dtype)
        _, vectors = self.intake.embed(
            records,
            cache,
            made,
            replace=self.wishes.replace_cache,
            encoder=encoder,
            description="embedding, random weights",
        )
        return vectors

    def _trajectory(self, layout: Layout, points: AtlasPoints, labels: list[str]) -> Trajectory | None:
        wishes = self.wishes
        if wishes.root is None:
            return None
        from rnafm_cli.tasks.atlas_trajectory import find_trajectory, roots_named

        console.info(f"pseudotime from {wishes.root}")
        roots = roots_named(wishes.root, points.ids, labels)
        return find_trajectory(
            layout, wishes.root, roots, measure=wishes.measure, seed=wishes.layout.seed, warn=console.warn
        )

    def _structures(self, points: AtlasPoints) -> list[str]:
        from rnafm_cli.cli.atlas_structures import structures_of

        return structures_of(self.model, points, self.wishes.folder / "structures.dbn")

    def _write(
        self,
        points: AtlasPoints,
        layout: Layout,
        labels: list[str],
        folds: np.ndarray | None,
        trajectory: Trajectory | None,
    ) -> None:
        from rnafm_cli.io.atlas_file import write_atlas_file
        from rnafm_cli.io.atlas_tables import write_points
        from rnafm_cli.tasks.atlas_labels import view_labels
        from rnafm_cli.tasks.atlas_mapping import atlas_file_of

        folder = self.wishes.folder
        time_N = None if trajectory is None else trajectory.time_N
        write_points(
            folder / "atlas.tsv", points.ids, layout.place_N2, labels, layout.cluster_N, points.lengths_N, time_N
        )
        roles = view_labels("role", points, labels)
        write_atlas_file(folder / "atlas.h5", atlas_file_of(points, layout, labels, roles, fold_N=folds))

    def _write_summary(self) -> None:
        from rnafm_cli.io.streams import open_output

        with open_output(self.wishes.folder / "atlas.json") as sink:
            sink.write(json.dumps(self.summary, indent=1, default=str) + "\n")
