from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.rna.pairs import Pairs, as_pairs, from_dot_bracket, no_pairs
from rnafm_cli.viz.palette import LAYER_COLOURS
from rnafm_cli.viz.structure import STYLES, Style, draw, draw_structure
from rnafm_cli.viz.subject import Subject

SVG = "{http://www.w3.org/2000/svg}"
TRNA = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA"
CLOVER = from_dot_bracket("(((((((..((((........)))).((((.........)))).....(((((.......))))))))))))....")
KNOT = "GGCGCGGCACCGUCCGCGGAACAAACGG"
KNOT_PAIRS = from_dot_bracket("..(((((..[[[[.)))))....]]]].")


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def titles(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}title")]


def probabilities(length: int) -> np.ndarray:
    upper = np.triu(np.random.default_rng(0).random((length, length)) ** 8, 1)
    return (upper + upper.T).astype(np.float32)


@pytest.mark.parametrize("style", STYLES)
def test_the_sequence_can_be_read_from_the_drawing(style: str) -> None:
    svg = draw_structure("tRNA", TRNA, CLOVER, style=style)
    letters = "".join(text for text in texts(svg) if text in set("ACGU"))
    assert TRNA in letters if style != "dots" else sorted(set(letters)) == list("ACGU")
    assert "tRNA (76 nt, 20 base pairs)" in texts(svg)
    assert "10" in texts(svg)


@pytest.mark.parametrize("style", ["arc", "radial"])
def test_every_pair_is_drawn_once_with_its_probability(style: str) -> None:
    probs_LL = probabilities(len(KNOT))
    svg = draw_structure("knot", KNOT, KNOT_PAIRS, probs_LL, style=style)
    expected = {f"{KNOT[i]}{i + 1}-{KNOT[j]}{j + 1}, p = {probs_LL[i, j]:.2f}" for i, j in KNOT_PAIRS.tolist()}
    found = [title for title in titles(svg) if ", p = " in title]
    assert len(found) == len(KNOT_PAIRS)
    assert set(found) == expected


@pytest.mark.parametrize("style", STYLES)
def test_crossing_pairs_have_a_colour_of_their_own(style: str) -> None:
    assert LAYER_COLOURS[1] in draw_structure("knot", KNOT, KNOT_PAIRS, style=style)
    assert LAYER_COLOURS[1] not in draw_structure("tRNA", TRNA, CLOVER, style=style)


@pytest.mark.parametrize("style", STYLES)
def test_equal_input_gives_equal_bytes(style: str) -> None:
    probs_LL = probabilities(len(TRNA))
    first = draw_structure("tRNA", TRNA, CLOVER, probs_LL, style=style)
    assert first == draw_structure("tRNA", TRNA, CLOVER.copy(), probs_LL.copy(), style=style)


@pytest.mark.parametrize("style", STYLES)
def test_long_rnas_lose_their_letters_and_keep_round_numbers(style: str) -> None:
    length = 2000
    sequence = "".join("ACGU"[k] for k in np.random.default_rng(0).integers(0, 4, length))
    pairs = as_pairs([(start + k, start + 40 - k) for start in range(0, length - 50, 50) for k in range(12)])
    svg = draw_structure("long", sequence, pairs, style=style)
    letters = [text for text in texts(svg) if text in ("A", "C", "G", "U")]
    numbers = [text for text in texts(svg) if text.isdigit()]
    assert len(letters) <= 4
    assert "1000" in numbers
    assert len(numbers) < 200
    assert len(svg) < 600_000


def test_opacity_follows_confidence() -> None:
    probs_LL = np.zeros((14, 14), dtype=np.float32)
    pairs = as_pairs([(0, 13), (1, 12)])
    probs_LL[0, 13], probs_LL[1, 12] = 1.0, 0.2
    svg = draw_structure("hairpin", "GGGGGAAAACCCCC", pairs, probs_LL)
    sure = re.search(r"<path [^>]*><title>G1-C14", svg)
    unsure = re.search(r'<path [^>]*opacity="([\d.]+)"[^>]*><title>G2-C13', svg)
    assert sure is not None and "opacity" not in sure.group(0)
    assert unsure is not None and float(unsure.group(1)) < 0.6


def test_the_dot_plot_shows_probabilities_above_and_pairs_below_the_diagonal() -> None:
    probs_LL = np.zeros((20, 20), dtype=np.float32)
    probs_LL[2, 15] = probs_LL[15, 2] = 1.0
    svg = draw_structure("dots", "A" * 20, as_pairs([(2, 15)]), probs_LL, style="dots")
    boxes = re.findall(r'<path d="M([\d.]+),([\d.]+)h([\d.]+)v[\d.]+h-[\d.]+z" fill="(#\w+)"/>', svg)
    centres = {}
    for x, y, side, colour in reversed(boxes):
        centres[colour] = (float(x) + float(side) / 2, float(y) + float(side) / 2)
    (right, high), (left, low) = centres["#0072b2"], centres[LAYER_COLOURS[0]]
    assert right - left == pytest.approx(low - high, abs=0.1)
    assert right - left == pytest.approx(13 * 14.0, abs=0.1)


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_structure_gives_wellformed_svg_within_its_page(style: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 40))
    order = data.draw(st.permutations(range(length)))
    count = data.draw(st.integers(0, length // 2))
    pairs = as_pairs([(order[2 * k], order[2 * k + 1]) for k in range(count)])
    name = data.draw(st.text(max_size=12))
    svg = draw_structure(name, ("ACGUN" * length)[:length], pairs, style=style)
    root = ElementTree.fromstring(svg)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert "nan" not in svg
    for disc in root.iter(f"{SVG}circle"):
        assert left <= float(disc.attrib["cx"]) <= left + width
        assert top <= float(disc.attrib["cy"]) <= top + height


@pytest.mark.parametrize("length", [330, 700])
def test_numbers_of_large_drawings_lie_within_the_page(length: int) -> None:
    pairs = as_pairs([(k, length - 1 - k) for k in range(10)])
    root = ElementTree.fromstring(draw_structure("ring", ("ACGU" * length)[:length], pairs, style="radial"))
    left, _, width, _ = map(float, root.attrib["viewBox"].split())
    numbers = [text for text in root.iter(f"{SVG}text") if (text.text or "").isdigit()]
    assert len(numbers) > 5
    for text in numbers:
        half = 0.3 * float(text.attrib["font-size"]) * len(text.text or "")
        assert left + half <= float(text.attrib["x"]) <= left + width - half


def test_no_number_hides_under_a_crossing_pair() -> None:
    svg = draw_structure("knot", KNOT, KNOT_PAIRS, style="radial")
    root = ElementTree.fromstring(svg)
    numbers = [
        (float(text.attrib["x"]), float(text.attrib["y"]))
        for text in root.iter(f"{SVG}text")
        if (text.text or "").isdigit()
    ]
    curves = [
        np.array(re.findall(r"(-?[\d.]+),(-?[\d.]+)", path.attrib["d"]), dtype=float)
        for path in root.iter(f"{SVG}path")
        if "C" in path.attrib["d"]
    ]
    assert len(curves) == 4
    t = np.linspace(0, 1, 50)[:, None]
    for a, b, c, d in curves:
        points = (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
        assert all(np.hypot(*(points - at).T).min() > 6.0 for at in np.array(numbers))


@pytest.mark.parametrize("style", STYLES)
def test_every_layer_is_in_the_legend(style: str) -> None:
    pairs = from_dot_bracket("(((...[[[...{{{...)))...]]]...}}}")
    found = texts(draw_structure("three", ("ACGU" * 9)[:33], pairs, style=style))
    assert [text for text in found if text in ("nested", "crossing", "crossing 2")] == [
        "nested",
        "crossing",
        "crossing 2",
    ]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("sequence", "pairs"), [(KNOT, KNOT_PAIRS), (TRNA, CLOVER), ("GGGAAACCC", as_pairs([(0, 8)]))])
def test_the_legend_lies_within_the_drawing(style: Style, sequence: str, pairs: Pairs) -> None:
    subject = Subject("x", sequence, pairs, probabilities(len(sequence)), supported=pairs)
    root = ElementTree.fromstring(draw(subject, style).svg())
    left, _, width, _ = map(float, root.attrib["viewBox"].split())
    for text in root.iter(f"{SVG}text"):
        if text.attrib.get("text-anchor", "start") == "start":
            assert float(text.attrib["x"]) + 0.6 * float(text.attrib["font-size"]) * len(text.text or "") < left + width


@pytest.mark.parametrize("style", STYLES)
def test_every_tenth_base_is_numbered(style: str) -> None:
    numbers = {int(text) for text in texts(draw_structure("tRNA", TRNA, CLOVER, style=style)) if text.isdigit()}
    assert {10, 20, 30, 40, 50, 60, 70} <= numbers


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(UsageError, match="unknown drawing style 'pie'; known are arc, radial, dots"):
        draw_structure("x", "ACGU", no_pairs(), style="pie")
    with pytest.raises(InputError, match="outside"):
        draw_structure("x", "ACGU", as_pairs([(0, 9)]))
    with pytest.raises(ValueError, match=r"\(3, 3\) for 4 bases"):
        draw_structure("x", "ACGU", no_pairs(), np.zeros((3, 3)))


def test_names_are_escaped_and_cut() -> None:
    svg = draw_structure("<a&b>" + "long" * 100, "GGGAAACCC", no_pairs())
    caption = texts(svg)[0]
    assert caption.startswith("<a&b>long")
    assert caption.endswith("… (9 nt, 0 base pairs)")
    assert len(caption) < 80


@pytest.mark.parametrize("style", ["arc", "radial"])
def test_pairs_of_a_family_have_wider_lines(style: Literal["arc", "radial"]) -> None:
    sequence, pairs = "GGGGAAAACCCC", np.array([[0, 11], [1, 10], [2, 9], [3, 8]])
    plain = draw(Subject("x", sequence, pairs), style).svg()
    marked = draw(Subject("x", sequence, pairs, supported=pairs[:2]), style).svg()
    assert plain.count("consensus") == 0
    assert marked.count(", in the family") == 2
    assert marked != plain
