"""HDF5 files of maps: pair probabilities, known chains, and predicted maps matched to them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from support.made_chains import chain_file, made_chains

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.maps import PAIRS, TERTIARY, map_writer, read_chains, read_pair_probabilities
from rnafm_cli.rna.chains import Chain, without_repeats
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.map_files import read_maps

RECORDS = [SequenceRecord("b/1", "GGGGAAAACCCC", "second first"), SequenceRecord("a", "A")]


def random_map(length: int) -> np.ndarray:
    half = np.random.default_rng(length).random((length, length), dtype=np.float32) / (2 * length)
    return half + half.T


@pytest.mark.parametrize("half", [False, True])
def test_maps_come_back(tmp_path: Path, half: bool) -> None:
    path = tmp_path / "p.h5"
    with map_writer(path, PAIRS, provenance={"model": "m", "seed": None}, half=half) as writer:
        for record in RECORDS:
            writer.claim(record)
            writer.add(record, random_map(len(record)))
        assert not path.exists()
    for (record, probs_LL), wanted in zip(read_pair_probabilities(path), RECORDS, strict=True):
        assert (record.id, record.sequence, record.description) == (wanted.id, wanted.sequence, wanted.description)
        np.testing.assert_allclose(probs_LL, random_map(len(wanted)), atol=1e-3 if half else 0)
    with h5py.File(path) as file:
        assert {key: data.shape for key, data in file.items()} == {"b_1": (12, 12), "a": (1, 1)}
        assert file.attrs["model"] == "m"
        assert file["a"].dtype == (np.float16 if half else np.float32)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    with pytest.raises(RuntimeError, match="elsewhere"), map_writer(path, PAIRS, provenance={}) as writer:
        writer.add(RECORDS[1], random_map(1))
        raise RuntimeError("elsewhere")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists"), map_writer(path, PAIRS, provenance={}):
        pass
    with map_writer(path, PAIRS, provenance={}, force=True):
        pass
    assert list(read_pair_probabilities(path)) == []


def test_two_records_of_one_name(tmp_path: Path) -> None:
    with map_writer(tmp_path / "p.h5", PAIRS, provenance={}) as writer:
        writer.claim(RECORDS[0])
        with pytest.raises(InputError, match="b_1"):
            writer.claim(SequenceRecord("b_1", "ACGU"))


def test_files_without_probabilities_are_refused(tmp_path: Path) -> None:
    text, other = tmp_path / "x.h5", tmp_path / "y.h5"
    text.write_text("no")
    h5py.File(other, "w").close()
    for path in (text, other):
        with pytest.raises(InputError, match=path.name):
            list(read_pair_probabilities(path))
    with pytest.raises(UsageError, match="stdout"), map_writer("-", PAIRS, provenance={}):
        pass


def test_chains_come_back(tmp_path: Path) -> None:
    chains = made_chains(4, contacts_only=1)
    found = read_chains(chain_file(tmp_path / "chains.h5", chains))
    assert [chain.id for chain in found] == [chain.id for chain in chains]
    for one, other in zip(chains, found, strict=True):
        assert one.sequence == other.sequence
        assert np.array_equal(one.contacts(), other.contacts())
        if one.distance_LL is not None:
            assert other.distance_LL is not None
            assert np.array_equal(one.distance_LL, other.distance_LL, equal_nan=True)
    assert found[-1].distance_LL is None
    assert (found[0].contacts()[3] == -1).all()


def test_listed_similar_chains_are_left_out_once_distances_are_there(tmp_path: Path) -> None:
    whole = made_chains(1)[0]
    twin = Chain("twin", whole.sequence, contact_LL=whole.contacts(), similar=("made0",))
    assert [chain.id for chain in without_repeats([whole, twin])] == ["made0"]
    assert [chain.id for chain in without_repeats([twin])] == ["twin"]
    with pytest.raises(InputError, match="appears twice"):
        without_repeats([whole, whole])


@pytest.mark.parametrize("content", ["nothing", "no sequence", "another size"])
def test_files_without_chains_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        if content != "nothing":
            group = file.create_group("a")
            group["contact"] = np.zeros((3, 3), dtype=np.int8)
            if content == "another size":
                group.attrs["sequence"] = "ACGU"
    with pytest.raises(InputError, match="x.h5"):
        read_chains(path)


def test_missing_and_foreign_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_chains(tmp_path / "none.h5")
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    with pytest.raises(InputError, match="neither HDF5"):
        read_chains(other)


def test_written_maps_are_found_again(tmp_path: Path) -> None:
    chains = made_chains(2)
    path = tmp_path / "maps.h5"
    rng = np.random.default_rng(0)
    maps = {}
    with map_writer(path, TERTIARY, provenance={"model": "m"}) as writer:
        for chain in chains:
            half_LL = rng.random((len(chain), len(chain))).astype(np.float32)
            maps[chain.id] = (half_LL + half_LL.T) / 2
            record = SequenceRecord(chain.id, chain.sequence)
            writer.add(record, {"contact": maps[chain.id], "distance": 20 * maps[chain.id]})
    found = read_maps(path, chains, "contact")
    assert all(np.array_equal(found[key], maps[key]) for key in maps)
    assert read_maps(path, chains, "distance")["made1"].max() > 1
    with h5py.File(path) as file:
        assert file.attrs["format"] == "rnafm-tertiary-maps"
        assert file.attrs["model"] == "m"
        assert file["made0"].attrs["sequence"] == chains[0].sequence
    other = Chain("made0", "A" * len(chains[0]), chains[0].distance_LL)
    with pytest.raises(InputError, match="another sequence"):
        read_maps(path, [other], "contact")


def test_plain_matrices_at_the_root_are_read_too(tmp_path: Path) -> None:
    chain = made_chains(1)[0]
    path = tmp_path / "plain.h5"
    with h5py.File(path, "w") as file:
        file[chain.id] = np.full((len(chain), len(chain)), 0.25)
    assert (read_maps(path, [chain], "contact")[chain.id] == 0.25).all()
    with h5py.File(path, "w") as file:
        file[chain.id] = np.full((len(chain), len(chain)), 2.0)
    with pytest.raises(InputError, match="no probabilities"):
        read_maps(path, [chain], "contact")


def test_tables_of_pairs(tmp_path: Path) -> None:
    chain = made_chains(1)[0]
    path = tmp_path / "pairs.tsv"
    path.write_text("id\ti\tj\tbase_i\tbase_j\tp\nmade0\t1\t30\tA\tU\t0.5\nelse\t1\t2\tA\tU\t0.5\n")
    map_LL = read_maps(path, [chain], "contact")["made0"]
    assert map_LL[0, 29] == map_LL[29, 0] == 0.5
    assert map_LL.sum() == 1.0
    path.write_text("id\ti\tj\tdistance\nmade0\t1\t2\t3.0\n")
    with pytest.raises(InputError, match="lacks pairs"):
        read_maps(path, [chain], "distance")
    path.write_text("id\ti\tj\tp\nmade0\t1\t99\t0.5\n")
    with pytest.raises(InputError, match="pairs.tsv:2"):
        read_maps(path, [chain], "contact")
    path.write_text(">made0\nACGU\n")
    with pytest.raises(InputError, match="has no column 'id'"):
        read_maps(path, [chain], "contact")
