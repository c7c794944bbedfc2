"""Chains of structure files: sequence, what is known, and complaints about what cannot be used."""

from __future__ import annotations

import dataclasses
import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
from support.structure_files import Placed, hairpin, mmcif_text, pdb_text

from rnafm_cli.errors import InputError, RnafmWarning
from rnafm_cli.io.coordinates import is_named_like_a_structure, parent_letter, read_coordinates
from rnafm_cli.io.maps import read_chains

SEQUENCE = "GGCACUUCGGUGCC"
pytest.importorskip("gemmi")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_plain_hairpin(tmp_path: Path) -> None:
    path = written(tmp_path / "1abc.pdb", pdb_text({"A": hairpin(SEQUENCE)}))
    (chain,) = read_coordinates(path)
    assert (chain.id, chain.sequence) == ("1abc_A", SEQUENCE)
    distance_LL = chain.distance_LL
    assert distance_LL is not None
    assert np.array_equal(distance_LL, distance_LL.T)
    assert (np.diag(distance_LL) == 0).all()
    # O3' of the first is 2.2 Å on its way, P of the next 1.8 Å before it, and they are 5.5 Å apart.
    assert distance_LL[0, 1] == pytest.approx(1.5, abs=0.01)
    assert distance_LL[0, 13] < 8 < distance_LL[0, 6]
    assert chain.contacts()[0, 13] == 1
    assert chain.contacts()[0, 6] == 0


def test_distances_are_those_of_the_nearest_heavy_atoms(tmp_path: Path) -> None:
    from Bio.PDB.PDBParser import PDBParser

    path = written(tmp_path / "x.pdb", pdb_text({"A": hairpin(SEQUENCE)}))
    (chain,) = read_coordinates(path)
    residues = list(PDBParser(QUIET=True).get_structure("x", str(path))[0]["A"])
    assert chain.distance_LL is not None
    for i, j in ((0, 13), (2, 9), (5, 7)):
        heavy = [[a.coord for a in residues[k] if a.element != "H"] for k in (i, j)]
        nearest = min(float(np.linalg.norm(a - b)) for a in heavy[0] for b in heavy[1])
        assert chain.distance_LL[i, j] == pytest.approx(nearest, abs=1e-3)


def test_modified_and_missing_residues(tmp_path: Path) -> None:
    names = list(SEQUENCE)
    names[3], names[5] = "PSU", "XYZ"
    residues = hairpin(names)
    residues[3] = dataclasses.replace(residues[3], hetero=True)
    seen = residues[:7] + residues[9:]
    text = pdb_text({"A": seen}, seqres={"A": names}, modres={"XYZ": "U"})
    (chain,) = read_coordinates(written(tmp_path / "x.pdb", text))
    assert chain.sequence == SEQUENCE[:3] + "U" + SEQUENCE[4:5] + "U" + SEQUENCE[6:]
    assert chain.distance_LL is not None
    known = ~np.isnan(chain.distance_LL)
    assert not known[7].any()
    assert not known[:, 8].any()
    assert known[6, 9]
    assert (chain.contacts()[7] == -1).all()


def test_without_a_list_gaps_are_read_from_numbers(tmp_path: Path) -> None:
    residues = hairpin(SEQUENCE, first=20)
    (chain,) = read_coordinates(written(tmp_path / "x.pdb", pdb_text({"A": residues[:4] + residues[6:]})))
    assert chain.sequence == SEQUENCE[:4] + "NN" + SEQUENCE[6:]


def test_numbers_that_jump_within_one_backbone_are_no_gap(tmp_path: Path) -> None:
    residues = hairpin(SEQUENCE)
    jumping = [dataclasses.replace(r, number=r.number + 30 * (k >= 3)) for k, r in enumerate(residues)]
    (chain,) = read_coordinates(written(tmp_path / "x.pdb", pdb_text({"A": jumping})))
    assert chain.sequence == SEQUENCE


def test_the_first_of_alternate_locations_counts(tmp_path: Path) -> None:
    residues = hairpin(SEQUENCE)
    plain = read_coordinates(written(tmp_path / "a.pdb", pdb_text({"A": residues})))[0]
    residues[4] = dataclasses.replace(residues[4], shifted_altloc=True)
    twofold = read_coordinates(written(tmp_path / "b.pdb", pdb_text({"A": residues})))[0]
    assert plain.distance_LL is not None and twofold.distance_LL is not None
    assert np.array_equal(plain.distance_LL, twofold.distance_LL)


def test_several_chains_and_only_the_first_model(tmp_path: Path) -> None:
    body = pdb_text({"A": hairpin(SEQUENCE), "B": hairpin(SEQUENCE[::-1])}).removesuffix("END\n")
    text = f"MODEL        1\n{body}ENDMDL\nMODEL        2\n{body}ENDMDL\nEND\n"
    found = read_coordinates(written(tmp_path / "two.pdb", text))
    assert [(chain.id, chain.sequence) for chain in found] == [("two_A", SEQUENCE), ("two_B", SEQUENCE[::-1])]


def test_free_ligands_and_protein_chains_are_passed_over(tmp_path: Path) -> None:
    ligand = Placed("GTP", 90, (100.0, 0.0, 0.0), (1.0, 0.0, 0.0), hetero=True)
    protein = hairpin(["ALA"] * 8, peptide=True)
    path = written(tmp_path / "x.pdb", pdb_text({"A": [*hairpin(SEQUENCE), ligand], "P": protein}))
    (chain,) = read_coordinates(path)
    assert chain.sequence == SEQUENCE


def test_mmcif_with_missing_residues_and_compression(tmp_path: Path) -> None:
    residues = hairpin(SEQUENCE)
    text = mmcif_text("AA", residues[:5] + residues[8:], list(SEQUENCE))
    path = tmp_path / "9xyz.cif.gz"
    path.write_bytes(gzip.compress(text.encode()))
    (chain,) = read_coordinates(path)
    assert (chain.id, chain.sequence) == ("9xyz_AA", SEQUENCE)
    assert chain.distance_LL is not None
    assert np.isnan(chain.distance_LL[6]).all()
    assert np.isfinite(chain.distance_LL[4, 8])


def test_mmcif_names_the_parents_of_modified_residues(tmp_path: Path) -> None:
    names = [*SEQUENCE[:4], "XYZ", *SEQUENCE[5:]]
    residues = [dataclasses.replace(r, hetero=k == 4) for k, r in enumerate(hairpin(names))]
    text = mmcif_text("A", residues, names)
    with pytest.warns(RnafmWarning, match=r"unknown residues are N: XYZ \(1\)"):
        (chain,) = read_coordinates(written(tmp_path / "a.cif", text))
    assert chain.sequence == SEQUENCE[:4] + "N" + SEQUENCE[5:]
    head = "".join(f"_pdbx_struct_mod_residue.{key}\n" for key in ("id", "label_comp_id", "parent_comp_id"))
    (chain,) = read_coordinates(written(tmp_path / "b.cif", f"{text}loop_\n{head}1 XYZ C\n#\n"))
    assert chain.sequence == SEQUENCE


def test_deoxyuridine_in_rna_is_a_u(tmp_path: Path) -> None:
    names = [*SEQUENCE[:5], "DU", *SEQUENCE[6:]]
    (chain,) = read_coordinates(written(tmp_path / "x.pdb", pdb_text({"A": hairpin(names)})))
    assert chain.sequence == SEQUENCE


@pytest.mark.parametrize("spelled", ["r{}", "R{}", "R{}5", "{}3", "{}5", "R{}N", "+{}", "CHARMM", "Rosetta"])
def test_residue_names_of_modelling_programs(tmp_path: Path, spelled: str) -> None:
    words = {"CHARMM": ("ADE", "CYT", "GUA", "URA"), "Rosetta": ("RAD", "RCY", "RGU", "URA")}
    names = [words[spelled]["ACGU".index(x)] if spelled in words else spelled.format(x) for x in SEQUENCE]
    (chain,) = read_coordinates(written(tmp_path / "x.pdb", pdb_text({"A": hairpin(names)})))
    assert chain.sequence == SEQUENCE
    (chain,) = read_coordinates(written(tmp_path / "x.cif", mmcif_text("A", hairpin(names), names)))
    assert chain.sequence == SEQUENCE


@pytest.mark.parametrize(
    ("name", "letter"),
    [("PSU", "U"), ("5MC", "C"), ("1MA", "A"), ("YYG", "G"), ("H2U", "U"), ("IMP", "G"), ("DT", "U"), ("G7M", "G")]
    + [("N", "N"), ("HOH", "N"), ("ALA", "N"), ("", "N")],
)
def test_parents_of_modified_residues(name: str, letter: str) -> None:
    assert parent_letter(name) == letter


def test_unknown_residues_are_told_and_a_chain_of_them_is_refused(tmp_path: Path) -> None:
    names = ["XYZ", *SEQUENCE[1:6], "XYZ", *SEQUENCE[7:]]
    with pytest.warns(RnafmWarning, match=r"unknown residues are N: XYZ \(2\)"):
        (chain,) = read_coordinates(written(tmp_path / "some.pdb", pdb_text({"A": hairpin(names)})))
    assert chain.sequence == "N" + SEQUENCE[1:6] + "N" + SEQUENCE[7:]
    with pytest.raises(InputError, match=r"most.pdb: chain A: most .* unknown names \(XYZ\)"):
        read_coordinates(written(tmp_path / "most.pdb", pdb_text({"A": hairpin(["XYZ"] * 8 + list("ACGUAC"))})))


OPTIONAL = ("B_iso_or_equiv", "occupancy", "pdbx_PDB_ins_code", "pdbx_PDB_model_num", "group_PDB", "id", "type_symbol",
            "label_alt_id", "auth_seq_id", "auth_asym_id", "auth_comp_id", "auth_atom_id", "label_seq_id")  # fmt: skip


@pytest.mark.parametrize("column", OPTIONAL)
@pytest.mark.parametrize("left_open", ["", ".", "?"])
def test_mmcif_without_what_the_format_leaves_free(tmp_path: Path, column: str, left_open: str) -> None:
    head, body = LISTED.split("_atom_site.group_PDB", 1)
    lines = ("_atom_site.group_PDB" + body).splitlines()
    columns = [line.removeprefix("_atom_site.") for line in lines if line.startswith("_atom_site.")]
    place = columns.index(column)
    rows = [line.split() for line in lines[len(columns) : -1]]
    for row in rows:
        row[place : place + 1] = [left_open] if left_open else []
    names = [name for name in columns if left_open or name != column]
    text = head + "\n".join([*(f"_atom_site.{name}" for name in names), *map(" ".join, rows), "#", ""])
    (chain,) = read_coordinates(written(tmp_path / "x.cif", text))
    assert chain.sequence == SEQUENCE
    assert chain.distance_LL is not None
    assert np.isfinite(chain.distance_LL).all()


def test_an_empty_model_is_passed_over(tmp_path: Path) -> None:
    text = "MODEL        1\nENDMDL\nMODEL        2\n" + WHOLE.replace("END\n", "ENDMDL\nEND\n")
    assert [chain.sequence for chain in read_coordinates(written(tmp_path / "x.pdb", text))] == [SEQUENCE]


def test_a_single_file_may_be_compressed_in_any_way(tmp_path: Path) -> None:
    path = tmp_path / "x.pdb.xz"
    path.write_bytes(lzma.compress(WHOLE.encode()))
    assert [chain.id for chain in read_chains(path)] == ["x_A"]


def test_names_of_packed_structures_are_known() -> None:
    named = ("x.cif", "x.PDB.gz", "x.ent.bz2", "x.pdb1.xz", "x.mmcif")
    assert all(is_named_like_a_structure(Path(name)) for name in named)
    assert not is_named_like_a_structure(Path("x.fa.gz"))


def test_files_of_atoms_alone_are_read(tmp_path: Path) -> None:
    atoms = "".join(line for line in WHOLE.splitlines(keepends=True) if line.startswith("ATOM"))
    assert [chain.sequence for chain in read_coordinates(written(tmp_path / "x.pdb", atoms))] == [SEQUENCE]


def test_a_folder_of_files(tmp_path: Path) -> None:
    written(tmp_path / "a.pdb", pdb_text({"A": hairpin(SEQUENCE)}))
    written(tmp_path / "b.ent", pdb_text({"C": hairpin(SEQUENCE)}))
    written(tmp_path / "notes.txt", "no structure")
    assert [chain.id for chain in read_coordinates(tmp_path)] == ["a_A", "b_C"]
    bad = written(tmp_path / "c.pdb", pdb_text({"A": hairpin(SEQUENCE, ribose=False)}))
    with pytest.raises(InputError, match="c.pdb"):
        read_coordinates(tmp_path)
    told: list[InputError] = []
    assert len(read_coordinates(tmp_path, reject=told.append)) == 2
    assert [bad.name in error.message for error in told] == [True]


DNA = pdb_text({"A": hairpin(SEQUENCE, ribose=False)})
PROTEIN = pdb_text({"A": hairpin(["GLY"] * 12, peptide=True)})
WHOLE = pdb_text({"A": hairpin(SEQUENCE)})
BACKWARD = pdb_text(
    {
        "A": [
            dataclasses.replace(r, number=r.number if k < 7 else r.number - 40) for k, r in enumerate(hairpin(SEQUENCE))
        ]
    }
)
RESTARTING = [dataclasses.replace(r, number=1 + k % 14) for k, r in enumerate(hairpin(2 * SEQUENCE))]
LINES = WHOLE.splitlines()
ATOM = next(line for line in LINES if line.startswith("ATOM"))
LISTED = mmcif_text("A", hairpin(SEQUENCE), list(SEQUENCE))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("restart.pdb", pdb_text({"A": RESTARTING}), "chain A: has two residues of number 1"),
        ("restart.cif", mmcif_text("A", RESTARTING, list(2 * SEQUENCE)), "chain A: has two residues of number 1"),
        ("twice.pdb", WHOLE.removesuffix("END\n") + WHOLE, "chain A: has two residues of number 1"),
        ("unnumbered.pdb", WHOLE.replace(ATOM, f"{ATOM[:22]}    {ATOM[26:]}"), "unnumbered.pdb:1: no residue number"),
        ("letters.pdb", WHOLE.replace(ATOM, f"{ATOM[:22]}  1x{ATOM[26:]}"), "residue number '1x' is no number"),
        ("nan.pdb", WHOLE.replace(ATOM, f"{ATOM[:30]}     nan{ATOM[38:]}"), "coordinates are no numbers"),
        ("nan.cif", LISTED.replace("-1.800 0.000 0.000", "? 0.000 0.000", 1), "atom 1 of 280 has no number as Cartn_x"),
        ("model.pdb", "\n".join(["MODEL        1", *LINES[:250], "TER", ""]), "ends within model 1"),
        ("column.pdb", "\n".join(LINES[:250])[:-15], "column.pdb:250: the file ends in the middle of an atom"),
        ("residue.pdb", "\n".join([*LINES[:250], ""]), "middle of residue 13 of chain A"),
        ("residue.cif", "\n".join([*LISTED.splitlines()[:-31], ""]), "middle of residue 13 of chain A"),
        ("water.pdb", f"HETATM{ATOM[6:17]}HOH{ATOM[20:]}\nEND\n", "only ligands, ions or water"),
        (
            "trace.pdb",
            "\n".join(line for line in LINES if line[12:16] == " P  "),
            "only a coarse model of nucleic acid",
        ),
        ("dna.pdb", DNA, "only DNA"),
        ("protein.pdb", PROTEIN, "only protein"),
        ("empty.pdb", "", "is empty"),
        ("words.pdb", "HEADER    NOTHING\nEND\n", "no atoms"),
        ("cut.pdb", WHOLE[: WHOLE.rindex("ATOM") + 40], "ends in the middle of an atom"),
        (
            "damaged.pdb",
            WHOLE.replace("   1.500", "  abcdef", 1) if "   1.500" in WHOLE else WHOLE[:2000] + "x",
            "atom",
        ),
        ("back.pdb", BACKWARD, "go back from 7 to"),
        ("cut.cif", mmcif_text("A", hairpin(SEQUENCE), list(SEQUENCE))[:-60], "mmCIF|middle of a row"),
        ("short.pdb", pdb_text({"A": hairpin("GGCC")}), "shorter than 10"),
    ],
)
def test_unusable_files_are_clear_errors(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_coordinates(written(tmp_path / name, text))
    assert name in caught.value.message


def test_a_backbone_that_numbers_backwards_but_holds_together_is_fine(tmp_path: Path) -> None:
    residues = [dataclasses.replace(r, number=50 - r.number) for r in hairpin(SEQUENCE)[:7]]
    residues += [dataclasses.replace(r, number=60) for r in hairpin(SEQUENCE)[7:8]]
    path = written(tmp_path / "x.pdb", pdb_text({"A": residues}))
    (chain,) = read_coordinates(path, shortest=4)
    assert chain.sequence.startswith(SEQUENCE[:7])
