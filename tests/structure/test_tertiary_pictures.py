"""Heat maps and figures of scores: nothing that is told lies outside the picture or on the points."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.made_chains import made_chains

from rnafm_cli.rna.metrics import Score
from rnafm_cli.structure.figures import draw_by_length, draw_map, draw_scatter


def scores(values: list[float], metric: str) -> list[Score]:
    return [
        Score(f"c{k}", 40 + 5 * k, {metric: value}, {"pairs": 100, "contacts": 5}) for k, value in enumerate(values)
    ]


@pytest.mark.parametrize("length", [9, 124, 620])
def test_numbers_at_the_axes_keep_off_the_edge(tmp_path: Path, length: int) -> None:
    map_LL = np.full((length, length), 0.5)
    draw_map("a", "contact", map_LL, tmp_path / "a.png")
    draw_map("a", "distance", 20 * map_LL, tmp_path / "b.png")
    from matplotlib.image import imread

    for name in ("a.png", "b.png"):
        ink = imread(tmp_path / name)[..., :3].min(axis=2) < 0.9
        columns, rows = np.flatnonzero(ink.any(axis=0)), np.flatnonzero(ink.any(axis=1))
        assert columns[0] >= 10 and columns[-1] < ink.shape[1] - 10
        assert rows[0] >= 10 and rows[-1] < ink.shape[0] - 10


def test_what_is_known_lies_below_the_diagonal(tmp_path: Path) -> None:
    chain = made_chains(1)[0]
    draw_map(chain.id, "contact", np.zeros((len(chain), len(chain))), tmp_path / "a.svg", truth=chain)
    text = (tmp_path / "a.svg").read_text()
    assert "above: predicted, below: known" in text
    draw_map(chain.id, "contact", np.zeros((len(chain), len(chain))), tmp_path / "b.svg", truth=chain)
    assert (tmp_path / "b.svg").read_text() == text


def test_axes_of_maps_are_labelled_and_every_tenth_base_numbered(tmp_path: Path) -> None:
    for task, words in (("contact", "probability of a contact"), ("distance", "distance of the nearest atoms")):
        draw_map("a", task, np.zeros((76, 76)), tmp_path / f"{task}.svg")
        text = (tmp_path / f"{task}.svg").read_text()
        assert words in text and text.count(">base</text>") == 2
        assert all(f">{position}</text>" in text for position in range(10, 80, 10))


def test_chain_by_chain(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = (rng.random(20) * scale for scale in (0.01, 0.03))
    draw_scatter({"ours": scores([*ours], "mse"), "theirs": scores([*theirs], "mse")}, "mse", tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    better = int((ours < theirs).sum())
    assert f"ours better: {better}" in text
    assert f"theirs better: {20 - better}" in text
    assert "20 RNAs, mean difference" in text
    # Three digits that count, however small the scores are.
    low, high = map(float, re.search(r"\[([-+.\de]+), ([-+.\de]+)\]", text.replace("−", "-")).groups())  # type: ignore[union-attr]
    assert low < float((ours - theirs).mean()) < high


def test_few_chains_get_no_interval(tmp_path: Path) -> None:
    one = {"ours": scores([0.5], "pmcc"), "theirs": scores([0.25], "pmcc")}
    draw_scatter(one, "pmcc", tmp_path / "a.svg")
    assert "1 RNA, mean difference +0.25<" in (tmp_path / "a.svg").read_text()
    draw_by_length(one, "pmcc", tmp_path / "b.svg")
    assert "ours (mean 0.500)" in (tmp_path / "b.svg").read_text()


def test_scores_that_are_undefined_draw_nothing(tmp_path: Path) -> None:
    none = {"ours": scores([float("nan")], "r2"), "theirs": scores([0.25], "r2")}
    draw_scatter(none, "r2", tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()
