"""The thermodynamic prior: each set of energy parameters gives what ViennaRNA gives with it, and they are averaged."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from rnafm_cli.errors import ConfigError
from rnafm_cli.rna.thermo import PARAMETER_SETS, TURNER, local_pair_probabilities, pair_probabilities

RNA = pytest.importorskip("RNA")

BOTH = ("andronescu2007", "langdon2018")


def random_rna(length: int) -> str:
    return "".join(random.Random(length).choices("ACGU", k=length))


@pytest.fixture(autouse=True)
def default_parameters() -> Iterator[None]:
    yield
    RNA.params_load_RNA_Turner2004()


def plain(sequence: str) -> np.ndarray:
    """ViennaRNA's probabilities with the parameters of the process."""
    compound = RNA.fold_compound(sequence)
    compound.exp_params_rescale(compound.mfe()[1])
    compound.pf()
    upper_LL = np.asarray(compound.bpp(), dtype=np.float32)[1:, 1:]
    return upper_LL + upper_LL.T


@pytest.mark.parametrize("name", PARAMETER_SETS)
@pytest.mark.parametrize("length", [30, 120, 260])
def test_a_set_gives_what_the_program_gives_with_it(name: str, length: int) -> None:
    sequence = random_rna(length)
    found = pair_probabilities(sequence, parameters=(name,))
    np.testing.assert_allclose(pair_probabilities(sequence), plain(sequence), atol=1e-5)
    getattr(RNA, PARAMETER_SETS[name])()
    np.testing.assert_allclose(found, plain(sequence), atol=1e-5)


def test_sets_differ_and_are_averaged() -> None:
    sequence = random_rna(90)
    first, second = (pair_probabilities(sequence, parameters=(name,)) for name in BOTH)
    assert np.abs(first - second).max() > 0.05
    np.testing.assert_allclose(pair_probabilities(sequence, parameters=BOTH), (first + second) / 2, atol=1e-7)


def test_windows_of_long_rnas_use_them_too() -> None:
    sequence = random_rna(200)
    whole = {"window": 200, "max_span": 200}
    for parameters in (TURNER, BOTH):
        exact = pair_probabilities(sequence, parameters=parameters)
        local = local_pair_probabilities(sequence, parameters=parameters, **whole)
        np.testing.assert_allclose(local, exact, atol=2e-3)
        np.testing.assert_array_equal(local, local.T)


def test_what_overflows_is_scaled_by_the_best_structure() -> None:
    found = pair_probabilities("G" * 200 + "AAAA" + "C" * 200, parameters=BOTH)
    assert np.isfinite(found).all() and found.sum(axis=1)[100] > 0.99


def test_evidence_counts_with_every_set() -> None:
    sequence = "GGGGGAAAACCCCC"
    assert pair_probabilities(sequence, parameters=BOTH)[0, 13] > 0.8
    free = pair_probabilities(sequence, parameters=BOTH, constraint="x" * 5 + "." * 9)
    assert free[:5].sum() < 1e-4
    reactive = pair_probabilities(sequence, parameters=BOTH, shape=np.where(np.arange(14) < 5, 9.0, np.nan))
    assert reactive[2].sum() < pair_probabilities(sequence, parameters=BOTH)[2].sum()


@pytest.mark.parametrize(("parameters", "message"), [(("turner",), "'turner'"), ((), "are needed")])
def test_there_must_be_such_sets(parameters: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pair_probabilities("GGGGAAAACCCC", parameters=parameters)
    with pytest.raises(ConfigError, match=message):
        local_pair_probabilities("GGGGAAAACCCC", parameters=parameters)
