"""Binding of RNAs by the library: windows, batches, structure, saliency."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.function_models import PROTEINS, save_models

from rnafm_cli.errors import InputError
from rnafm_cli.function.rbp import Binding, BindingPredictor, bind
from rnafm_cli.model import Model, load_model
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.unpaired import structure_source


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model("tiny", weights_dir=save_models(tmp_path_factory.mktemp("models")), device="cpu")


@pytest.fixture(scope="module")
def predictor(model: Model) -> BindingPredictor:
    return BindingPredictor(model)


def rna(length: int, seed: int = 0) -> SequenceRecord:
    letters = np.random.default_rng(seed).choice(list("ACGU"), length)
    return SequenceRecord(f"r{length}", "".join(letters))


def found(records: list[SequenceRecord], predictor: BindingPredictor, **options: object) -> list[Binding]:
    return list(bind(records, predictor, **options))  # type: ignore[arg-type]


def test_windows_cover_an_rna_and_the_best_one_speaks_for_it(predictor: BindingPredictor) -> None:
    (one,) = found([rna(250)], predictor, step=30)
    assert one.starts_W[0] == 0 and one.ends_W[-1] == 250
    assert (one.ends_W - one.starts_W == 101).all() and np.diff(one.starts_W).max() <= 30
    assert one.probabilities_WP.shape == (len(one.starts_W), 3) and one.proteins == PROTEINS
    assert np.array_equal(one.probabilities_P, one.probabilities_WP.max(axis=0))
    assert one.thresholds_P.tolist() == [0.4, 0.5, 0.5]
    assert ((one.probabilities_WP > 0) & (one.probabilities_WP < 1)).all()


def test_short_and_odd_sequences_have_a_window(predictor: BindingPredictor) -> None:
    records = [SequenceRecord("a", "A"), SequenceRecord("n", "N" * 120), rna(101), rna(60)]
    results = found(records, predictor)
    assert [one.record for one in results] == records
    assert [one.ends_W.tolist() for one in results][0] == [1]
    assert all(np.isfinite(one.probabilities_WP).all() for one in results)


def test_letters_alone_are_scored_without_embeddings(predictor: BindingPredictor, model: Model) -> None:
    record, fast = rna(101), BindingPredictor(model, embeddings=False)
    (one,) = found([record], fast)
    odds = predictor.log_odds([record.sequence], None)
    assert np.log(one.probabilities_P / (1 - one.probabilities_P)) == pytest.approx(odds[0], abs=1e-4)
    assert not np.allclose(one.probabilities_P, found([record], predictor)[0].probabilities_P, atol=1e-4)
    effects = [each.effects(record, None) for each in (fast, predictor)]
    assert effects[0].any() and not np.allclose(*effects, equal_nan=True, atol=1e-4)


def test_results_do_not_depend_on_batches(predictor: BindingPredictor, model: Model) -> None:
    records = [rna(length, seed) for seed, length in enumerate((30, 300, 101, 101, 77, 1500, 101))]
    together, small = found(records, predictor), BindingPredictor(model, batch_tokens=64)
    for record, one in zip(records, together, strict=True):
        (alone,) = found([record], small)
        assert np.allclose(one.probabilities_WP, alone.probabilities_WP, atol=1e-5)


def test_calibration_is_applied(predictor: BindingPredictor) -> None:
    text = [rna(101).sequence]
    curves, predictor.curves = predictor.curves, [type(predictor.curves[0])()] * 3
    raw = predictor.log_odds(text, [None])
    predictor.curves = curves
    assert np.allclose(predictor.log_odds(text, [None])[:, 0], 2.0 * raw[:, 0] - 0.5)
    assert np.allclose(predictor.log_odds(text, [None])[:, 1:], raw[:, 1:])


def test_structure_changes_probabilities(predictor: BindingPredictor, tmp_path: Path) -> None:
    record = rna(101)
    (plain,) = found([record], predictor)
    known = found([record, rna(50)], predictor, structure_of=lambda r: np.ones(101) if r is record else None)
    assert not np.allclose(known[0].probabilities_WP, plain.probabilities_WP)
    (without,) = found([rna(50)], predictor)
    assert np.allclose(known[1].probabilities_WP, without.probabilities_WP, atol=1e-6)
    with pytest.raises(InputError, match="3 values of structure"):
        found([record], predictor, structure_of=lambda r: np.ones(3))
    rejected: list[InputError] = []
    assert not found([record], predictor, structure_of=lambda r: np.ones(3), reject=rejected.append)
    assert len(rejected) == 1


def test_structure_comes_from_scores_or_maps(model: Model, tmp_path: Path) -> None:
    from rnafm_cli.io.maps import PAIRS, map_writer

    record = SequenceRecord("x", "GGGGAAAACCCC")
    scores = tmp_path / "icshape.txt"
    scores.write_text(">x\n1 0.2\n5 1.7\n6 NA\n")
    measured = structure_source(str(scores), model)(record)
    assert measured is not None and measured[0] == 0.2 and measured[4] == 1.0 and np.isnan(measured[5])
    p_LL = np.zeros((12, 12), dtype=np.float32)
    p_LL[0, 11] = p_LL[11, 0] = 0.75
    with map_writer(tmp_path / "p.h5", PAIRS, provenance={}) as writer:
        writer.add(record, p_LL)
    stored = structure_source(str(tmp_path / "p.h5"), model)
    assert stored(record) is not None and stored(record)[[0, 5]].tolist() == [0.25, 1.0]  # type: ignore[index]
    assert stored(rna(30)) is None
    assert list(stored.checked([record, rna(30)])) == [record, rna(30)]
    assert stored.without == {rna(30).id} and stored.unused() == []


def test_a_source_says_what_it_has_and_no_record_asked_for(model: Model, tmp_path: Path) -> None:
    scores = tmp_path / "icshape.txt"
    scores.write_text(">x\n1 0.2\n>y\n1 0.3\n")
    source = structure_source(str(scores), model)
    records = [SequenceRecord("z", "ACGU"), SequenceRecord("y", "ACGU")]
    assert [source(record) is None for record in source.checked(records)] == [True, False]
    assert source.without == {"z"} and source.unused() == ["x"] and source.name == str(scores)


def test_structure_of_an_rna_that_does_not_fit_into_memory_is_refused(model: Model) -> None:
    pytest.importorskip("RNA")
    source = structure_source("thermo", model, max_bytes=700_000_000)
    refused: list[InputError] = []
    assert list(source.checked([rna(1200), rna(100)], refused.append)) == [rna(100)]
    assert "takes about 0.8 GB and the limit is 0.7 GB" in str(refused[0])


def test_computed_structure_knows_a_hairpin(model: Model) -> None:
    pytest.importorskip("RNA")
    unpaired = structure_source("thermo", model)(SequenceRecord("h", "GGGGGGAAAACCCCCC"))
    assert unpaired is not None and unpaired[6:10].min() > 0.9 and unpaired[[1, 2, 3]].max() < 0.1


def test_saliency_is_what_substitutions_do(predictor: BindingPredictor) -> None:
    record = SequenceRecord("s", rna(20).sequence[:10] + "N" + rna(20).sequence[11:])
    (result,) = found([record], predictor, explain=True)
    assert result.effects_PL4 is not None
    assert result.effects_PL4.shape == (3, 20, 4)
    assert np.isnan(result.effects_PL4[:, 10]).all() and (result.importance_PL[:, 10] == 0).all()
    mutant = record.sequence[:3] + ("A" if record.sequence[3] != "A" else "C") + record.sequence[4:]
    (before,), (after,) = (found([SequenceRecord("m", text)], predictor) for text in (record.sequence, mutant))

    def odds(one: Binding) -> np.ndarray:
        return np.log(one.probabilities_P / (1 - one.probabilities_P))

    letter = "ACGU".index(mutant[3])
    assert np.allclose(result.effects_PL4[:, 3, letter], odds(after) - odds(before), atol=1e-3)
    own = "ACGU".index(record.sequence[3])
    assert (result.effects_PL4[:, 3, own] == 0).all()
    others = [k for k in range(4) if k != own]
    assert np.allclose(result.importance_PL[:, 3], -result.effects_PL4[:, 3, others].mean(axis=1))


def test_saliency_covers_long_rnas(predictor: BindingPredictor) -> None:
    (result,) = found([rna(130)], predictor, step=101, explain=True)
    assert result.importance_PL.shape == (3, 130) and result.effects_PL4 is not None
    assert not np.isnan(result.effects_PL4).any()
