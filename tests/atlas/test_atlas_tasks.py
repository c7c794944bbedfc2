"""From vectors to maps, figures, paths and calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score
from support.points import blobs, branching

from rnafm_cli.atlas.comparison import measured
from rnafm_cli.atlas.layout import lay_out
from rnafm_cli.atlas.placement import (
    atlas_file_of,
    check_vectors,
    find_atlas,
    map_onto,
    write_atlas_file,
)
from rnafm_cli.atlas.points import (
    AtlasPoints,
    embedded_points,
    is_embeddings,
    labels_of,
    pooled_vectors,
    view_labels,
)
from rnafm_cli.atlas.trajectory import associate, find_trajectory, labels_with_times, mean_times, roots_named
from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.embed import embed
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.encoder.vectors import chosen_per_label
from rnafm_cli.errors import InputError, RnafmWarning, UsageError, WeightsError
from rnafm_cli.io.embeddings import EmbeddingWriter
from rnafm_cli.rna.records import SequenceRecord

PLAIN: dict[str, Any] = {"method": "pca", "components": 10, "neighbours": 10}
TYPES = [name for name in ("tRNA", "snRNA", "miRNA", "lncRNA") for _ in range(30)]


def points_from(vectors: np.ndarray, labels: list[str] | None = None) -> AtlasPoints:
    names = labels or [""] * len(vectors)
    return AtlasPoints(
        [SequenceRecord(f"r{k}", "") for k in range(len(vectors))],
        vectors,
        np.full(len(vectors), 100),
        [{"type": name} if name else {} for name in names],
        {"model": "made up", "weights_sha256": "0" * 64, "layer": 2, "pooling": "mean"},
    )


class Heard(list[str]):
    def __call__(self, message: str) -> None:
        self.append(message)


def told(heard: pytest.WarningsRecorder) -> list[str]:
    """What the user would be warned of."""
    return [str(one.message) for one in heard if issubclass(one.category, RnafmWarning)]


# Points


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(ENCODER_PRESETS["rnafm-tiny"]).eval()


def records(count: int = 12) -> list[SequenceRecord]:
    rng = np.random.default_rng(0)
    return [SequenceRecord(f"s{k}", "".join(rng.choice(list("ACGU"), 20 + 3 * k))) for k in range(count)]


def test_vectors_are_kept_and_only_new_ones_computed(encoder: Encoder, tmp_path: Path) -> None:
    runtime, cache = Runtime.create("cpu"), tmp_path / "e.h5"
    made = {"model": "tiny", "weights_sha256": "1", "dim": 32}
    first = records()
    counted = Heard()

    def vectors(some: list[SequenceRecord], provenance: dict[str, Any] = made, **more: bool) -> np.ndarray:
        kept, found = pooled_vectors(
            some, encoder, runtime, cache=cache, provenance=provenance, advance=lambda: counted(""), **more
        )
        assert kept.tolist() == list(range(len(some)))
        return found

    whole = vectors(first[:8])
    size = cache.stat().st_mtime_ns
    assert np.array_equal(vectors(first[:8]), whole)
    assert cache.stat().st_mtime_ns == size and len(counted) == 16
    grown = vectors(first[::-1])
    direct = {r.id: v for r, v in embed(first, encoder, runtime, pool="mean")}
    for record, vector in zip(first[::-1], grown, strict=True):
        assert vector == pytest.approx(direct[record.id], abs=1e-5)
    other = {**made, "weights_sha256": "2"}
    with pytest.raises(UsageError, match="weights_sha256"):
        vectors(first, other)
    assert vectors(first, other, replace=True).shape == (12, 32)


def test_an_interrupted_embedding_is_continued(encoder: Encoder, tmp_path: Path) -> None:
    runtime, cache = Runtime.create("cpu"), tmp_path / "e.h5"
    done = 0

    def stop_after_five() -> None:
        nonlocal done
        done += 1
        if done == 5:
            raise KeyboardInterrupt

    def go(advance: Callable[[], None]) -> np.ndarray:
        made = {"model": "tiny", "dim": 32}
        return pooled_vectors(records(), encoder, runtime, cache=cache, provenance=made, advance=advance)[1]

    with pytest.raises(KeyboardInterrupt):
        go(stop_after_five)
    assert not cache.exists() and cache.with_name("e.h5.tmp").exists()
    found = go(lambda: None)
    assert cache.exists() and found.shape == (12, 32)
    direct = [vector for _, vector in embed(records(), encoder, runtime, pool="mean")]
    assert found == pytest.approx(np.stack(direct), abs=1e-5)


def write(path: Path, arrays: dict[str, np.ndarray], layout: str = "per-record", **made: str) -> Path:
    with EmbeddingWriter(path, provenance={**made, "dim": 4}, layout=layout) as writer:  # type: ignore[arg-type]
        for name, array in arrays.items():
            writer.add(SequenceRecord(name, "ACGU" * 5, "type=tRNA"), array)
    return path


def test_rows_of_nucleotides_are_averaged(tmp_path: Path) -> None:
    rows = np.arange(40, dtype=np.float32).reshape(10, 4)
    path = write(tmp_path / "a.h5", {"x": rows, "y": rows + 1}, model="m", pooling="none")
    found = embedded_points([path])
    assert found.vectors_ND == pytest.approx(np.stack([rows.mean(0), rows.mean(0) + 1]))
    assert found.ids == ["x", "y"] and found.lengths_N.tolist() == [20, 20]
    assert found.attributes[0] == {"type": "tRNA"} and found.sequences is None
    assert is_embeddings(path) and not is_embeddings(tmp_path / "missing")
    more = write(tmp_path / "b.h5", {"z": rows[0]}, "matrix", model="m", pooling="mean")
    assert embedded_points([path, more]).ids == ["x", "y", "z"]


def test_mixed_models_are_refused(tmp_path: Path) -> None:
    vector = np.zeros(4, dtype=np.float32)
    one = write(tmp_path / "a.h5", {"x": vector}, model="m", weights_sha256="a")
    two = write(tmp_path / "b.h5", {"y": vector}, model="m", weights_sha256="b")
    with pytest.raises(InputError, match="weights_sha256 b, .*a.h5 with a"):
        embedded_points([one, two])
    wide = tmp_path / "wide.h5"
    with h5py.File(wide, "w") as file:
        file["x"], file["y"] = vector, np.zeros(5)
    with pytest.raises(InputError, match="'y' comes from another model"):
        embedded_points([wide])


def test_bad_vectors_stop_the_run_or_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["good"], file["worse"], file["worst"] = np.ones(3), np.asarray([1, np.nan, 1]), np.zeros((0, 3))
    with pytest.raises(InputError, match="'worse' holds NaN"):
        embedded_points([path])
    errors: list[InputError] = []
    assert embedded_points([path], reject=errors.append).ids == ["good"]
    assert len(errors) == 2
    with pytest.raises(InputError, match="'good' appears twice"):
        embedded_points([path, path], reject=errors.append)


# Labels


def test_labels_come_from_headers_or_a_table() -> None:
    points, heard = points_from(blobs(), TYPES), Heard()
    assert labels_of(points, None) == TYPES
    table = {"r0": {"kind": "x"}, "r1": {"kind": "y"}}
    assert labels_of(points, None, table=table, tell=heard)[:3] == ["x", "y", ""]  # type: ignore[index]
    assert "2 of 120" in heard[0] and "grey" in heard[1]
    assert labels_of(points_from(blobs()), None) is None
    with pytest.raises(InputError, match="'family'.*") as refused:
        labels_of(points, "family")
    assert "type" in str(refused.value)
    with pytest.raises(InputError, match="names none of the sequences"):
        labels_of(points, None, table={"z": {"kind": "x"}})


def test_views_of_the_same_points() -> None:
    points = points_from(blobs(), TYPES)
    points.lengths_N[:3] = (0, 199, 200)
    assert view_labels("role", points, TYPES)[::30] == ["housekeeping", "housekeeping", "regulatory", "regulatory"]
    short, long = view_labels("length", points, TYPES)[1:3]
    assert view_labels("length", points, TYPES)[0] == "" and short.startswith("short") and long.startswith("long")
    points.attributes[0]["role"] = "mine"
    assert view_labels("role", points, TYPES)[0] == "mine"
    rows = chosen_per_label(TYPES, 5, seed=1)
    assert len(rows) == 20 and (np.diff(rows) > 0).all()
    assert np.array_equal(rows, chosen_per_label(TYPES, 5, seed=1))


# AtlasLayout and comparison


def test_a_layout_is_reproducible_and_shows_groups() -> None:
    vectors = blobs(apart=9.0)
    one, two = lay_out(vectors, **PLAIN), lay_out(vectors, **PLAIN)
    assert np.array_equal(one.place_N2, two.place_N2)
    assert np.array_equal(one.cluster_N, two.cluster_N)
    assert adjusted_rand_score(one.cluster_N, np.repeat(np.arange(4), 30)) > 0.9
    assert one.curve is None and one.reduced_NK.shape == (120, 10)


def test_whitened_layouts_see_groups_in_weak_directions(recwarn: pytest.WarningsRecorder) -> None:
    loud = np.random.default_rng(1).normal(size=(120, 2)).astype(np.float32) * 100
    vectors = np.concatenate([blobs(apart=9.0), loud], axis=1)
    eight = {**PLAIN, "components": 8}
    plain, white = (lay_out(vectors, **eight, whiten=whiten) for whiten in (False, True))
    truth = np.repeat(np.arange(4), 30)
    assert adjusted_rand_score(white.cluster_N, truth) > 0.9 > 0.2 > adjusted_rand_score(plain.cluster_N, truth)
    assert not told(recwarn)
    assert np.linalg.norm(white.reduced_NK, axis=1) == pytest.approx(1)


def test_few_points_are_whitened_along_few_axes(recwarn: pytest.WarningsRecorder) -> None:
    found = lay_out(blobs(groups=2, members=20), **PLAIN, whiten=True)
    assert found.reduced_NK.shape == (40, 4) and told(recwarn) == [
        "40 sequences are too few to whiten 10 axes: 4 are kept"
    ]


def test_few_sequences_get_what_is_possible(recwarn: pytest.WarningsRecorder) -> None:
    found = lay_out(blobs(groups=1, members=5))
    assert found.method == "pca" and found.neighbours.index_NK.shape == (5, 4)
    few, used = told(recwarn)
    assert "too few for a umap map" in few and "4 are used" in used
    with pytest.raises(InputError, match="2 sequences make no map"):
        lay_out(blobs(groups=1, members=2))
    same = lay_out(np.ones((10, 4), dtype=np.float32), **PLAIN)
    assert np.isfinite(same.place_N2).all()


@pytest.mark.slow
def test_umap_and_tsne_keep_groups_together() -> None:
    vectors, truth = blobs(apart=9.0), np.repeat(np.arange(4), 30)
    for method in ("umap", "tsne"):
        one, two = (lay_out(vectors, **{**PLAIN, "method": method}, seed=3) for _ in range(2))
        assert np.array_equal(one.place_N2, two.place_N2)
        centre = np.stack([np.median(one.place_N2[truth == k], axis=0) for k in range(4)])
        nearest = np.linalg.norm(one.place_N2[:, None] - centre, axis=2).argmin(axis=1)
        assert (nearest == truth).mean() > 0.95
        assert (one.curve is not None) == (method == "umap")


def test_better_vectors_have_better_figures() -> None:
    rng = np.random.default_rng(0)
    good, noise = blobs(apart=9.0), rng.normal(size=(120, 12)).astype(np.float32)
    folds = rng.integers(0, 5, size=120)
    views = {"type": TYPES, "length": ["short"] * 120}
    best, worst = (
        measured("x", vectors, lay_out(vectors, **PLAIN), views, fold_N=folds).separations for vectors in (good, noise)
    )
    assert [found.view for found in best] == ["type"], "a single label has no figures"
    for name in ("accuracy", "purity", "silhouette", "adjusted_rand"):
        assert getattr(best[0], name) > getattr(worst[0], name) + 0.2
    half = measured("x", good, lay_out(good, **PLAIN), {"type": TYPES[:60] + [""] * 60}).separations[0]
    assert half.points == 60 and half.labels == 2 and np.isnan(half.accuracy)


# Trajectory


def test_a_path_from_a_label_or_an_id() -> None:
    tree = branching(count=400)
    layout = lay_out(tree.points, method="pca", components=10)
    stage = [f"stage {int(t // 4)}" for t in tree.time]
    ids = [f"r{k}" for k in range(400)]
    for root in ("stage 0", ids[int(tree.time.argmin())]):
        found = find_trajectory(layout, root, roots_named(root, ids, stage))
        assert spearmanr(found.time_N, tree.time).statistic >= 0.9
        ends = {int(np.bincount(tree.branch[layout.cluster_N == k]).argmax()) for k in found.terminal_T}
        assert ends == {1, 2, 3}
    means = mean_times(found.time_N, stage)
    assert list(means) == [f"stage {k}" for k in range(5)]
    link = associate(np.asarray([mean for mean, _ in means.values()]), np.arange(5))
    assert link.spearman == pytest.approx(1) and link.p_value == pytest.approx(2 / 120)
    assert labels_with_times(means, {f"stage {k}": k for k in range(5)} | {"other": 9}) == list(means)
    with pytest.raises(InputError, match="2 labels"):
        labels_with_times(means, {"stage 0": 1, "stage 1": 2})


def test_roots_that_do_not_exist_or_lead_nowhere(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(UsageError, match="is neither a label nor an id") as refused:
        roots_named("x", ["a", "b"], ["tRNA", ""])
    assert "tRNA" in str(refused.value)
    points = np.concatenate([blobs(groups=1, members=4), blobs(groups=1, members=40) + 500])
    layout = lay_out(points, method="pca", neighbours=3)
    with pytest.raises(InputError, match="can be reached from the root r0"):
        find_trajectory(layout, "r0", np.asarray([0]))
    found = find_trajectory(layout, "r9", np.asarray([9]))
    assert np.isnan(found.time_N[:4]).all() and "have no path to the root" in told(recwarn)[-1]


# Mapping

FOLDS = np.arange(120) % 5


@pytest.mark.parametrize("whiten", [False, True])
def test_new_sequences_find_their_type(tmp_path: Path, whiten: bool) -> None:
    vectors = blobs(apart=8.0)
    points, layout = points_from(vectors, TYPES), lay_out(vectors, **PLAIN, whiten=whiten)
    made = atlas_file_of(points, layout, TYPES, fold_N=FOLDS)
    write_atlas_file(tmp_path / "atlas.h5", made)
    atlas = find_atlas(str(tmp_path))
    assert find_atlas(str(tmp_path / "atlas.h5")).ids == atlas.ids == points.ids
    fresh = vectors + np.random.default_rng(5).normal(size=vectors.shape).astype(np.float32) * 0.3
    calls = map_onto(atlas, fresh)
    right = np.asarray([call.label == truth for call, truth in zip(calls, TYPES, strict=True)])
    assert right.mean() > 0.95
    assert calls[0].neighbours[0][0] == "r0" and calls[0].neighbours[0][2] < calls[0].neighbours[-1][2]
    assert all(0 < call.confidence < 1 for call in calls)
    assert np.mean([call.confidence for call in calls]) > 0.8
    # The limits of a whitened map are two, each exceeded by one in a hundred of its own points.
    assert np.mean([call.far for call in calls]) <= (0.1 if whiten else 0.0)
    away = map_onto(atlas, np.full((1, 12), 60, dtype=np.float32))
    assert away[0].far
    assert np.asarray([(call.x, call.y) for call in map_onto(atlas, vectors)]) == pytest.approx(
        layout.place_N2, abs=1e-3
    )


def test_confidence_is_low_where_labels_say_nothing() -> None:
    rng = np.random.default_rng(0)
    vectors = blobs(apart=8.0)
    shuffled = [str(name) for name in rng.permutation(TYPES)]
    points, layout = points_from(vectors, shuffled), lay_out(vectors, **PLAIN)
    calls = map_onto(atlas_file_of(points, layout, shuffled, fold_N=FOLDS), vectors[::3] + 0.1)
    assert np.mean([call.confidence for call in calls]) < 0.5


def test_without_folds_there_is_no_confidence_and_nothing_is_far() -> None:
    vectors = blobs(apart=8.0)
    points, layout = points_from(vectors, TYPES), lay_out(vectors, **PLAIN)
    calls = map_onto(atlas_file_of(points, layout, TYPES), np.concatenate([vectors, vectors + 90]))
    assert np.isnan([call.confidence for call in calls]).all() and not any(call.far for call in calls)
    assert [call.label for call in calls[:120]] == TYPES


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    points = points_from(blobs(), TYPES)
    atlas = atlas_file_of(points, lay_out(points.vectors_ND, **PLAIN), TYPES)
    check_vectors(atlas, points.provenance, 12)
    check_vectors(atlas, {}, 12)
    others = {"weights_sha256": "1" * 64}, {**points.provenance, "layer": 1}, {**points.provenance, "pooling": "max"}
    for made, width in (*((other, 12) for other in others), ({}, 13)):
        with pytest.raises(WeightsError, match="the atlas was made with made up"):
            check_vectors(atlas, made, width)
    nameless = atlas_file_of(points, lay_out(points.vectors_ND, **PLAIN), [""] * 120)
    with pytest.raises(InputError, match="no labels"):
        map_onto(nameless, points.vectors_ND)
    with pytest.raises(InputError, match="no such file"):
        find_atlas(str(tmp_path / "missing.h5"))
    write_atlas_file(tmp_path / "x.h5", atlas)
    assert find_atlas(str(tmp_path / "x.h5")).settings["model"] == "made up"


def test_a_missing_reference_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnafm_cli.atlas import placement as atlas_mapping

    monkeypatch.setattr(atlas_mapping, "REFERENCE_FILE", "no-such-atlas.h5")
    with pytest.raises(WeightsError, match="is not on this machine"):
        find_atlas("reference", weights_dir=tmp_path)
