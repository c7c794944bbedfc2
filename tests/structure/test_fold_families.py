"""Folding with known families: the template reaches the head, constraints win over it, hits come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.families.library import Library, build_library
from rnafm_cli.families.search import Search
from rnafm_cli.io.stockholm import read_stockholm
from rnafm_cli.rna.decode import Constraints
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.fold import Fold, GuidedPredictor
from rnafm_cli.structure.pair import PairConfig, PairHead
from rnafm_cli.structure.predict import Query, predict

ROWS = (
    "GGCACUGGAUCCAAGUUCGCUUGGAACCGAGUGCCAUAUCCGGAUACGCC",
    "GGCACUGGAUCCAAGUUCGCUUGGAACCGAGUGCCAUAUCCGGAUACGCC",
    "GGCGCUGGAUCCACGUUCGCGUGGAACCGAGCGCCAUAUCCGGAUACGCC",
    "GGCACUGGAUCUAAGUUCGCUUAGAACCGAGUGCCAUAUCCGGAUACGCC",
)
CONSENSUS = "<<<<<<...<<<<<<....>>>>>>....>>>>>>"
MEMBER = "GGCACUGGAUCCAAGUUCGCUUGGAACCGAGUGCCAUAUCCGGAUACGCC"
STRANGER = "AUUUCAGACACCGAUUAACAUGCAGUAUUGCCAUAAACACGUU"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    path = tmp_path_factory.mktemp("families") / "ours.sto"
    rows = "\n".join(f"row{k}  {row}" for k, row in enumerate(ROWS))
    pairs = CONSENSUS.ljust(len(MEMBER), ".")
    path.write_text(f"# STOCKHOLM 1.0\n#=GF AC OURS1\n#=GF ID ours\n{rows}\n#=GC SS_cons  {pairs}\n//\n")
    return build_library(read_stockholm(path))


def predictor(library: Library | None) -> GuidedPredictor:
    torch.manual_seed(0)
    config = PairConfig(
        embedding=0,
        width=8,
        channels=8,
        dilations=(1, 2),
        heads=2,
        fine=4,
        axial_every=2,
        inputs=("sequence", "prior", "template"),
    )
    search = Search([library]) if library is not None else None
    return GuidedPredictor(PairHead(config).eval(), Runtime.create("cpu", threads=1), search=search)


def folded(sequence: str, library: Library | None, constraints: Constraints | None = None) -> Fold:
    (found,) = predict(
        [SequenceRecord("r", sequence)], predictor(library), query_of=lambda record: Query(record, constraints)
    )
    return found


def test_a_member_gets_the_pairs_of_its_family(library: Library) -> None:
    found = folded(MEMBER, library)
    consensus = {tuple(pair) for pair in library.families[0].pairs.tolist()}
    assert [hit.family.accession for hit in found.hits] == ["OURS1"]
    assert len(consensus & {tuple(pair) for pair in found.pairs.tolist()}) >= 0.9 * len(consensus)
    assert found.is_supported.shape == (len(found.pairs),)
    assert found.is_supported.any()


def test_a_stranger_folds_as_if_there_were_no_library(library: Library) -> None:
    known, alone = folded(STRANGER, library), folded(STRANGER, None)
    assert len(known.hits) == 0
    np.testing.assert_array_equal(known.probs_LL, alone.probs_LL)
    np.testing.assert_array_equal(known.pairs, alone.pairs)


def test_an_rna_does_not_depend_on_its_neighbours(library: Library) -> None:
    records = [SequenceRecord(str(k), s) for k, s in enumerate([STRANGER, MEMBER, STRANGER, MEMBER[:40]])]
    for one in predict(records, predictor(library)):
        np.testing.assert_allclose(one.probs_LL, folded(one.record.sequence, library).probs_LL, atol=1e-5)


def test_constraints_win_over_the_family(library: Library) -> None:
    free = "x" * 6 + "." * (len(MEMBER) - 6)
    found = folded(MEMBER, library, Constraints(free))
    assert not set(range(6)) & set(found.pairs.ravel().tolist())
    assert len(found.hits) == 1


def test_a_library_that_is_torn_is_told(library: Library, tmp_path: Path) -> None:
    from rnafm_cli.errors import WeightsError

    path = tmp_path / "torn.lib"
    library.save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(WeightsError, match=r"torn\.lib"):
        Library.load(path)
