"""The atlas page in a real browser, opened from disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.chromium import Browser, browser, chromium_path

from rnafm_cli.atlas.page import write_page
from rnafm_cli.rna.pairs import from_dot_bracket
from rnafm_cli.viz.structure import draw_structure

COUNT = 40_000
SECONDS = 3.0
HAIRPIN, BRACKETS = "GGGGCAAAAGCCCCAGGUUUUCC", "((((.[[..))))..((..]]))"


def points(count: int = COUNT) -> tuple[dict[str, Any], list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 36, size=count)
    centre = rng.uniform(-20, 20, size=(36, 2))
    place = (centre[group] + rng.normal(size=(count, 2)) * 1.3).astype(np.float32)
    starts = ["".join(row) for row in rng.choice(list("ACGU"), size=(count, 40))]
    # One point alone at the edge, to be found and pointed at.
    place[7] = (40, 0)
    ids, lengths = [f"URS{k:010d}_{k % 9606}" for k in range(count)], rng.integers(20, 3000, size=count)
    made = {"ids": ids, "place_N2": place, "lengths_N": lengths, "starts": starts}
    return made, [f"type_{k}" if k else "" for k in group], rng.random(count)


def write(path: Path, count: int = COUNT) -> None:
    made, labels, time = points(count)
    views = {"type": labels, "length": made["lengths_N"].astype(float), "pseudotime": time}
    write_page(path, **made, views=views, title="A map of <all> RNA", caption="caption")


def test_the_page_is_whole_and_reproducible(tmp_path: Path) -> None:
    made, labels, _ = points(50)
    made["ids"][:2] = ["</script><b>", "a&b"]
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, **made, views={"type": labels}, title="<x>")
    text = (tmp_path / "a.html").read_text()
    assert text == (tmp_path / "b.html").read_text()
    assert not re.search(r"@[A-Z_]+@", text)
    assert "https://" not in text and "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    data = re.search(r'<script id="data"[^>]*>(.*?)</script>', text, re.S)
    assert data and json.loads(data[1])["ids"].split("\n")[:2] == ["</script><b>", "a&b"]
    assert "<title>&lt;x&gt;</title>" in text


needs_browser = pytest.mark.skipif(chromium_path() is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Path]]:
    folder = tmp_path_factory.mktemp("page")
    write(folder / "atlas.html")
    with browser(folder) as opened:
        opened.open(folder / "atlas.html")
        yield opened, folder


def middle(opened: Browser) -> tuple[float, float]:
    box = opened.js(
        "(() => { const b = document.getElementById('stage').getBoundingClientRect(); return [b.width, b.height] })()"
    )
    return box[0] / 2, box[1] / 2


def search(opened: Browser, text: str) -> None:
    """Type into the search box and press Enter."""
    opened.js(
        f"(() => {{ const box = document.getElementById('search'); box.value = '{text}';"
        "box.dispatchEvent(new Event('input'));"
        "box.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' })) })()"
    )


def shades(opened: Browser) -> int:
    """Pixels of the map that are not white."""
    return int(
        opened.js(
            "(() => { const c = document.getElementById('points'); const d = c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
            "for (let k = 0; k < d.length; k += 4) n += d[k] + d[k + 1] + d[k + 2] < 760; return n })()"
        )
    )


@needs_browser
def test_forty_thousand_points_are_there_at_once(page: tuple[Browser, Path]) -> None:
    opened, _ = page
    assert float(opened.js("document.body.dataset.ready")) < 1000 * SECONDS
    assert opened.js("document.getElementById('shown').textContent") == "40,000 of 40,000 shown"
    assert opened.js("document.querySelectorAll('#legend li').length") == 35
    assert shades(opened) > 20_000


@needs_browser
def test_nothing_leaves_the_page(page: tuple[Browser, Path]) -> None:
    opened, folder = page
    asked = {request["request"]["url"] for request in opened.named("Network.requestWillBeSent")}
    assert asked == {(folder / "atlas.html").resolve().as_uri()}
    assert not opened.named("Runtime.exceptionThrown")
    assert not [entry for entry in opened.named("Log.entryAdded") if entry["entry"]["level"] == "error"]


@needs_browser
def test_search_hover_and_details(page: tuple[Browser, Path]) -> None:
    opened, _ = page
    search(opened, "urs0000000007_7")
    assert opened.js("document.querySelector('#hits li').textContent") == "URS0000000007_7"
    assert "URS0000000007_7" in opened.js("document.getElementById('details').textContent")
    x, y = middle(opened)
    opened.mouse("Moved", x + 1, y)
    opened.wait("!document.getElementById('tip').hidden")
    tip = opened.js("document.getElementById('tip').textContent")
    made, labels, _ = points()
    assert tip.startswith("URS0000000007_7") and made["starts"][7] in tip
    assert f"{made['lengths_N'][7]:,} nt" in tip and f"type: {labels[7]}" in tip
    opened.mouse("Moved", 30, 30)
    search(opened, "zzz")
    assert "none found" in opened.js("document.getElementById('hits').textContent")


@needs_browser
def test_zoom_and_move_and_back(page: tuple[Browser, Path]) -> None:
    opened, _ = page
    x, y = middle(opened)

    def back() -> int:
        opened.mouse("Pressed", x, y, clickCount=2)
        opened.mouse("Released", x, y, clickCount=2)
        opened.js("document.getElementById('names').dispatchEvent(new MouseEvent('dblclick'))")
        opened.js("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
        return shades(opened)

    whole = back()
    opened.mouse("Wheel", x, y, deltaX=0, deltaY=-1200)
    opened.js("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    near = shades(opened)
    assert near != whole
    opened.mouse("Pressed", x, y)
    opened.mouse("Moved", x + 200, y + 50, held=True)
    opened.mouse("Released", x + 200, y + 50)
    opened.js("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    assert shades(opened) != near
    assert back() == whole


@needs_browser
def test_legend_views_and_lasso(page: tuple[Browser, Path], tmp_path: Path) -> None:
    opened, _ = page
    shown = "parseInt(document.getElementById('shown').textContent.replace(',', ''))"
    opened.js("document.querySelector('#legend li').click()")
    assert 38_000 < opened.js(shown) < 39_500
    opened.js("document.getElementById('all').click()")
    assert opened.js(shown) == COUNT
    opened.js(
        "(() => { const v = document.getElementById('view'); v.value = 1; v.dispatchEvent(new Event('change')) })()"
    )
    assert opened.js("getComputedStyle(document.getElementById('scale')).display") != "none"
    opened.js(
        "(() => { const v = document.getElementById('view'); v.value = 0; v.dispatchEvent(new Event('change')) })()"
    )
    opened.js("document.getElementById('names').dispatchEvent(new MouseEvent('dblclick'))")
    opened.js("document.getElementById('lasso').click()")
    x, y = middle(opened)
    opened.mouse("Moved", x - 200, y - 200)
    opened.mouse("Pressed", x - 200, y - 200)
    for dx, dy in ((200, -200), (200, 200), (-200, 200), (-200, -190)):
        opened.mouse("Moved", x + dx, y + dy, held=True)
    opened.mouse("Released", x - 200, y - 190)
    opened.wait("document.getElementById('chosen').textContent")
    chosen = int(opened.js("document.getElementById('chosen').textContent").split()[0].replace(",", ""))
    assert 1000 < chosen < COUNT
    opened.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    opened.js("document.getElementById('save').click()")
    target = tmp_path / "selected_ids.txt"
    opened.wait("true")
    for _ in range(200):
        if target.exists() and target.read_text().count("\n") == chosen:
            break
        opened.js("new Promise((go) => setTimeout(go, 50))")
    ids = target.read_text().splitlines()
    assert len(ids) == chosen and set(ids) <= set(points()[0]["ids"])
    opened.js("document.getElementById('clear').click()")
    opened.js("document.getElementById('lasso').click()")


@needs_browser
def test_the_clicked_structure_is_drawn(tmp_path: Path) -> None:
    made, labels, _ = points(30)
    made |= {"lengths_N": np.full(30, len(HAIRPIN)), "starts": [HAIRPIN] * 30}
    write_page(tmp_path / "s.html", **made, views={"type": labels}, structures=[BRACKETS] * 8 + [""] * 22)
    with browser(tmp_path) as opened:
        opened.open(tmp_path / "s.html")
        search(opened, "0007_")
        x, y = middle(opened)
        opened.js("document.getElementById('details').replaceChildren()")
        opened.click(x, y)
        opened.wait("document.querySelector('#details svg')")
        assert opened.js("document.querySelectorAll('#details svg circle').length") > len(HAIRPIN)
        drawn = draw_structure(made["ids"][7], HAIRPIN, from_dot_bracket(BRACKETS), style="radial")
        titles = re.findall(r"<title>([ACGU][0-9]+-[ACGU][0-9]+)</title>", drawn)
        assert len(titles) == 8
        assert all(
            f"<title>{title}</title>" in opened.js("document.getElementById('details').innerHTML") for title in titles
        )
        assert BRACKETS in opened.js("document.getElementById('details').textContent")
