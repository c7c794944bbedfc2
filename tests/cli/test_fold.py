from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.command import Command
from support.vienna import vienna_records

from rnafm_cli.rna.pairs import from_dot_bracket, to_dot_bracket

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "rnas.fa"
FASTA = ">hairpin made up\nGGGGGAAAACCCCC\n>short\nACGU\n"


def triples(text: str) -> list[tuple[str, str, str]]:
    lines = text.splitlines()
    assert len(lines) % 3 == 0
    return [(lines[k], lines[k + 1], lines[k + 2]) for k in range(0, len(lines), 3)]


@pytest.fixture(scope="module")
def folded() -> str:
    command = [sys.executable, "-m", "rnafm_cli", "fold", str(EXAMPLES)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_three_valid_lines_per_record(folded: str) -> None:
    found = triples(folded)
    assert [header.split()[0] for header, _, _ in found] == [">tRNA-Phe", ">5S_rRNA", ">let-7a-1", ">TAR"]
    for _, sequence, structure in found:
        assert set(sequence) <= set("ACGUN")
        assert len(sequence) == len(structure)
        for i, j in from_dot_bracket(structure):
            assert j - i > 3
            assert {sequence[i], sequence[j]} in ({"A", "U"}, {"C", "G"}, {"G", "U"})


def test_the_tar_hairpin_is_found(folded: str) -> None:
    structure = triples(folded)[3][2]
    assert structure.startswith("((((")
    assert structure.endswith("))))")


def test_viennarna_reads_the_output(folded: str, tmp_path: Path) -> None:
    path = tmp_path / "out.dbn"
    path.write_text(folded)
    energies = [record.energy for record in vienna_records(path)]
    assert len(energies) == 4
    assert all(energy < 0 for energy in energies)


@pytest.mark.forgi
def test_forgi_reads_the_output(folded: str, tmp_path: Path) -> None:
    pytest.importorskip("forgi")
    path = tmp_path / "one.dbn"
    path.write_text("\n".join(triples(folded)[0]) + "\n")
    code = (
        "import sys, forgi.graph.bulge_graph as g;"
        "sys.stdout.write(str(g.BulgeGraph.from_dotbracket(open(sys.argv[1]).read().split('\\n')[2]).seq_length))"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert result.stdout == "76", result.stderr


def test_all_ways_in_give_the_same_bytes(rnafm: Command, tmp_path: Path) -> None:
    plain = tmp_path / "x.fa"
    plain.write_text(FASTA)
    wanted = rnafm("fold", plain).stdout
    assert len(triples(wanted)) == 2
    for suffix, pack in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        packed = tmp_path / f"x{suffix}"
        packed.write_bytes(pack(FASTA.encode()))
        assert rnafm("fold", packed).stdout == wanted
    assert rnafm("fold", stdin=FASTA).stdout == wanted
    assert rnafm("fold", "-", stdin=FASTA.replace("\n", "\r\n")).stdout == wanted
    raw = subprocess.run(
        [sys.executable, "-m", "rnafm_cli", "fold"], input=gzip.compress(FASTA.encode()), capture_output=True
    )
    assert raw.stdout.decode() == wanted


def test_results_do_not_depend_on_batches_or_threads(rnafm: Command) -> None:
    wanted = rnafm("fold", EXAMPLES).stdout
    assert rnafm("fold", EXAMPLES, "--batch-tokens", "100", "-j", "1").stdout == wanted
    assert rnafm("fold", EXAMPLES, "-j", "2").stdout == wanted


def test_without_the_prior(rnafm: Command) -> None:
    result = rnafm("fold", EXAMPLES, "--no-prior")
    assert result.returncode == 0
    assert len(triples(result.stdout)) == 4


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    many = tmp_path / "many.fa"
    many.write_text("".join(f">r{k}\nGGGGGAAAACCCCC\n" for k in range(1000)))
    script = f"{sys.executable} -m rnafm_cli fold {many} --batch-tokens 500 | head -3; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert result.stdout.splitlines()[0] == ">r0"
    assert result.stdout.splitlines()[-1] == "141"
    assert "Traceback" not in result.stderr
    assert "error" not in result.stderr


def test_a_full_disk_is_one_clear_line() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "rnafm_cli", "fold"], input=FASTA, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert result.returncode == 1
    assert "disk is full" in result.stderr
    assert "Traceback" not in result.stderr


def test_records_before_a_bad_one_are_not_lost(rnafm: Command, tmp_path: Path) -> None:
    bad = tmp_path / "bad.fa"
    bad.write_text(FASTA + ">third\nAC*GU\n>fourth\nGGGG\n")
    stopped = rnafm("fold", bad)
    assert stopped.returncode == 3
    assert [t[0] for t in triples(stopped.stdout)] == [">hairpin made up", ">short"]
    assert "bad.fa:6" in stopped.stderr
    assert "'third'" in stopped.stderr
    skipped = rnafm("fold", bad, "--on-error", "skip")
    assert skipped.returncode == 3
    assert [t[0] for t in triples(skipped.stdout)] == [">hairpin made up", ">short", ">fourth"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x01\x02\xff" * 200, gzip.compress(FASTA.encode() * 50)[:-30], b">only\n"],
    ids=["empty", "binary", "truncated gzip", "header only"],
)
def test_damaged_input_is_bad_data(rnafm: Command, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "in.fa"
    path.write_bytes(content)
    result = rnafm("fold", path)
    assert result.returncode == 3
    assert "in.fa" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["nothing.fa", "."])
def test_unreadable_paths_are_bad_data(rnafm: Command, tmp_path: Path, name: str) -> None:
    result = rnafm("fold", tmp_path / name)
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1


def test_odd_records(rnafm: Command) -> None:
    result = rnafm("fold", stdin=f">one\nA\n>unknown\n{'N' * 60}\n>codes\nGGGRYAAAACCCC\n")
    assert result.returncode == 0, result.stderr
    found = triples(result.stdout)
    assert found[0][1:] == ("A", ".")
    assert found[1][2] == "." * 60
    assert found[2][1] == "GGGNNAAAACCCC"


def test_many_short_records(rnafm: Command) -> None:
    rnas = "".join(f">r{k}\nGGGGCAAAAGCUUUUCCCAU\n" for k in range(2_000))
    result = rnafm("fold", "--no-prior", stdin=rnas)
    assert result.returncode == 0, result.stderr
    assert len(triples(result.stdout)) == 2_000


@pytest.mark.parametrize("fmt", ["dbn", "ct", "bpseq", "tsv"])
def test_other_formats_hold_the_same_pairs(rnafm: Command, folded: str, tmp_path: Path, fmt: str) -> None:
    from rnafm_cli.io.structures import read_structures

    one = tmp_path / "one.fa"
    one.write_text("\n".join(triples(folded)[0][:2]) + "\n")
    out = tmp_path / f"out.{fmt}"
    assert rnafm("fold", one, "--format", fmt, "-o", out).returncode == 0
    (record,) = read_structures(out)
    assert record.dot_bracket == triples(folded)[0][2]


def test_codon_models_are_refused(rnafm: Command) -> None:
    result = rnafm("fold", "--model", "mrna-fm", stdin=FASTA)
    assert result.returncode in (2, 4)
    assert "mrna-fm" in result.stderr


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    import signal
    import time

    process = subprocess.Popen(
        [sys.executable, "-m", "rnafm_cli", "fold"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    # Interrupted within an import, Python dies of the signal itself, which a shell reports as 130 too.
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors


KNOT = "GCGCGAGGCCACGCGCAAGGCCAAAA"
KNOT_FASTA = f">knot/1 made up\n{KNOT}\n>hairpin\nGGGGGAAAACCCCC\n"
KNOT_STRUCTURE = "(((((.[[[[.)))))..]]]]...."


@pytest.fixture
def knotted(tmp_path: Path) -> Path:
    """A constraint file that forces a pseudoknot."""
    path = tmp_path / "knot.con"
    path.write_text(f">knot/1\n{KNOT}\n{KNOT_STRUCTURE}\n>gone\nACGU\n....\n")
    return path


def test_constraints_are_kept(rnafm: Command, knotted: Path) -> None:
    result = rnafm("fold", "-C", knotted, stdin=KNOT_FASTA)
    assert result.returncode == 0, result.stderr
    assert triples(result.stdout)[0][2] == KNOT_STRUCTURE
    assert "gone" in result.stderr
    nested = rnafm("fold", "-C", knotted, "--no-pseudoknots", stdin=KNOT_FASTA)
    assert nested.returncode == 3
    assert "knot/1" in nested.stderr


def test_scores_leave_the_output_readable(rnafm: Command, knotted: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.dbn"
    assert rnafm("fold", "-C", knotted, "--score", "-o", path, stdin=KNOT_FASTA).returncode == 0
    lines = path.read_text().splitlines()
    assert len(lines) == 8
    assert lines[3].startswith("# expected_accuracy=0.")
    records = vienna_records(path)
    assert [record.header for record in records] == ["knot/1 made up", "hairpin"]
    assert all(len(record.rest[0].split()[0]) == len(record.sequence) for record in records)


@pytest.mark.forgi
def test_forgi_reads_scored_output(rnafm: Command, knotted: Path, tmp_path: Path) -> None:
    pytest.importorskip("forgi")
    path = tmp_path / "out.dbn"
    assert rnafm("fold", "-C", knotted, "--score", "-o", path, stdin=KNOT_FASTA).returncode == 0
    code = "import sys, forgi; print([len(g.seq) for g in forgi.load_rna(sys.argv[1])])"
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert result.stdout == "[26, 14]\n", result.stderr


def test_json_lines(rnafm: Command, knotted: Path) -> None:
    rows = rnafm("fold", "-C", knotted, "--format", "jsonl", stdin=KNOT_FASTA).stdout.splitlines()
    knot = json.loads(rows[0])
    assert (knot["id"], knot["description"], knot["structure"]) == ("knot/1", "made up", KNOT_STRUCTURE)
    assert [1, 16] in knot["pairs"]
    assert 0 < knot["expected_accuracy"] <= 1


def test_a_folder_of_rosetta_inputs(rnafm: Command, knotted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    command = ("fold", "-C", knotted, "--format", "rosetta", "--out-dir", folder)
    assert rnafm(*command, stdin=KNOT_FASTA).stdout == ""
    names = {"knot_1.fasta", "knot_1.secstruct", "hairpin.fasta", "hairpin.secstruct"}
    assert {path.name for path in folder.iterdir()} == names
    assert (folder / "knot_1.secstruct").read_text() == f"{KNOT_STRUCTURE}\n{KNOT.lower()}\n"
    assert (folder / "knot_1.fasta").read_text() == f">knot_1\n{KNOT.lower()}\n"
    again = rnafm(*command, stdin=KNOT_FASTA)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert rnafm(*command, "--force", stdin=KNOT_FASTA).returncode == 0


def test_modelling_inputs_hold_four_letters(rnafm: Command, knotted: Path, tmp_path: Path) -> None:
    rnas = KNOT_FASTA + ">odd\nACGNACGU\n>last\nACGU\n"
    stopped = rnafm("fold", "--format", "3drna", "-C", knotted, stdin=rnas)
    assert stopped.returncode == 3
    assert stopped.stdout.splitlines()[:2] == [KNOT, KNOT_STRUCTURE]
    assert "'odd'" in stopped.stderr
    skipped = rnafm("fold", "--format", "3drna", "--on-error", "skip", "--out-dir", tmp_path / "m", stdin=rnas)
    assert skipped.returncode == 3
    assert {path.stem for path in (tmp_path / "m").iterdir()} == {"knot_1", "hairpin", "last"}


def test_pair_probabilities_beside_the_structures(rnafm: Command, tmp_path: Path) -> None:
    from rnafm_cli.io.maps import read_pair_probabilities

    path = tmp_path / "p.h5"
    result = rnafm("fold", "--probs", path, stdin=KNOT_FASTA)
    assert result.returncode == 0, result.stderr
    assert len(triples(result.stdout)) == 2
    for (record, probs_LL), (header, sequence, structure) in zip(
        read_pair_probabilities(path), triples(result.stdout), strict=True
    ):
        assert (f">{record.header}", record.sequence) == (header, sequence)
        assert probs_LL.shape == (len(sequence),) * 2
        for i, j in from_dot_bracket(structure):
            assert probs_LL[i, j] > 0.1
    refused = rnafm("fold", "--probs", path, stdin=KNOT_FASTA)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_reactivities_change_the_fold(rnafm: Command, tmp_path: Path) -> None:
    pytest.importorskip("RNA")
    path = tmp_path / "x.shape"
    path.write_text(">hairpin\n" + "".join(f"{k} 4\n" for k in range(1, 15)))
    free, probed = (triples(rnafm("fold", *more, stdin=FASTA).stdout) for more in ((), ("--shape", path)))
    assert free[0][2] == "(((((....)))))"
    assert probed[0][2].count("(") < 5
    useless = rnafm("fold", "--shape", path, "--no-prior", stdin=FASTA)
    assert useless.returncode == 2


def test_repeated_ids_need_names_of_their_own(rnafm: Command, tmp_path: Path) -> None:
    twice = ">a\nGGGGAAAACCCC\n>a\nACGU\n"
    assert len(triples(rnafm("fold", stdin=twice).stdout)) == 2
    refused = rnafm("fold", "--out-dir", tmp_path / "x", stdin=twice)
    assert refused.returncode == 3
    assert "twice" in refused.stderr
    assert rnafm("fold", "--out-dir", tmp_path / "y", "--rename-duplicates", stdin=twice).returncode == 0
    assert {path.name for path in (tmp_path / "y").iterdir()} == {"a.dbn", "a_2.dbn"}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--format", "rosetta"), "--out-dir"),
        (("--format", "ct", "--score"), "--score"),
        (("--out-dir", "x", "-o", "y"), "--out-dir"),
        (("--threshold", "2"), "threshold"),
        (("--half",), "--probs"),
    ],
)
def test_options_that_do_not_fit(rnafm: Command, arguments: tuple[str, ...], hint: str) -> None:
    result = rnafm("fold", *arguments, stdin=FASTA)
    assert result.returncode == 2
    assert hint in result.stderr
    assert result.stdout == ""


PARITY = Path(__file__).parents[1] / "data" / "parity"


def test_an_official_head_from_its_file_to_upstreams_structures(rnafm: Command, tmp_path: Path) -> None:
    from rnafm_cli.rna.decode import DecodeOptions, decode

    file, folder = PARITY / "rnafm_resnet_random_small.pth", tmp_path / "weights"
    stored = ("--weights-dir", folder)
    assert rnafm("weights", "import", file, "--name", "small", *stored).returncode == 0
    upstream = np.load(file.with_suffix(".npz"))
    fasta = "".join(f">{upstream['names'][k]}\n{upstream['sequences'][k]}\n" for k in (0, 1))
    chosen = ("--model", "small", "--decoder", "upstream", "--threshold", "0.4", "--probs", tmp_path / "p.h5")
    result = rnafm("fold", *chosen, *stored, stdin=fasta)
    assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / "p.h5") as maps:
        for k, (header, sequence, structure) in enumerate(triples(result.stdout)):
            probs_LL = 1 / (1 + np.exp(-upstream[f"ss_logits_alone_{k}"][0].astype(np.float64)))
            np.testing.assert_allclose(np.triu(maps[header[1:]][()]), np.triu(probs_LL), atol=2e-4)
            pairs = decode(probs_LL, sequence, DecodeOptions(decoder="upstream", threshold=0.4))
            assert structure == to_dot_bracket(pairs, len(sequence))


KNOWN_CT = """5 made up
1 G 0 2 5 1
2 A 1 3 0 2
3 A 2 4 0 3
4 A 3 5 0 4
5 A 4 6 1 5
"""


def test_known_structures_are_converted_as_they_are(rnafm: Command, knotted: Path, tmp_path: Path) -> None:
    table = tmp_path / "known.tsv"
    table.write_text(f"name\tfamily\tsequence\tpairs\nk\tA\t{KNOT}\t{KNOT_STRUCTURE}\n")
    result = rnafm("fold", "--convert", table, "-", "--plot", tmp_path / "drawn", stdin=KNOWN_CT)
    assert result.returncode == 0, result.stderr
    assert triples(result.stdout) == [(">k", KNOT, KNOT_STRUCTURE), (">made up", "GAAAA", "(...)")]
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"k.svg", "made.svg"}
    again = rnafm("fold", "--convert", "--format", "tsv", table)
    assert again.stdout == table.read_text()
    folder = tmp_path / "ct"
    assert rnafm("fold", "--convert", "--format", "ct", "--out-dir", folder, table).returncode == 0
    assert rnafm("fold", "--convert", folder).stdout == f">k\n{KNOT}\n{KNOT_STRUCTURE}\n"


@pytest.mark.parametrize(
    ("arguments", "text", "code", "message"),
    [
        (("--score",), KNOWN_CT, 2, "--score is about predictions"),
        (("--no-pseudoknots",), KNOWN_CT, 2, "--no-pseudoknots is about predictions"),
        (("--min-loop", "9"), KNOWN_CT, 2, "--min-loop is about predictions"),
        ((), ">a\nGGAAACC\n((...)\n", 3, "sequence of 7, structure of 6"),
        (("--format", "3drna"), ">a\nGGNAACC\n((...))\n", 3, "takes A, C, G and U only"),
    ],
)
def test_what_cannot_be_converted_is_named(
    rnafm: Command, arguments: tuple[str, ...], text: str, code: int, message: str
) -> None:
    result = rnafm("fold", "--convert", *arguments, stdin=text)
    assert result.returncode == code
    assert message in result.stderr


def test_what_cannot_be_converted_is_left_out_if_wanted(rnafm: Command) -> None:
    text = ">a\nGGAACC\n((..))\n>b\nGGAACC\n((..)\n>c\nAC\n..\n"
    result = rnafm("fold", "--convert", "--on-error", "skip", stdin=text)
    assert result.returncode == 3 and [name for name, _, _ in triples(result.stdout)] == [">a", ">c"]
    assert "record 'b': sequence of 6, structure of 5 symbols; left out" in result.stderr
    assert "1 record left out" in result.stderr


def test_lonely_pairs_can_be_left_out(rnafm: Command) -> None:
    rnas = "".join(f">r{k}\n{'GACU' * k}GGAAAACC\n" for k in range(1, 12))
    for _, _, structure in triples(rnafm("fold", "--no-isolated", stdin=rnas).stdout):
        pairs = set(map(tuple, from_dot_bracket(structure).tolist()))
        assert all((i + 1, j - 1) in pairs or (i - 1, j + 1) in pairs for i, j in pairs)


def test_memory_is_predicted(rnafm: Command) -> None:
    refused = rnafm("fold", stdin=FASTA + f">huge\n{'A' * 100_000}\n")
    assert refused.returncode == 3
    assert len(triples(refused.stdout)) == 2
    assert "'huge'" in refused.stderr
    assert "--max-memory" in refused.stderr


def test_a_pipe_sees_results_before_the_end_of_input() -> None:
    command = [sys.executable, "-m", "rnafm_cli", "fold", "--no-prior", "--batch-tokens", "256"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f">r{k}\n{'GGGGGAAAACCCCC' * 10}\n" for k in range(60)))
        process.stdin.flush()
        assert process.stdout.readline() == ">r0\n"
        process.communicate("")
    assert process.returncode == 0


def piped(rnafm: Command, tmp_path: Path, *program: str) -> str:
    """What a program of ViennaRNA makes of our output."""
    if shutil.which(program[0]) is None:
        pytest.skip(f"no {program[0]} here")
    folded = rnafm("fold", EXAMPLES, "--score").stdout
    result = subprocess.run(program, input=folded, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_rnaeval_takes_it(rnafm: Command, tmp_path: Path) -> None:
    energies = piped(rnafm, tmp_path, "RNAeval").splitlines()[2::3]
    assert len(energies) == 4
    assert all(float(line.split(None, 1)[1].strip("() ")) < 0 for line in energies)


def test_rnaplot_takes_it(rnafm: Command, tmp_path: Path) -> None:
    piped(rnafm, tmp_path, "RNAplot", "--output-format=svg")
    assert len(list(tmp_path.glob("*.svg"))) == 4


def test_rnafold_takes_it_as_constraint(rnafm: Command, tmp_path: Path) -> None:
    assert len(piped(rnafm, tmp_path, "RNAfold", "-C", "--noPS").splitlines()) == 12


def test_the_family_is_named_and_can_be_left_out(rnafm: Command) -> None:
    trna = ">tRNA\nGCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA\n"
    scored = rnafm("fold", "--score", "-v", stdin=trna)
    assert "family=RF00005 name=tRNA evalue=" in scored.stdout
    assert "tRNA: RF00005 tRNA, bases 1 to" in scored.stderr
    (row,) = map(json.loads, rnafm("fold", "--format", "jsonl", stdin=trna).stdout.splitlines())
    assert row["families"][0]["accession"] == "RF00005" and row["families"][0]["start"] == 1
    assert "family=" not in rnafm("fold", "--score", "--no-families", stdin=trna).stdout
    refused = rnafm("fold", "--families", "shipped", "--no-families", stdin=trna)
    assert refused.returncode == 2 and "contradict" in refused.stderr
    missing = rnafm("fold", "--families", "nowhere.lib", stdin=trna)
    assert missing.returncode == 4 and "nowhere.lib" in missing.stderr
