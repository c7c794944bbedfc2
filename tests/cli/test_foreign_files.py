"""Files as other programs and people write them, given to the commands: what comes out, or the one line of error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rnafm_cli.cli.app import app
from rnafm_cli.cli.console import console

Run = Callable[..., Result]
SEQUENCE = "GGGGGAAAACCCCC"
TRUE, CLOSE = "(((((....)))))", "((((......))))"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run(*arguments)`` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "quiet", False)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def ct(title: str, structure: str) -> str:
    opened: list[int] = []
    partners = [0] * len(structure)
    for k, symbol in enumerate(structure):
        if symbol == "(":
            opened.append(k)
        elif symbol == ")":
            partners[k], partners[opened[-1]] = opened[-1] + 1, k + 1
            opened.pop()
    rows = zip(SEQUENCE, partners, strict=True)
    lines = [f"{k} {base} {k - 1} {k + 1} {partner} {k}" for k, (base, partner) in enumerate(rows, start=1)]
    return "\n".join([f"{len(SEQUENCE)} {title}", *lines]) + "\n"


def folders(*, truth: dict[str, str], found: dict[str, str]) -> None:
    for folder, files in (("truth", truth), ("found", found)):
        Path(folder).mkdir()
        for name, text in files.items():
            Path(folder, name).write_text(text)


def f1(result: Result) -> float:
    assert result.exit_code == 0, result.output
    (row,) = [line.split("\t") for line in result.stdout.splitlines() if "\tall\tall\t" in line and "\tf1\t" in line]
    return float(row[5])


@pytest.mark.parametrize("options", [(), ("--match", "file")])
def test_folders_of_ct_files_with_one_title(run: Run, options: tuple[str, ...]) -> None:
    folders(
        truth={"a.ct": ct("RNA", TRUE), "b.ct": ct("RNA", TRUE), "._b.ct": "junk"},
        found={"a.ct": ct("RNA", TRUE), "b.ct": ct("dG = -3.0 [initially -3.1] RNA", CLOSE)},
    )
    assert f1(run("evaluate", "fold", "truth", "found", *options)) == pytest.approx((1 + 8 / 9) / 2, abs=1e-5)
    refused = run("evaluate", "fold", "truth", "found", "--match", "id")
    assert refused.exit_code == 3
    assert "truth/b.ct:1: record 'RNA': the id appears twice; --first" in refused.stderr


def test_folders_of_ct_files_with_titles_of_their_own(run: Run) -> None:
    folders(
        truth={"a.ct": ct("yeast", TRUE)}, found={"a.bpseq": "\n".join(f"{k} {b} 0" for k, b in enumerate(SEQUENCE, 1))}
    )
    result = run("evaluate", "fold", "truth", "found")
    assert f1(result) == 0
    assert "matched by the names of files" in result.stderr


def test_several_structures_in_one_file(run: Run) -> None:
    Path("truth.ct").write_text(ct("r", TRUE))
    Path("found.ct").write_text(ct("r", CLOSE) + ct("r", TRUE))
    refused = run("evaluate", "fold", "truth.ct", "found.ct")
    assert refused.exit_code == 3 and "the id appears twice, first at line 1" in refused.stderr
    assert f1(run("evaluate", "fold", "truth.ct", "found.ct", "--first")) == pytest.approx(8 / 9, abs=1e-5)


def test_bad_structures_are_left_out_of_an_evaluation_if_wanted(run: Run) -> None:
    rows = f"name\tsequence\tpairs\na\t{SEQUENCE}\t{TRUE}\nb\t{SEQUENCE}\t(((\n"
    Path("truth.tsv").write_text(rows)
    Path("found.dbn").write_text(f">a\n{SEQUENCE}\n{TRUE}\n")
    assert run("evaluate", "fold", "truth.tsv", "found.dbn").exit_code == 3
    result = run("evaluate", "fold", "truth.tsv", "found.dbn", "--on-error", "skip")
    assert result.exit_code == 3
    assert "truth.tsv:3: record 'b': sequence of 14, structure of 3 symbols; left out" in result.stderr
    assert "\tf1\t1\t" in result.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.sto", f"# STOCKHOLM 1.0\na {SEQUENCE}\n#=GC SS_cons <<<<<____>>>>>\n//\n"),
        ("x.csv", f"id,sequence,dotbracket\na,{SEQUENCE},{TRUE}\n"),
        ("x.txt", f">a\n{SEQUENCE}\n>structure\n{TRUE}\n"),
        ("x.txt", f">a\n{SEQUENCE} -3.00 1.00\n{CLOSE} -2.00\n{TRUE} -3.00\n"),
        ("x.ct", "Filename: x.ct\nOrganism: yeast\n" + ct("a", TRUE)),
    ],
)
def test_structures_are_converted(run: Run, name: str, text: str) -> None:
    Path(name).write_text(text)
    assert run("fold", "--convert", name).stdout == f">a\n{SEQUENCE}\n{TRUE}\n"
    Path("a.jsonl").write_text(run("fold", "--convert", name, "--format", "jsonl").stdout)
    assert run("fold", "--convert", "a.jsonl").stdout == f">a\n{SEQUENCE}\n{TRUE}\n"


@pytest.mark.parametrize("command", ["fold", "contact"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_numbers_are_finite(run: Run, command: str, value: str) -> None:
    Path("x.fa").write_text(">a\nACGU\n")
    result = run(command, "x.fa", "--max-memory", value)
    assert result.exit_code == 2
    assert "--max-memory" in result.stderr and "internal" not in result.stderr


def test_pictures_are_not_overwritten_unasked(run: Run) -> None:
    Path("a.dbn").write_text(f">a\n{SEQUENCE}\n{TRUE}\n")
    assert run("fold", "--convert", "a.dbn", "--plot", "drawings").exit_code == 0
    refused = run("fold", "--convert", "a.dbn", "--plot", "drawings")
    assert refused.exit_code == 2 and "drawings: holds pictures already; --force" in refused.stderr
    assert run("fold", "--convert", "a.dbn", "--plot", "drawings", "--force").exit_code == 0
    Path("b.dbn").write_text(f">a\n{SEQUENCE}\n{CLOSE}\n")
    assert run("evaluate", "fold", "a.dbn", "b.dbn", "--plot", "figures").exit_code == 0
    assert run("evaluate", "fold", "a.dbn", "b.dbn", "--plot", "figures").exit_code == 2


def test_strands_are_not_joined_in_a_drawing(run: Run) -> None:
    Path("a.dbn").write_text(">a\nGGGGAAAA&UUUUCCCC\n((((((((&))))))))\n")
    result = run("fold", "--convert", "a.dbn", "--plot", "a.svg")
    assert result.exit_code == 3 and "a.dbn:1: record 'a': has 2 strands, and a drawing would join" in result.stderr
    assert not Path("a.svg").exists()


def test_ids_with_one_file_name_are_told_apart(run: Run) -> None:
    ids = ["hsa-mir-21", "hsa-miR-21", "a/1", "a_1", "a_1"]
    Path("x.dbn").write_text("".join(f">{name}\nACGU\n....\n" for name in ids))
    assert run("fold", "--convert", "x.dbn", "--out-dir", "o").exit_code == 3
    assert run("fold", "--convert", "x.dbn", "--out-dir", "p", "--rename-duplicates").exit_code == 0
    assert sorted(path.name for path in Path("p").iterdir()) == [
        "a_1.dbn",
        "a_1_2.dbn",
        "a_1_3.dbn",
        "hsa-miR-21_2.dbn",
        "hsa-mir-21.dbn",
    ]
