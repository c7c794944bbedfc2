"""ViennaRNA's pair probabilities and their cache."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from rnafm_cli.errors import ConfigError, InputError
from rnafm_cli.rna.thermo import available, local_pair_probabilities, pair_probabilities
from rnafm_cli.structure.prior_cache import PriorCache

pytestmark = pytest.mark.skipif(not available(), reason="ViennaRNA is not installed")

HAIRPIN = "GGGGCAAAAGCCCC"


def random_rna(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGU"), length))


def test_probabilities_are_symmetric_and_rows_sum_to_at_most_one() -> None:
    p_LL = pair_probabilities(random_rna(120, 1))
    assert p_LL.shape == (120, 120) and p_LL.dtype == np.float32
    assert np.array_equal(p_LL, p_LL.T)
    assert p_LL.sum(axis=1).max() <= 1 + 1e-5
    assert pair_probabilities(HAIRPIN)[0, 13] > 0.9
    assert pair_probabilities("GG").shape == (2, 2) and pair_probabilities("").shape == (0, 0)


def test_other_letters_pair_with_nothing() -> None:
    p_LL = pair_probabilities("GGRGCAAAAGCYCC")
    assert p_LL[2].max() == 0 and p_LL[11].max() == 0
    assert np.allclose(p_LL, pair_probabilities("GGNGCAAAAGCNCC"))


def test_constraints_shape_and_span_change_the_ensemble() -> None:
    free = pair_probabilities(HAIRPIN)
    unpaired = pair_probabilities(HAIRPIN, constraint="x" + "." * 13)
    assert free[0].max() > 0.9 and unpaired[0].max() == 0
    reactive = np.full(14, np.nan)
    reactive[[0, 1, 2, 3]] = 5.0
    assert pair_probabilities(HAIRPIN, shape=reactive)[0, 13] < free[0, 13]
    assert np.allclose(pair_probabilities(HAIRPIN, shape=np.full(14, np.nan)), free)
    assert pair_probabilities(HAIRPIN, max_span=10)[0, 13] == 0


def test_one_window_over_all_equals_the_whole_ensemble() -> None:
    sequence = random_rna(90, 2)
    local = local_pair_probabilities(sequence, window=90, max_span=90)
    assert np.allclose(local, pair_probabilities(sequence), atol=2e-5)
    narrow = local_pair_probabilities(sequence, window=40, max_span=30)
    i, j = np.nonzero(narrow)
    assert len(i) and np.abs(i - j).max() < 30


def test_cache_keeps_what_matters_and_resumes(tmp_path: Path) -> None:
    path = tmp_path / "prior.h5"
    sequences = [random_rna(60, k) for k in range(5)]
    seen: list[tuple[int, int]] = []
    assert PriorCache(path).add_missing(sequences[:3], report=lambda done, total: seen.append((done, total))) == 3
    assert seen == [(3, 3)]
    cache = PriorCache(path)
    assert cache.add_missing(sequences) == 2 and cache.add_missing(sequences) == 0
    assert len(cache) == 5 and sequences[4] in cache and HAIRPIN not in cache
    for sequence in sequences:
        exact = pair_probabilities(sequence)
        kept = cache[sequence]
        assert np.abs(kept - np.where(exact >= 5e-4, exact, 0)).max() < 2e-5


def test_what_is_computed_on_demand_is_what_the_file_will_hold(tmp_path: Path) -> None:
    path, both = tmp_path / "prior.h5", ("andronescu2007", "langdon2018")
    cache = PriorCache(path, both)
    sequences = [random_rna(60, k) for k in range(3)]
    found = [cache[sequence] for sequence in sequences]
    assert not path.exists()
    cache.save()
    again = PriorCache(path, both)
    for sequence, p_LL in zip(sequences, found, strict=True):
        assert sequence in again
        np.testing.assert_array_equal(again[sequence], p_LL)
    assert again.add_missing(sequences) == 0


def test_other_parameters_need_another_file(tmp_path: Path) -> None:
    path = tmp_path / "prior.h5"
    PriorCache(path).add_missing([HAIRPIN])
    with pytest.raises(InputError, match="of the parameters turner2004, not langdon2018"):
        PriorCache(path, ("langdon2018",))
    with h5py.File(path, "a") as file:
        del file.attrs["parameters"]
    assert HAIRPIN in PriorCache(path)
    with pytest.raises(ConfigError, match="no energy parameters 'turner'"):
        PriorCache(path, ("turner",))


def test_another_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "prior.h5"
    path.write_text("no HDF5")
    with pytest.raises(InputError, match="not a file of cached"):
        PriorCache(path)
