"""Libraries of profiles: made from alignments, written, read again, refused when they are not what they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.seeds import HAIRPIN, KNOT, rows_of, stockholm

from rnafm_cli.errors import InputError, WeightsError
from rnafm_cli.families.alignment import align
from rnafm_cli.families.library import FORMAT, Family, Library, build_library, far_rows, load_libraries
from rnafm_cli.io.stockholm import Alignment, read_stockholm


def family_of(tmp_path: Path, rows: list[str], structure: str) -> Family:
    path = tmp_path / "one.sto"
    path.write_text(stockholm("MF00009", rows, structure))
    (family,) = build_library(read_stockholm(path)).families
    return family


def test_families_hold_what_their_alignments_say(library: Library) -> None:
    hairpin, rival, knot = library.families
    assert (hairpin.accession, hairpin.name, hairpin.type, hairpin.clan) == (
        *("MF00001", "hairpin", "Gene;tRNA", "CX00001"),
    )
    assert hairpin.rows == 12 and len(hairpin) == len(HAIRPIN)
    assert hairpin.dot_bracket == HAIRPIN.replace("<", "(").replace(">", ")")
    assert knot.dot_bracket == KNOT.translate(str.maketrans("<>Aa", "()[]"))
    odds = np.exp(hairpin.pair_odds_P44)
    assert odds[:, 0, 3].min() > 1 and odds[:, 0, 0].mean() < odds[:, 0, 3].mean() / 4
    assert rival.accession == "MF00002"


def test_a_library_comes_back_from_disk(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "a.lib"
    library.save(path)
    again = Library.load(path)
    for old, new in zip(library.families, again.families, strict=True):
        assert (old.accession, old.description, old.rows, old.consensus.upper()) == (
            *(new.accession, new.description, new.rows, new.consensus.upper()),
        )
        assert np.array_equal(old.pairs, new.pairs) and np.array_equal(old.evalue, new.evalue)
        assert np.abs(old.match_M4 - new.match_M4).max() < 0.04
        assert np.abs(new.match_M4.sum(axis=1) - 1).max() < 1e-5
    again.save(tmp_path / "b.lib")
    kept, twice = load_file(path), load_file(tmp_path / "b.lib")
    assert all(np.abs(kept[key].astype(int) - twice[key].astype(int)).max() <= 1 for key in kept)


@pytest.mark.parametrize("structure", ["." * 40, "<<<<" + "." * 36])
def test_families_without_pairs_are_for_naming(tmp_path: Path, structure: str) -> None:
    rows = rows_of("." * 40, 5, seed=3)
    if "<" in structure:
        with pytest.raises(InputError, match="MF00009"):
            family_of(tmp_path, rows, structure)
    else:
        family = family_of(tmp_path, rows, structure)
        assert len(family.pairs) == 0 and family.pair_odds_P44.shape == (0, 4, 4)


def test_odd_letters_and_single_rows_are_no_hindrance(tmp_path: Path) -> None:
    row = rows_of(HAIRPIN, 1, seed=5)[0]
    assert len(family_of(tmp_path, ["NRYX" + row[4:]], HAIRPIN)) == len(HAIRPIN)


@pytest.mark.parametrize(
    ("rows", "structure", "length", "pairs"),
    [(["A", "A"], ".", 1, 0), (["G---C"] * 3, "<...>", 2, 1), (["-----", "ACGUA"], "<...>", 5, 1)],
)
def test_tiny_alignments(tmp_path: Path, rows: list[str], structure: str, length: int, pairs: int) -> None:
    family = family_of(tmp_path, rows, structure)
    assert (len(family), len(family.pairs)) == (length, pairs)
    for found in align([(family, text) for text in ("", "A", "ACGUACGU")]):
        assert found.match_ML.shape == (length, len(found.sequence)) and len(found.path()) == len(found.sequence)
    with pytest.raises(InputError, match="no profile can be made of it"):
        family_of(tmp_path, ["---", "---"], "...")


def test_rows_close_to_held_out_sequences_are_left_out(tmp_path: Path) -> None:
    first, second = rows_of("." * 60, 1, seed=6)[0], rows_of("." * 60, 1, seed=7)[0]
    alignment = Alignment(["a", "b"], [first, second], {"AC": "MF1"}, {})
    far = far_rows(alignment, [first])
    assert far is not None and far.names == ["b"]
    assert far_rows(far, [second]) is None and far_rows(alignment, []) is alignment


def test_a_family_that_comes_twice_is_rejected(library: Library, tmp_path: Path) -> None:
    text = stockholm("MF00009", rows_of(HAIRPIN, 3, seed=1), HAIRPIN)
    (tmp_path / "a.sto").write_text(text + text)
    errors: list[InputError] = []
    assert len(build_library(read_stockholm(tmp_path / "a.sto"), reject=errors.append)) == 1
    assert "comes a second time" in str(errors[0])
    with pytest.raises(InputError, match="no family is left"):
        build_library([])


def test_libraries_that_cannot_be_used(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "a.lib"
    library.save(path)
    arrays = load_file(path)
    right = {"format": FORMAT, "version": "1", "alphabet": "ACGU", "families": "[]"}
    cases = {
        "version 9": (arrays, right | {"version": "9"}),
        "alphabet ACDEFGHIKLMNPQRSTVWY": (arrays, right | {"alphabet": "ACDEFGHIKLMNPQRSTVWY"}),
        "is no family library; ": (arrays, {"format": "pt"}),
        "damaged": (arrays, right),
    }
    for problem, (tensors, metadata) in cases.items():
        save_file(tensors, path, metadata)
        with pytest.raises(WeightsError, match=problem) as raised:
            Library.load(path)
        assert raised.value.hint
    library.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    for torn in (path, tmp_path / "missing.lib"):
        with pytest.raises(WeightsError, match=str(torn)):
            Library.load(torn)


def test_libraries_by_name_are_read_once(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ours.lib"
    library.save(path)
    ours, known = load_libraries([path, "shipped"])
    assert ours.name == "ours.lib" and known is load_libraries()[0] and load_libraries([path])[0] is ours
    assert len(known) == 3021 and "tRNA" in [family.name for family in known.families]
    replace(ours, families=ours.families[:1]).save(tmp_path / "rfam-14.2.safetensors")
    assert len(load_libraries(weights_dir=tmp_path)[0]) == 1
    with pytest.raises(WeightsError, match="did you mean shipped"):
        load_libraries(["shiped"])
