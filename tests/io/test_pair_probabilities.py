from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.pair_probabilities import PairProbabilityWriter, read_pair_probabilities
from rnafm_cli.rna.records import SequenceRecord

RECORDS = [SequenceRecord("b/1", "GGGGAAAACCCC", "second first"), SequenceRecord("a", "A")]


def random_map(length: int) -> np.ndarray:
    half = np.random.default_rng(length).random((length, length), dtype=np.float32) / (2 * length)
    return half + half.T


@pytest.mark.parametrize("half", [False, True])
def test_maps_come_back(tmp_path: Path, half: bool) -> None:
    path = tmp_path / "p.h5"
    with PairProbabilityWriter(path, provenance={"model": "m", "seed": None}, half=half) as writer:
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
    with pytest.raises(RuntimeError, match="elsewhere"), PairProbabilityWriter(path, provenance={}) as writer:
        writer.add(RECORDS[1], random_map(1))
        raise RuntimeError("elsewhere")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        PairProbabilityWriter(path, provenance={})
    with PairProbabilityWriter(path, provenance={}, force=True):
        pass
    assert list(read_pair_probabilities(path)) == []


def test_two_records_of_one_name(tmp_path: Path) -> None:
    with PairProbabilityWriter(tmp_path / "p.h5", provenance={}) as writer:
        writer.claim(RECORDS[0])
        with pytest.raises(InputError, match="b_1"):
            writer.claim(SequenceRecord("b_1", "ACGU"))


def test_other_files_are_refused(tmp_path: Path) -> None:
    text, other = tmp_path / "x.h5", tmp_path / "y.h5"
    text.write_text("no")
    h5py.File(other, "w").close()
    for path in (text, other):
        with pytest.raises(InputError, match=path.name):
            list(read_pair_probabilities(path))
    with pytest.raises(UsageError, match="stdout"):
        PairProbabilityWriter("-", provenance={})
