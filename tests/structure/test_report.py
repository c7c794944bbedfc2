"""The page of folded RNAs: its text everywhere, its behaviour in a real browser where there is one."""

from __future__ import annotations

import base64
import json
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.chromium import Browser, browser, chromium_path
from support.command import command_in

from rnafm_cli.io.structure_output import format_ct, format_dotbracket
from rnafm_cli.model import load_model
from rnafm_cli.rna.pairs import from_dot_bracket
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.fold import Fold
from rnafm_cli.structure.report import fold_report
from rnafm_cli.structure.tertiary import TertiaryMaps
from rnafm_cli.viz.dots import contacts_above, draw_dots
from rnafm_cli.viz.structure import draw_structure
from rnafm_cli.viz.subject import Subject

DOT = 'fill="#0072b2"'
HOSTILE = '</script><img src=x onerror="document.title=1">&amp;'
COUNT = 500
SECONDS = 3.0
TRNA = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA"


def made(number: int) -> Fold:
    """A hairpin with a pseudoknot and random probabilities."""
    rng = np.random.default_rng(number)
    sequence = "".join(rng.choice(list("ACGU"), size=60 + number % 90))
    pairs = np.array([[0, 30], [1, 29], [2, 28], [3, 27], [12, 40], [13, 39], [14, 38]])
    probs_LL = np.triu(rng.random((len(sequence), len(sequence))) ** 12, 1).astype(np.float32)
    probs_LL[pairs[:, 0], pairs[:, 1]] = 0.9
    record = SequenceRecord(f"rna_{number}", sequence, description=f"made {number}")
    return Fold(record, pairs, probs_LL + probs_LL.T)


def hostile() -> Fold:
    return Fold(SequenceRecord(HOSTILE, "GGGGAAAACCCC"), np.zeros((0, 2), dtype=int), np.zeros((12, 12), np.float32))


def made_maps(record: SequenceRecord) -> TertiaryMaps:
    """Bases as far from each other as along the chain."""
    apart_LL = np.abs(np.subtract.outer(np.arange(len(record)), np.arange(len(record)))).astype(np.float32)
    return TertiaryMaps(record, np.exp(-apart_LL), np.minimum(3 * apart_LL, 20.0))


def write(path: Path, folds: Sequence[Fold], *, spatial: bool = False) -> None:
    with fold_report(path, title="A & <b>", caption="made", maps_of=made_maps if spatial else None) as add:
        for fold in folds:
            add(fold)


def data_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a page, unpacked."""
    found = re.search(r'<script id="data"[^>]*>(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    assert found is not None
    rows: list[dict[str, Any]] = json.loads(found[1])
    for row in rows:
        row |= json.loads(zlib.decompress(base64.b64decode(row["packed"])))
    return rows


class Elements(HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_ids_stay_text_and_the_page_asks_for_nothing(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write(tmp_path / name, [hostile(), made(1)])
    text = (tmp_path / "a.html").read_text()
    assert text == (tmp_path / "b.html").read_text()
    assert "A &amp; &lt;b&gt;" in text and not re.search(r"@[A-Z_]+@", text)
    elements = Elements(text).found
    assert [tag for tag, _ in elements].count("script") == 2 and not [tag for tag, _ in elements if tag == "img"]
    assert not [a for _, a in elements if {"src", "href", "style"} & set(a) or any(key.startswith("on") for key in a)]
    (policy,) = [a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and "default-src 'none'" in policy and "unsafe" not in policy
    assert data_of(tmp_path / "a.html")[0]["id"] == HOSTILE


def test_the_page_holds_what_the_other_outputs_hold(tmp_path: Path) -> None:
    fold = made(3)
    write(tmp_path / "a.html", [fold])
    (row,) = data_of(tmp_path / "a.html")
    assert row["dbn"] == format_dotbracket(fold.structure) and row["ct"] == format_ct(fold.structure)
    assert row["drawings"]["radial"] == draw_structure(
        fold.record.id, fold.record.sequence, fold.pairs, fold.probs_LL, style="radial"
    )
    assert (row["length"], row["pairs"], row["crossing"]) == (len(fold.record), 7, 3)


def test_a_known_family_is_shown_aligned(tmp_path: Path) -> None:
    (fold,) = load_model(threads=1).fold([("tRNA", TRNA)])
    write(tmp_path / "a.html", [fold])
    (row,) = data_of(tmp_path / "a.html")
    assert row["family"] == "tRNA" and row["supported"] > 15
    consensus, _, rna, predicted = (line.split(maxsplit=2) for line in row["families"][0]["alignment"].split("\n"))
    assert consensus[:2] == ["consensus", "pairs"] and predicted[:2] == ["predicted", "pairs"]
    assert re.sub("[.-]", "", rna[1]).upper() in TRNA
    assert predicted[2].count("(") == predicted[2].count(")") > 15


def test_contacts_and_distances_are_shown_when_asked_for(tmp_path: Path) -> None:
    rnafm = command_in(tmp_path)
    ran = rnafm("fold", "--report", tmp_path / "a.html", "--report-3d", stdin=f">x\n{TRNA}\n>y\nGGGGAAAACCCC\n")
    assert ran.returncode == 0, ran.stderr
    first, second = data_of(tmp_path / "a.html")
    assert first["relatives"] == ["tRNA"] and second["relatives"] == []
    for row in (first, second):
        assert "probability of a contact" in row["drawings"]["contact"] and "8 Å" in row["drawings"]["distance"]
    (maps,) = load_model(threads=1).contact([("x", TRNA)])
    subject = Subject("x", TRNA, from_dot_bracket(first["dbn"].split("\n")[2]))
    lines = draw_dots(subject, contacts_above(maps.contact_LL)).svg().splitlines()
    shaded = {line for line in lines if DOT in line}
    assert shaded and shaded <= set(first["drawings"]["contact"].splitlines())
    assert rnafm("fold", "--report-3d", stdin=f">x\n{TRNA}\n").returncode == 2


def test_a_run_writes_the_page_and_keeps_one_that_is_there(tmp_path: Path) -> None:
    rnafm = command_in(tmp_path)
    path = tmp_path / "page.html"
    ran = rnafm("fold", "--report", path, "--no-families", stdin=f">x\n{TRNA}\n")
    assert ran.returncode == 0 and ran.stdout.startswith(">x\n") and data_of(path)[0]["id"] == "x"
    assert rnafm("fold", "--report", path, stdin=f">x\n{TRNA}\n").returncode == 2
    assert rnafm("fold", "--report", tmp_path / "page.svg", stdin=f">x\n{TRNA}\n").returncode == 2


needs_browser = pytest.mark.skipif(chromium_path() is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Path]]:
    folder = tmp_path_factory.mktemp("report")
    write(folder / "report.html", [*map(made, range(COUNT - 1)), hostile()], spatial=True)
    with browser(folder) as opened:
        opened.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        opened.open(folder / "report.html")
        yield opened, folder


def name(opened: Browser) -> str:
    return str(opened.js("document.getElementById('name').textContent"))


@needs_browser
def test_five_hundred_rnas_are_there_soon_and_nothing_leaves(page: tuple[Browser, Path]) -> None:
    opened, folder = page
    assert float(opened.js("document.body.dataset.ready")) < 1000 * SECONDS
    assert opened.js("document.querySelectorAll('#rows tr').length") == COUNT
    assert opened.js("document.querySelectorAll('#drawing svg').length") == 1 and name(opened) == "rna_0"
    asked = {request["request"]["url"] for request in opened.named("Network.requestWillBeSent")}
    assert asked == {(folder / "report.html").resolve().as_uri()}
    assert not opened.named("Runtime.exceptionThrown")
    assert not [entry for entry in opened.named("Log.entryAdded") if entry["entry"]["level"] == "error"]


@needs_browser
def test_sorting_filtering_and_arrow_keys(page: tuple[Browser, Path]) -> None:
    opened, _ = page
    opened.js("document.querySelectorAll('#columns button')[1].click()")
    opened.js("document.querySelectorAll('#columns button')[1].click()")
    assert opened.js("document.querySelectorAll('#columns th')[1].ariaSort") == "descending"
    assert opened.js("document.querySelector('#rows td').textContent") == "149"
    opened.js("(() => { const f = document.getElementById('filter'); f.value = 'MADE 49'; f.oninput() })()")
    assert opened.js("document.getElementById('shown').textContent").startswith("10 of 500")
    opened.js("document.querySelector('#rows tr:not([hidden])').click()")
    opened.wait("document.getElementById('name').textContent != 'rna_0'")
    opened.js("document.querySelector('#rows tr[aria-current] a').focus()")
    before = name(opened)
    for kind in ("keyDown", "keyUp"):
        opened.call("Input.dispatchKeyEvent", type=kind, key="ArrowDown", code="ArrowDown")
    opened.wait(f"document.getElementById('name').textContent != '{before}'")
    assert opened.js("document.activeElement.textContent") == name(opened)
    assert opened.js("document.querySelectorAll('#rows a[tabindex=\"0\"]').length") == 1
    opened.js("(() => { const f = document.getElementById('filter'); f.value = ''; f.oninput() })()")


@needs_browser
def test_hostile_ids_drawings_and_downloads(page: tuple[Browser, Path]) -> None:
    opened, folder = page
    opened.js(f"choose({COUNT - 1})")
    assert name(opened) == HOSTILE
    assert opened.js("document.title") == "A & <b>" and opened.js("document.querySelectorAll('img').length") == 0
    opened.js("document.querySelector('#styles button[value=distance]').click()")
    assert "16 Å" in opened.js("document.querySelector('#drawing svg').textContent")
    opened.js("choose(4)")
    fold, structure = made(4), made(4).structure
    opened.js("document.querySelector('#styles button[value=arc]').click()")
    for label, text in (
        (".dbn", format_dotbracket(structure)),
        (".ct", format_ct(structure)),
        (".svg", draw_structure("rna_4", fold.record.sequence, fold.pairs, fold.probs_LL, style="arc")),
    ):
        opened.js(
            f"[...document.querySelectorAll('#files button')].find(b => b.textContent.endsWith('{label}')).click()"
        )
        path, end = folder / f"rna_4{label}", time.monotonic() + 20
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert path.read_text(encoding="utf-8") == text
    opened.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    assert opened.js("document.documentElement.scrollWidth") == 390
    opened.call("Emulation.clearDeviceMetricsOverride")
