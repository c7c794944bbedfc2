from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnafm_cli.atlas.comparison import Panel, Separation
from rnafm_cli.atlas.figures import (
    GROUP_COLOURS,
    closed_up,
    draw_groups,
    draw_mapped,
    draw_panels,
    group_points,
    map_box,
    name_boxes,
    scale_colours,
    scale_limits,
    spread_names,
)
from rnafm_cli.atlas.layout import lay_out


def crowd(count: int = 600, groups: int = 12) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    group = rng.integers(0, groups, size=count)
    centre = rng.uniform(-10, 10, size=(groups, 2))
    return (centre[group] + rng.normal(size=(count, 2))).astype(np.float32), [f"kind_{k}" for k in group]


def test_groups_have_colours_apart_and_names_where_they_are_dense() -> None:
    place, labels = crowd(3000, 20)
    labels[:5] = [""] * 5
    groups = group_points(place, labels)
    assert groups.sizes == sorted(groups.sizes, reverse=True) and sum(groups.sizes) == 2995
    assert (groups.index_N[:5] == -1).all()
    assert len(set(groups.colours[: len(GROUP_COLOURS)])) == len(GROUP_COLOURS)
    for k, name in enumerate(groups.names):
        members = place[np.asarray(labels) == name]
        assert np.linalg.norm(groups.anchors_L2[k] - np.median(members, axis=0)) < 1.5
    same = [
        np.linalg.norm(groups.anchors_L2[a] - groups.anchors_L2[b])
        for a in range(20)
        for b in range(a)
        if groups.colours[a] == groups.colours[b]
    ]
    assert min(same) > 1.0


def test_names_move_apart_and_stay_inside() -> None:
    rng = np.random.default_rng(1)
    anchors = rng.uniform(100, 300, size=(30, 2))
    boxes = name_boxes([f"some RNA {k}" for k in range(30)], 7.0)
    place = spread_names(anchors, boxes, (450.0, 430.0))
    for a in range(30):
        for b in range(a):
            assert (np.abs(place[a] - place[b]) >= (boxes[a] + boxes[b]) / 2 - 0.5).any()
    assert (place - boxes / 2 >= -1e-6).all() and (place + boxes / 2 <= np.asarray([450, 430]) + 1e-6).all()
    far_apart = np.asarray([(50.0, 50.0), (300.0, 300.0)])
    assert spread_names(far_apart, boxes[:2], (450.0, 430.0)) == pytest.approx(far_apart)


@pytest.mark.parametrize("count", [300, 5000])
def test_maps_are_pictures_with_words(tmp_path: Path, count: int) -> None:
    place, labels = crowd(count)
    for stem in ("a", "b"):
        draw_groups(place, labels, tmp_path / stem, title="A map", caption="how it was made")
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    svg = (tmp_path / "a.svg").read_text()
    for word in ("A map", "how it was made", *{label.replace("_", " ") for label in labels}):
        assert f">{word}</text>" in svg
    # Few points are shapes; many are one picture, so that the file stays small.
    assert ("<image" in svg) == (count == 5000)
    assert len(svg) < 1_500_000


def test_a_point_far_from_forty_thousand_can_be_seen(tmp_path: Path) -> None:
    place = np.concatenate([np.random.default_rng(0).normal(size=(39_999, 2)), [(9, 9)]])
    draw_groups(place, [""] * 40_000, tmp_path / "a")
    with Image.open(tmp_path / "a.png") as opened:
        shade = np.asarray(opened.convert("L"))
    corner = shade[: shade.shape[0] // 4, -shade.shape[1] // 4 :]
    assert corner.min() < 235
    # The crowd is graded by density instead of one blot.
    assert len(np.unique(shade)) > 20


def test_panels_stand_side_by_side(tmp_path: Path) -> None:
    place, labels = crowd()
    layouts = [lay_out(place[::-1] * k, method="pca", components=2) for k in (1, 2, 3)]
    found = Separation("type", 12, 600, 0.25, 0.5, 0.1, 0.2)
    panels = [Panel(name, layout, [found]) for name, layout in zip(("one", "two", "three"), layouts, strict=True)]
    draw_panels(panels, labels, tmp_path / "p", caption="figures")
    svg = (tmp_path / "p.svg").read_text()
    assert all(
        f">{word}</text>" in svg
        for word in ("one", "two", "three", "type: kNN 0.250, purity 0.500, silhouette +0.100, ARI 0.200", "figures")
    )
    colours = re.findall(r"fill: (#[0-9a-f]{6})", svg)
    assert set(GROUP_COLOURS) <= set(colours)


def test_new_sequences_are_named_over_the_map(tmp_path: Path) -> None:
    place, labels = crowd()
    draw_mapped(place, labels, place[:3] + 0.2, ["mine", "yours", "theirs"], tmp_path / "m", title="T")
    svg = (tmp_path / "m.svg").read_text()
    assert all(f">{name}</text>" in svg for name in ("mine", "yours", "theirs"))
    for count in (40, 90):
        draw_mapped(place, labels, place[:count], [f"n{k}" for k in range(count)], tmp_path / "many")
        svg = (tmp_path / "many.svg").read_text()
        assert all((f">n{k}</text>" in svg) == (count == 40) for k in range(count))


def test_largest_groups_are_named_first() -> None:
    place, _ = crowd(40)
    groups = group_points(place, ["aRNA", "tRNA", "rRNA", "bRNA"] * 10, {"tRNA": 900, "rRNA": 700, "aRNA": 12})
    assert groups.names == ["tRNA", "rRNA", "aRNA", "bRNA"]


def test_outliers_squeeze_neither_map_nor_colours() -> None:
    place, _ = crowd(300)
    far = np.concatenate([place, [(500, -400)], place[:20] * 0.1 + (-300, 0)])
    left, right, bottom, top = map_box(closed_up(far))
    inside = map_box(place)
    assert right - left < 1.6 * (inside[1] - inside[0]) and top - bottom < 1.6 * (inside[3] - inside[2])
    for axis in (0, 1):
        assert (np.diff(closed_up(far)[np.argsort(far[:, axis]), axis]) >= 0).all()
    crowded = np.random.default_rng(0).normal(size=(300, 2))
    assert closed_up(crowded) == pytest.approx(crowded, abs=0.5)
    time = np.append(np.linspace(0, 0.1, 50), [1.0, np.nan])
    colour = scale_colours(time)[0]
    assert np.linalg.norm(colour[0] - colour[49]) > 0.8
    islands = scale_colours(np.append(np.linspace(0, 0.1, 95), np.linspace(0.9, 1.0, 5)))[0]
    assert np.linalg.norm(islands[0] - islands[94]) > 0.8
    assert scale_limits(np.asarray([2.0, 1.0])) == (1.0, 2.0) and scale_limits(np.zeros(0)) == (0.0, 1.0)
