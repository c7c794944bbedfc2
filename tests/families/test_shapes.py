"""What known chains of a family tell: maps by match states, kept in a library, told of a query by its alignment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.made_chains import made_chains

from rnafm_cli.families.alignment import templates
from rnafm_cli.families.known_chains import with_shapes
from rnafm_cli.families.library import Library, build_library
from rnafm_cli.families.search import Search
from rnafm_cli.families.shapes import FamilyShape, Relatives
from rnafm_cli.io.stockholm import read_stockholm
from rnafm_cli.rna.chains import Chain

STEM, LOOP = "GGCAUCGAUGCCUAGC", "GAAAC"
PARTNER = dict(zip("ACGU", "UGCA", strict=True))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    path = tmp_path_factory.mktemp("seeds") / "hairpin.sto"
    row = STEM + LOOP + "".join(PARTNER[c] for c in reversed(STEM))
    pairs = "(" * len(STEM) + "." * len(LOOP) + ")" * len(STEM)
    lines = ["# STOCKHOLM 1.0", "#=GF AC HP1", "#=GF ID hairpin", *(f"r{k} {row}" for k in range(4))]
    path.write_text("\n".join([*lines, f"#=GC SS_cons {pairs}", "//", ""]))
    return build_library(read_stockholm(path))


def chain(library: Library, name: str = "known", flank: str = "") -> Chain:
    sequence = flank + library.families[0].consensus.upper()
    place = np.arange(len(sequence), dtype=np.float32)
    return Chain(name, sequence, 2.0 * np.abs(place[:, None] - place))


def test_means_spread_and_chains_that_tell() -> None:
    first, second = (made_chains(1)[0] for _ in range(2))
    assert second.distance_LL is not None
    second = replace(second, distance_LL=second.distance_LL + 2.0)
    states = np.arange(len(first))
    shape = FamilyShape.of([(first, states, 1.0), (second, states, 1.0)])
    assert shape is not None
    assert shape.maps_5KK[1, 0, 1] == 2.0 and shape.maps_5KK[1, 0, 3] == 0.0
    assert first.distance_LL is not None
    assert shape.maps_5KK[2, 0, 1] == pytest.approx(first.distance_LL[0, 1] + 1.0, abs=0.01)
    assert shape.maps_5KK[3, 0, 1] == pytest.approx(1.0, abs=0.01)
    assert FamilyShape.of([]) is None
    read = FamilyShape.unpacked(shape.packed())
    assert np.array_equal(read.state_K, states)
    assert np.allclose(read.maps_5KK, shape.maps_5KK, atol=0.06)
    assert np.array_equal(read.maps_5KK, read.maps_5KK.transpose(0, 2, 1))


def test_a_relative_is_told_where_it_lies(library: Library, tmp_path: Path) -> None:
    known = with_shapes(library, [chain(library)])
    assert known.families[0].known_chains == 1
    known.save(tmp_path / "a.lib")
    read = Library.load(tmp_path / "a.lib")
    query = chain(library, flank="AUAUAU")
    (template,) = templates([query.sequence], Search([read]), relatives=True)
    assert template is not None and template.relatives is not None
    assert template.relatives.seen_LL[:6].max() < 0.3
    inner = template.relatives.part(slice(10, 30))
    assert inner.seen_LL.min() > 0.4
    assert query.distance_LL is not None
    wanted = np.minimum(query.distance_LL[10:30, 10:30], 20.0)
    assert np.abs(inner.distance_LL - wanted).mean() < 0.5
    (plain,) = templates([query.sequence], Search([read]))
    assert plain is not None and plain.relatives is None


def test_a_chain_of_a_part_keeps_a_part() -> None:
    whole = made_chains(1)[0]
    states = np.full(len(whole), -1)
    states[5:9] = [100, 101, 102, 104]
    shape = FamilyShape.of([(whole, states, 1.0)])
    assert shape is not None and shape.state_K.tolist() == [100, 101, 102, 104]
    match_ML = np.zeros((200, 3))
    match_ML[[100, 101, 103], [0, 1, 2]] = 1.0
    found = Relatives.expected(shape, match_ML)
    assert found.seen_LL[0, 1] == pytest.approx(0.5) and found.seen_LL[0, 2] == 0.0
    with pytest.raises(ValueError):
        FamilyShape.unpacked(b"nothing")


def test_near_copies_share_one_vote(library: Library) -> None:
    copies = [chain(library, f"c{k}") for k in range(5)]
    assert with_shapes(library, copies).families[0].known_chains == 1


def test_libraries_of_version_1_are_read(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnafm_cli.families.library.VERSION", "1")
    library.save(tmp_path / "old.lib")
    monkeypatch.undo()
    assert Library.load(tmp_path / "old.lib").families[0].shape is None


def test_the_family_that_tells_more_wins() -> None:
    kept, other = Relatives.none(4), Relatives.none(2)
    kept.seen_LL[:], other.seen_LL[:] = 0.5, 0.9
    other.contact_LL[:] = 1.0
    kept.add(other, slice(1, 3))
    assert kept.contact_LL.sum() == 4.0 and kept.seen_LL[1, 1] == np.float32(0.9)
