"""``rnafm annotate``: rows, GFF3, alignments, strands, libraries and what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.command import Command
from support.seeds import HAIRPIN, KNOT, rows_of, seeds_text

import rnafm_cli
from rnafm_cli.families.library import build_library
from rnafm_cli.families.search import reverse_complement
from rnafm_cli.io.stockholm import read_stockholm

ROW, KNOTTED = rows_of(HAIRPIN, 12, seed=1)[0], rows_of(KNOT, 12, seed=2)[0]
FLANK = "ACCAUAGCAA"
RANDOM = "".join(np.random.default_rng(9).choice(list("ACGU"), 80))
FASTA = (
    f">one\n{FLANK}{ROW.replace('U', 'T')}\n>none\n{RANDOM}\n"
    f">two\n{KNOTTED}{FLANK}{ROW[:30]}AAA{ROW[30:]}\n>minus\n{FLANK}{reverse_complement(ROW)}\n"
)


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "seeds.sto").write_text(seeds_text())
    build_library(read_stockholm(folder / "seeds.sto")).save(folder / "ours.lib")
    return folder / "ours.lib"


def test_a_row_for_each_hit_in_input_order(rnafm: Command, lib: Path) -> None:
    result = rnafm("annotate", "--families", lib, stdin=FASTA)
    assert result.returncode == 0, result.stderr
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert " ".join(header) == (
        "id family name type clan start end strand score evalue model_start model_end description"
    )
    assert [row[0] for row in rows] == ["one", "two", "two"]
    assert rows[0][1:5] == ["MF00001", "hairpin", "Gene;tRNA", "CX00001"] and rows[0][7] == "+"
    assert abs(int(rows[0][5]) - 11) <= 3 and abs(int(rows[0][6]) - 66) <= 3
    assert "no known family in 2 of 4 RNAs (E-value up to 0.001)" in result.stderr
    every = rnafm("annotate", "--families", lib, "--all", "--format", "jsonl", stdin=FASTA)
    found = [json.loads(line) for line in every.stdout.splitlines()]
    assert {one["family"] for one in found if one["id"] == "one"} == {"MF00001", "MF00002"}
    strict = rnafm("annotate", "--families", lib, "--max-evalue", "1e-60", stdin=FASTA)
    assert strict.stdout.splitlines() == ["\t".join(header)]
    assert "no known family in any of 4 RNAs" in strict.stderr


def test_gff3_of_both_strands(rnafm: Command, lib: Path, tmp_path: Path) -> None:
    out = tmp_path / "hits.gff3"
    result = rnafm("annotate", "--families", lib, "--strands", "both", "-o", out, "-j", "2", stdin=FASTA)
    assert result.returncode == 0 and result.stdout == "", result.stderr
    head, *lines = out.read_text().splitlines()
    assert head == "##gff-version 3"
    cells = {line.split("\t")[0]: line.split("\t") for line in lines}
    assert cells["minus"][2] == "tRNA" and cells["minus"][6] == "-" and 8 <= int(cells["minus"][3]) <= 14
    knot = next(line.split("\t") for line in lines if "MF00003" in line)
    assert knot[2] == "riboswitch" and "Note=a%2C b%3B c%3Dd" in knot[8]


def test_alignment_to_the_consensus(rnafm: Command, lib: Path, tmp_path: Path) -> None:
    out = tmp_path / "hits.sto"
    options = ("--families", lib, "--strands", "both", "--alignment", out)
    assert rnafm("annotate", *options, stdin=FASTA + FASTA).returncode == 0
    first, second = sorted(read_stockholm(out), key=lambda one: one.accession)
    assert (first.accession, second.accession) == ("MF00001", "MF00003")
    assert first.names[0] == "one/11-66" and "minus/66-11" in first.names and "one/11-66#2" in first.names
    assert first.columns["SS_cons"].replace(".", "") == HAIRPIN.replace(".", "")
    assert len(first.columns["RF"].replace(".", "")) == len(HAIRPIN)
    text = out.read_text()
    plain = next(line.split()[1] for line in text.splitlines() if line.startswith("one/11-66 "))
    assert plain.replace(".", "") == ROW
    inserted = next(line.split()[1] for line in text.splitlines() if line.startswith("two/65-"))
    assert sum(letter.islower() for letter in inserted) == 3
    assert len(second.pairs) == KNOT.count("<") + KNOT.count("A")


def test_libraries_that_cannot_be_used(rnafm: Command, lib: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.lib"
    torn.write_bytes(lib.read_bytes()[:-50])
    for name, problem in ((torn, "damaged"), ("nowhere", "there is no family library 'nowhere'")):
        result = rnafm("annotate", "--families", name, stdin=FASTA)
        assert result.returncode == 4 and problem in result.stderr and len(result.stderr.splitlines()) == 1
    bad = rnafm("annotate", "--families", lib, "--on-error", "skip", stdin=">x\nAC*U\n" + FASTA)
    assert bad.returncode == 3 and len(bad.stdout.splitlines()) == 4


def test_the_shipped_library_knows_a_transfer_rna(rnafm: Command, lib: Path) -> None:
    trna = "GGGCCGGTAGCTCAGCCTGGGAGAGCGCCGGCTCTGCAAGCCGGAGGTCCCGGGTTCAAATCCCGGCCGGTCCA"
    result = rnafm("annotate", "--families", lib, "--families", "shipped", stdin=f">t\n{trna}\n")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1].split("\t")[1:5] == ["RF00005", "tRNA", "Gene;tRNA", "CL00001"]


def test_from_python(lib: Path) -> None:
    for found in (
        list(rnafm_cli.annotate([("a", ROW), RANDOM], families=[lib])),
        list(rnafm_cli.load_model().annotate([("a", ROW), RANDOM], families=[lib])),
    ):
        assert [len(one.hits) for one in found] == [1, 0] and found[0].hits[0].family.name == "hairpin"


def test_no_network_library_is_imported(lib: Path) -> None:
    code = (
        "import sys\n"
        f"sys.argv = {['rnafm', 'annotate', '--families', str(lib), '--alignment', str(lib.with_suffix('.sto'))]!r}\n"
        "from rnafm_cli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write('heavy:' + ','.join(sorted({'torch', 'scipy', 'h5py', 'pandas'} & set(sys.modules))))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], input=FASTA, capture_output=True, text=True, check=True)
    assert len(result.stdout.splitlines()) == 4 and result.stderr.endswith("heavy:"), result.stderr
