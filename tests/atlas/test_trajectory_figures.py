from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from support.points import branching

from rnafm_cli.atlas.figures import draw_cluster_graph, draw_stream
from rnafm_cli.atlas.layout import lay_out
from rnafm_cli.atlas.trajectory import find_trajectory


def test_a_path_is_drawn_in_two_ways(tmp_path: Path) -> None:
    tree = branching(count=250)
    layout = lay_out(tree.points, method="pca", components=10)
    found = find_trajectory(layout, "r", np.asarray([int(tree.time.argmin())]))
    time = found.time_N
    time[5] = np.nan
    names = [f"{k + 1} here" for k in range(len(found.time_C))]
    place, cluster = layout.place_N2, layout.cluster_N
    draw_stream(place, found, cluster, names, tmp_path / "stream", title="Path", caption="words")
    svg = (tmp_path / "stream.svg").read_text()
    assert ">root</text>" in svg and ">pseudotime</text>" in svg
    assert len(found.terminal_T) == 3 and all(f">{names[k]}</text>" in svg for k in found.terminal_T)
    draw_cluster_graph(place, found, cluster, names, tmp_path / "graph")
    assert all(f">{name}</text>" in (tmp_path / "graph.svg").read_text() for name in names)
    grey = "fill: #c3c7ce"
    assert grey not in (tmp_path / "graph.svg").read_text()
    apart = replace(found, time_C=np.where(np.arange(len(names)) == 1, np.nan, found.time_C))
    draw_cluster_graph(place, apart, cluster, names, tmp_path / "apart")
    assert grey in (tmp_path / "apart.svg").read_text(), "a cluster out of reach has no time"
    again = tmp_path / "again"
    draw_stream(place, found, cluster, names, again, title="Path", caption="words")
    assert again.with_suffix(".svg").read_text() == svg


def test_flat_values_do_no_harm(tmp_path: Path) -> None:
    layout = lay_out(np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32), method="pca")
    found = find_trajectory(layout, "r", np.asarray([0]))
    flat = replace(found, time_N=np.zeros(30), terminal_T=np.zeros(0, dtype=int))
    draw_stream(layout.place_N2, flat, layout.cluster_N, [], tmp_path / "flat")
    assert (tmp_path / "flat.png").stat().st_size > 1000
