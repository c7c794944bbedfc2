"""Secondary structures of PDB and mmCIF files, by biotite's annotation of base pairs."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import pytest

from rnafm_cli.errors import InputError, RnafmWarning, UsageError
from rnafm_cli.io.structures import read_structures

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def helix() -> str:
    """forgi's ideal helix of 8 pairs, one chain of 16 residues."""
    pytest.importorskip("biotite")
    pytest.importorskip("forgi")
    return (files("forgi") / "threedee/data/ideal_1_8_9_16.pdb").read_text()


def test_pairs_of_a_helix(tmp_path: Path, helix: str) -> None:
    (tmp_path / "helix.pdb").write_text(helix)
    (record,) = read_structures(tmp_path / "helix.pdb")
    assert record.id == "helix_A"
    assert record.pairs.tolist() == [[i, 15 - i] for i in range(8)]
    assert all(record.sequence[i] + record.sequence[j] in {"AU", "UA", "GC", "CG"} for i, j in record.pairs)


@pytest.mark.parametrize("above", ["SEQRES   1 A    1    G\n", "COMPND    RNA\n", "USER  made up\n", ""])
def test_pdb_files_begin_as_they_like(tmp_path: Path, helix: str, above: str) -> None:
    atoms = "".join(line for line in helix.splitlines(keepends=True) if line.startswith("ATOM"))
    (tmp_path / "helix").write_text(above + atoms + "END\n")
    (record,) = read_structures(tmp_path / "helix")
    assert len(record.pairs) == 8


def test_pdb_and_mmcif_say_the_same(tmp_path: Path, helix: str) -> None:
    import gemmi

    document = gemmi.read_pdb_string(helix).make_mmcif_document()
    (tmp_path / "helix.cif").write_text("# made up\n\n" + document.as_string())
    (tmp_path / "helix.pdb").write_text(helix)
    (one,), (other,) = (list(read_structures(tmp_path / f"helix.{kind}")) for kind in ("cif", "pdb"))
    assert (one.sequence, one.pairs.tolist()) == (other.sequence, other.pairs.tolist())


def test_pairs_between_chains_are_told(tmp_path: Path, helix: str) -> None:
    lines = [
        line[:21] + "B" + line[22:] if line.startswith("ATOM") and int(line[22:26]) > 8 else line
        for line in helix.splitlines()
    ]
    (tmp_path / "duplex.pdb").write_text("\n".join(lines) + "\n")
    with pytest.warns(RnafmWarning, match="pairs between chains A and B"):
        records = list(read_structures(tmp_path / "duplex.pdb"))
    assert [(record.id, len(record.pairs)) for record in records] == [("duplex_A", 0), ("duplex_B", 0)]


def test_a_file_without_nucleotides(tmp_path: Path) -> None:
    pytest.importorskip("biotite")
    atom = "ATOM      1  CA  ALA A   1       3.063   8.025  -4.135  1.00  1.00           C  \n"
    (tmp_path / "protein.pdb").write_text(atom)
    with pytest.raises(InputError, match="no nucleic acid chain"):
        list(read_structures(tmp_path / "protein.pdb"))


def test_without_biotite_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "biotite", None)
    (tmp_path / "x.pdb").write_text("HEADER    RNA\n")
    with pytest.raises(UsageError, match="biotite") as raised:
        list(read_structures(tmp_path / "x.pdb"))
    assert "rnafm[pdb]" in (raised.value.hint or "")


OPTIONAL = ("B_iso_or_equiv", "occupancy", "pdbx_PDB_ins_code", "pdbx_PDB_model_num", "group_PDB", "type_symbol",
            "auth_comp_id", "auth_asym_id")  # fmt: skip


@pytest.mark.parametrize("column", OPTIONAL)
@pytest.mark.parametrize("left_open", ["", ".", "?"])
def test_mmcif_without_what_the_format_leaves_free(tmp_path: Path, helix: str, column: str, left_open: str) -> None:
    import gemmi

    structure = gemmi.read_pdb_string(helix)
    block = structure.make_mmcif_document().sole_block()
    found = block.find_loop(f"_atom_site.{column}")
    if left_open:
        for place in range(len(found)):
            found[place] = left_open
    elif found:
        found.get_loop().remove_column(f"_atom_site.{column}")
    (tmp_path / "helix.cif").write_text(block.as_string())
    (record,) = read_structures(tmp_path / "helix.cif")
    assert record.pairs.tolist() == [[i, 15 - i] for i in range(8)]


def test_residue_names_of_modelling_programs(tmp_path: Path, helix: str) -> None:
    (tmp_path / "helix.pdb").write_text(helix)
    (wanted,) = read_structures(tmp_path / "helix.pdb")
    renamed = [
        line[:17] + f"R{line[17:20].strip()}3"[:3].rjust(3) + line[20:] if line.startswith("ATOM") else line
        for line in helix.splitlines()
    ]
    (tmp_path / "helix.pdb").write_text("\n".join(renamed) + "\n")
    (found,) = read_structures(tmp_path / "helix.pdb")
    assert (found.sequence, found.pairs.tolist()) == (wanted.sequence, wanted.pairs.tolist())


def test_a_free_nucleotide_is_no_part_of_its_chain(tmp_path: Path, helix: str) -> None:
    atoms = [line for line in helix.splitlines() if line.startswith("ATOM")]
    first = [line for line in atoms if line[22:26] == atoms[0][22:26]]
    ligand = [
        f"HETATM{line[6:17]}ATP{line[20:22]} 900{line[26:30]}{float(line[30:38]) + 40:8.3f}{line[38:]}"
        for line in first
    ]
    (tmp_path / "helix.pdb").write_text("\n".join([*atoms, "TER", *ligand, "END"]) + "\n")
    (record,) = read_structures(tmp_path / "helix.pdb")
    assert len(record) == 16 and len(record.pairs) == 8


def test_a_damaged_file_is_told(tmp_path: Path, helix: str) -> None:
    lines = [line for line in helix.splitlines() if line.startswith("ATOM")]
    lines[3] = lines[3][:30] + "   x.yyy" + lines[3][38:]
    (tmp_path / "helix.pdb").write_text("\n".join(lines) + "\nEND\n")
    with pytest.raises(InputError, match="helix.pdb:4: an atom line is damaged"):
        list(read_structures(tmp_path / "helix.pdb"))
