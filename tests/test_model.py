"""What the commands do, a method away: every task from a FASTA path, pairs or bare sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.function_models import PROTEINS, save_models
from support.tertiary_models import tiny_model

import rnafm_cli as rnafm
from rnafm_cli.errors import InputError, WeightsError

RNAS = [("hairpin", "GGGGCAAAAGCCCC"), ("short", "acgt")]


def test_records_come_in_any_form(tmp_path: Path) -> None:
    model = rnafm.load_model("tiny", weights_dir=save_models(tmp_path), device="cpu")
    (tmp_path / "in.fa").write_text(">hairpin\nGGGGCAAAAGCCCC\n>short\nacgt\n")
    wanted = [(record.sequence, array) for record, array in model.embed(RNAS)]
    for records in (tmp_path / "in.fa", str(tmp_path / "in.fa"), [sequence for _, sequence in RNAS]):
        for (sequence, array), (record, found) in zip(wanted, model.embed(records), strict=True):
            assert record.sequence == sequence
            np.testing.assert_array_equal(found, array)
    with pytest.raises(InputError, match="'x' is not a nucleotide|'X' is not a nucleotide"):
        list(model.embed(["ACX"]))


@pytest.mark.parametrize("task", ["fold", "annotate", "embed", "contact", "rbp", "mrl"])
def test_what_cannot_be_used_is_left_out_by_every_method(tmp_path: Path, task: str) -> None:
    model = rnafm.load_model(threads=1, device="cpu")
    good, bad = (
        ("good", "GGGGCAAAAGCCCC"),
        [("letter", "AC!U"), ("empty", ""), ("missing", float("nan")), ("none", None)],
    )
    (tmp_path / "in.fa").write_text(">letter\nAC!U\n>good\nGGGGCAAAAGCCCC\n>empty\n")
    for records, left_out in (([*bad, good], 4), (tmp_path / "in.fa", 2)):
        errors: list[InputError] = []
        (result,) = getattr(model, task)(records, reject=errors.append)
        record = result[0] if task == "embed" else result.record
        assert record.id == "good" and len(errors) == left_out


def test_a_bare_sequence_is_folded_and_not_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = rnafm.load_model(threads=1, device="cpu")
    (fold,) = model.fold("ggggcaaaagcccc", families=())
    assert (fold.record.id, fold.record.sequence, len(fold.pairs)) == ("seq1", "GGGGCAAAAGCCCC", 5)
    for text, told in (("", "has no sequence"), ("none.fa", "none.fa: no such file")):
        with pytest.raises(InputError, match=told):
            list(model.fold(text, families=()))
    Path("ACGU").write_text(">a\nGGGGCAAAAGCCCC\n")
    assert [one.record.id for one in model.fold("ACGU", families=())] == ["a"]


def test_binding_and_ribosome_load(tmp_path: Path) -> None:
    model = rnafm.load_model("tiny", weights_dir=save_models(tmp_path), device="cpu")
    bindings = list(model.rbp(RNAS))
    assert [one.record.id for one in bindings] == ["hairpin", "short"]
    assert bindings[0].proteins == PROTEINS
    loads = list(model.mrl(RNAS, assay="egfp_unmod_1"))
    assert [one.record.id for one in loads] == ["hairpin", "short"]
    assert all(np.isfinite(one.mrl) for one in loads)
    with pytest.raises(WeightsError, match="no contact head"):
        model.contact(RNAS)


def test_contacts_and_distances(tmp_path: Path) -> None:
    model = rnafm.load_model(str(tiny_model(tmp_path)), device="cpu")
    (contacts, _), (distances, _) = list(model.contact(RNAS)), list(model.distance(RNAS, prior=False))
    assert contacts.contact_LL is not None and contacts.contact_LL.shape == (14, 14)
    assert contacts.distance_LL is None and distances.contact_LL is None
    assert distances.distance_LL is not None and distances.sd_LL is not None


def test_results_as_tables_and_in_notebooks(tmp_path: Path) -> None:
    model = rnafm.load_model("tiny", weights_dir=save_models(tmp_path), device="cpu")
    pooled = rnafm.to_frame(model.embed(RNAS, pool="mean"))
    assert list(pooled["id"]) == ["hairpin", "short"] and pooled.shape[1] == 1 + model.encoder.config.width
    assert "".join(rnafm.to_frame(model.embed(RNAS[:1]))["base"]) == RNAS[0][1]
    bound = rnafm.to_frame(model.rbp(RNAS))
    assert list(bound["protein"]) == [*PROTEINS, *PROTEINS] and set(bound["call"]) <= {"bound", "unbound", "NA"}
    (load,) = model.mrl(RNAS[:1], assay="egfp_unmod_1")
    assert "<td>hairpin</td>" in load._repr_html_()


def test_structures_and_maps_as_tables(tmp_path: Path) -> None:
    folds = list(rnafm.load_model(threads=1).fold([("<a&b>", "GGGGGCAAAAGCCCCC")], families=()))
    table = rnafm.to_frame(folds)
    assert list(table["structure"]) == ["((((((....))))))"] and table["best_family"].isna().all()
    drawing = folds[0]._repr_svg_()
    assert repr(folds[0]) == "Fold('<a&b>', 16 nt, 6 pairs)"
    assert drawing.startswith("<svg") and "&lt;a&amp;b&gt;" in drawing
    tiny = rnafm.load_model(str(tiny_model(tmp_path)), device="cpu")
    maps = rnafm.to_frame(tiny.contact(RNAS[:1]))
    assert len(maps) == 14 * 13 / 2 and list(maps.columns) == ["id", "i", "j", "p"] and maps["p"].between(0, 1).all()
