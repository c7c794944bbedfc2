"""``rnafm families``: libraries from alignments, and a look into them."""

from __future__ import annotations

from pathlib import Path

from support.command import Command
from support.seeds import HAIRPIN, KNOT, rows_of, seeds_text, stockholm


def test_build_then_look(rnafm: Command, tmp_path: Path) -> None:
    seeds, lib = tmp_path / "seeds.sto", tmp_path / "ours.lib"
    seeds.write_text(seeds_text())
    built = rnafm("families", "build", seeds, "-o", lib)
    assert built.returncode == 0, built.stderr
    assert "3 families, 36 rows" in built.stderr and built.stdout == ""
    header, *rows = [line.split("\t") for line in rnafm("families", "list", lib).stdout.splitlines()]
    assert header[:4] == ["accession", "name", "type", "clan"] and [row[0][-1] for row in rows] == ["1", "2", "3"]
    shown = rnafm("families", "show", "knot", lib).stdout.splitlines()
    assert shown[0].split() == ["accession", "MF00003"] and "description  a, b; c=d" in shown
    assert shown[-1] == KNOT.translate(str.maketrans("<>Aa", "()[]")) and len(shown[-2]) == len(KNOT)
    missing = rnafm("families", "show", "knott", lib)
    assert missing.returncode == 2 and "did you mean knot?" in missing.stderr
    again = rnafm("families", "build", seeds, "-o", lib)
    assert again.returncode == 2 and "--force replaces it" in again.stderr


def test_rows_and_families_are_left_out(rnafm: Command, tmp_path: Path) -> None:
    seeds, lib = tmp_path / "seeds.sto", tmp_path / "ours.lib"
    seeds.write_text(seeds_text())
    row = rows_of(HAIRPIN, 12, seed=1)[0]
    (tmp_path / "held.fa").write_text(f">a\n{row}\n")
    (tmp_path / "held.dbn").write_text(f">a\n{row}\n{HAIRPIN.replace('<', '(').replace('>', ')')}\n")
    (tmp_path / "list.txt").write_text("# held out\nMF00003 knot\n")
    for held in ("held.fa", "held.dbn"):
        options = ("--without", tmp_path / held, "--without-families", tmp_path / "list.txt", "-f")
        built = rnafm("families", "build", seeds, "-o", lib, *options)
        assert built.returncode == 0, built.stderr
        rows = [line.split("\t") for line in rnafm("families", "list", lib).stdout.splitlines()[1:]]
        assert [one[0] for one in rows] == ["MF00001", "MF00002"] and int(rows[0][4]) < 12


def test_broken_alignments(rnafm: Command, tmp_path: Path) -> None:
    seeds, lib = tmp_path / "seeds.sto", tmp_path / "ours.lib"
    broken = stockholm("MF00007", rows_of(HAIRPIN, 3, seed=4), HAIRPIN.replace("<", ".", 1))
    seeds.write_text(broken + seeds_text())
    stopped = rnafm("families", "build", seeds, "-o", lib)
    assert stopped.returncode == 3 and not lib.exists()
    assert f"{seeds}:1: family MF00007: SS_cons" in stopped.stderr and "--on-error skip" in stopped.stderr
    skipped = rnafm("families", "build", seeds, "-o", lib, "--on-error", "skip")
    assert skipped.returncode == 3 and "1 family left out" in skipped.stderr
    assert len(rnafm("families", "list", lib).stdout.splitlines()) == 4
    seeds.write_text("<html><body>moved</body></html>\n")
    page = rnafm("families", "build", seeds, "-o", lib, "-f")
    assert page.returncode == 3 and "is a page of HTML, not plain text" in page.stderr


def test_a_library_with_a_card_is_a_weight_file(rnafm: Command, tmp_path: Path) -> None:
    seeds, folder = tmp_path / "seeds.sto", tmp_path / "weights"
    seeds.write_text(seeds_text())
    folder.mkdir()
    lib = folder / "ours.safetensors"
    assert rnafm("families", "build", seeds, "-o", lib).returncode == 0
    listed = rnafm("weights", "list", "--weights-dir", folder).stdout
    assert f"ours\tfamilies\tfamilies\tinstalled\t{lib.stat().st_size}" in listed
    assert "rfam-14.2\tfamilies\tfamilies\tshipped" in listed
    assert rnafm("weights", "verify", "ours", "--weights-dir", folder).returncode == 0
    assert len(rnafm("families", "list", "ours", "--weights-dir", folder).stdout.splitlines()) == 4
    lib.write_bytes(lib.read_bytes()[:-1] + b"x")
    altered = rnafm("families", "list", lib)
    assert altered.returncode == 4 and "is altered" in altered.stderr and not altered.stdout


def test_the_shipped_library_is_whole(rnafm: Command) -> None:
    assert rnafm("weights", "verify", "rfam-14.2").returncode == 0
    assert len(rnafm("families", "list").stdout.splitlines()) == 3022
