from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.errors import UsageError
from rnafm_cli.rna.bootstrap import Resampling
from rnafm_cli.rna.calibration import calibrate
from rnafm_cli.rna.metrics import Score, score_fold
from rnafm_cli.rna.pairs import Pairs, as_pairs, from_dot_bracket
from rnafm_cli.structure.figures import draw_by_length, draw_calibration, draw_scatter
from rnafm_cli.viz.canvas import write_picture
from rnafm_cli.viz.structure import STYLES, Gallery, draw
from rnafm_cli.viz.subject import Subject

SEQUENCE, PAIRS = "GGGGGAAAACCCCC", from_dot_bracket("(((((....)))))")
MAGIC = {".svg": b"<svg", ".png": b"\x89PNG", ".pdf": b"%PDF"}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("suffix", MAGIC)
def test_pictures_are_of_their_kind_and_reproducible(style: str, suffix: str, tmp_path: Path) -> None:
    canvas = draw(Subject("hairpin", SEQUENCE, PAIRS, np.full((14, 14), 0.4)), style)
    files = [tmp_path / f"{k}{suffix}" for k in (1, 2)]
    for file in files:
        write_picture(canvas, file)
    assert files[0].read_bytes().startswith(MAGIC[suffix])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == files


def test_a_png_shows_the_bases(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    write_picture(draw(Subject("hairpin", SEQUENCE, PAIRS), "radial"), tmp_path / "x.png")
    pixels = image.imread(tmp_path / "x.png")[..., :3]
    for colour in ("#f0a987", "#9fcdf0", "#f7c46c"):
        wanted = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        assert (np.abs(pixels - wanted).max(axis=2) < 0.02).sum() > 200


def test_a_gallery_gives_every_rna_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"y.jpg.*\.svg, \.png, \.pdf"):
        Gallery(tmp_path / "y.jpg")
    gallery = Gallery(tmp_path / "figures")
    names = [gallery.add(Subject(name, SEQUENCE, PAIRS)).name for name in ("a/b", "a b", "A_B", "c")]
    assert names == ["a_b.svg", "a_b_2.svg", "A_B_3.svg", "c.svg"]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == sorted(names)


def test_a_single_picture_holds_one_rna(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "one.svg", style="radial")
    assert gallery.add(Subject("a", SEQUENCE, PAIRS)) == tmp_path / "one.svg"
    with pytest.raises(UsageError, match="holds one picture and there are more RNAs; name a folder"):
        gallery.add(Subject("b", SEQUENCE, PAIRS))


def test_bad_targets_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(UsageError, match="x.txt: is not a folder"):
        Gallery(tmp_path / "x.txt")
    with pytest.raises(UsageError, match="is not a picture"):
        write_picture(draw(Subject("a", SEQUENCE, PAIRS), "arc"), tmp_path / "x.bmp")


def shifted(pairs: Pairs, keep: int) -> Pairs:
    return as_pairs(pairs[:keep])


@pytest.fixture
def scores() -> dict[str, list[Score]]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(30, 600, 130)
    return {
        name: [score_fold(PAIRS, shifted(PAIRS, int(k)), length=int(n)) for n, k in zip(lengths, keep, strict=True)]
        for name, keep in (("ours", rng.integers(2, 6, 130)), ("theirs", rng.integers(0, 6, 130)))
    }


def test_figures_of_scores_are_reproducible_svg(scores: dict[str, list[Score]], tmp_path: Path) -> None:
    rnas = [(np.random.default_rng(seed).random((14, 14)), PAIRS) for seed in range(3)]
    calibration = calibrate(rnas, Resampling(resamples=100))
    for k in (1, 2):
        draw_scatter(scores, "f1", tmp_path / f"scatter{k}.svg")
        draw_by_length(scores, "f1", tmp_path / f"length{k}.svg")
        draw_calibration(calibration, tmp_path / f"calibration{k}.svg")
    for name in ("scatter", "length", "calibration"):
        text = (tmp_path / f"{name}1.svg").read_text()
        assert text == (tmp_path / f"{name}2.svg").read_text()
        assert "<dc:date>" not in text
    better = sum(a["f1"] > b["f1"] for a, b in zip(*scores.values(), strict=True))
    assert f"ours better: {better}" in (tmp_path / "scatter1.svg").read_text()
    assert "theirs (mean" in (tmp_path / "length1.svg").read_text()


def test_one_record_is_enough_for_figures(tmp_path: Path) -> None:
    scores = {"ours": [score_fold(PAIRS, PAIRS, length=73)]}
    draw_by_length(scores, "f1", tmp_path / "one.svg")
    assert "ours (mean 1.000)" in (tmp_path / "one.svg").read_text()
