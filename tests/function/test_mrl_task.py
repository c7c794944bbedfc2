"""Ribosome load by the library: order, lengths, uncertainty, variants."""

from __future__ import annotations

import numpy as np
import pytest
from support.function_models import save_models

from rnafm_cli.errors import UsageError
from rnafm_cli.function.mrl import MrlPredictor, RibosomeLoad, ribosome_load, scan
from rnafm_cli.model import Model, load_model
from rnafm_cli.rna.records import SequenceRecord


@pytest.fixture(scope="module", params=[True, False], ids=["embeddings", "letters alone"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = save_models(tmp_path_factory.mktemp("models"), embedding=request.param)
    name = "tiny" if request.param else str(folder / "tiny-mrl.safetensors")
    return load_model(name, weights_dir=folder, device="cpu")


@pytest.fixture(scope="module")
def predictor(model: Model) -> MrlPredictor:
    return MrlPredictor(model)


def utr(length: int, seed: int = 0) -> SequenceRecord:
    letters = np.random.default_rng(seed).choice(list("ACGU"), length)
    return SequenceRecord(f"u{seed}", "".join(letters))


def found(records: list[SequenceRecord], predictor: MrlPredictor) -> list[RibosomeLoad]:
    return list(ribosome_load(records, predictor))


def test_results_keep_order_and_do_not_depend_on_batches(predictor: MrlPredictor, model: Model) -> None:
    records = [utr(length, seed) for seed, length in enumerate((50, 25, 100, 3, 50, 1, 77))]
    together, small = found(records, predictor), MrlPredictor(model, batch_tokens=64)
    assert [one.record for one in together] == records
    for record, one in zip(records, together, strict=True):
        (alone,) = found([record], small)
        assert one.mrl == pytest.approx(alone.mrl, abs=1e-4) and one.sd == pytest.approx(alone.sd, abs=1e-4)
        assert one.sd > 0 and len(one.members_M) == 2


def test_the_end_of_a_long_utr_counts(predictor: MrlPredictor) -> None:
    long = utr(180)
    short = SequenceRecord("tail", long.sequence[-100:])
    whole, tail = found([long, short], predictor)
    assert whole.mrl == pytest.approx(tail.mrl, abs=1e-5)
    assert whole.record is long and len(whole.starts) == long.sequence.count("AUG")


def test_the_same_record_twice_is_answered_twice(predictor: MrlPredictor) -> None:
    record = utr(40)
    first, second = found([record, record], predictor)
    assert first.mrl == pytest.approx(second.mrl, abs=1e-6)


def test_assays_have_their_own_scale(model: Model) -> None:
    record = utr(50)
    default, other = (found([record], MrlPredictor(model, name))[0] for name in (None, "egfp_unmod_1"))
    (named,) = found([record], MrlPredictor(model, "random_25to100"))
    assert default.mrl == named.mrl != other.mrl
    with pytest.raises(UsageError, match="did you mean egfp_unmod_1"):
        MrlPredictor(model, "egfp_unmod")


def test_a_scan_holds_every_variant_once(predictor: MrlPredictor) -> None:
    record = SequenceRecord("v", "ACGUNAUCCAUGGCA")
    (effects,) = scan([record], predictor)
    assert len(effects) == 14 * 3 and {effect.position for effect in effects} == set(range(15)) - {4}
    (base,) = found([record], predictor)
    for effect in effects[:5]:
        text = record.sequence[: effect.position] + effect.alt + record.sequence[effect.position + 1 :]
        (alone,) = found([SequenceRecord("w", text)], predictor)
        assert effect.ref == record.sequence[effect.position] != effect.alt
        assert effect.mrl == pytest.approx(alone.mrl, abs=1e-4)
        assert effect.change == pytest.approx(alone.mrl - base.mrl, abs=1e-4)
    gained = next(e for e in effects if (e.position, e.alt) == (7, "G"))
    assert [start.position for start in gained.starts] == [5, 9]


def test_a_scan_of_a_long_utr_stays_in_what_is_read(predictor: MrlPredictor) -> None:
    (effects,) = scan([utr(103)], predictor)
    assert effects[0].position == 3 and effects[-1].position == 102 and len(effects) == 300
