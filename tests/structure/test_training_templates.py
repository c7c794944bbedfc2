"""Templates of training records: nothing close, halves by clusters, what is kept, and a head that learns from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.closeness import are_close
from support.tertiary_models import tiny_section

from rnafm_cli.errors import InputError
from rnafm_cli.rna.pairs import as_pairs
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.batches import collate
from rnafm_cli.structure.fold_task import PairRun, run_fold
from rnafm_cli.structure.training_templates import RecordTemplates, dealt_halves, far_alignments, record_templates
from rnafm_cli.training.recipes import FoldRecipe, FoldVariation, recipe_from_dict
from rnafm_cli.weights.files import load_model_file

pytest.importorskip("RNA")

PARTNER = dict(zip("ACGU", "UGCA", strict=True))
FAMILY = "GCGAUCGGCAUCGUGCAAGC"
LOOP = "GAUACGAA"
PAIRS = "(" * 20 + "." * len(LOOP) + ")" * 20


def hairpin(rng: np.random.Generator) -> str:
    """A member of a family: every second pair is the family's, so that no two members share many 8-mers."""
    drawn = rng.choice(list("ACGU"), 20)
    stem = "".join(letter if k % 2 else own for k, (letter, own) in enumerate(zip(drawn, FAMILY, strict=True)))
    loop = "".join(rng.choice(list("ACGU")) if k % 2 else own for k, own in enumerate(LOOP))
    return stem + loop + "".join(PARTNER[letter] for letter in reversed(stem))


@pytest.fixture
def rnas() -> list[str]:
    rng = np.random.default_rng(3)
    return [hairpin(rng) for _ in range(60)]


@pytest.fixture
def seeds(rnas: list[str], tmp_path: Path) -> Path:
    """Alignments of two families, the second by another name."""
    lines = []
    for accession, part in (("RF90001", rnas[:40]), ("RF90002", rnas[40:])):
        lines += ["# STOCKHOLM 1.0", f"#=GF AC {accession}", f"#=GF ID {accession}"]
        lines += [f"{accession}_{k} {rna}" for k, rna in enumerate(part)]
        lines += [f"#=GC SS_cons {PAIRS.replace('(', '<').replace(')', '>')}", "//"]
    path = tmp_path / "seeds.sto"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_nothing_close_and_no_held_out_family_is_left(seeds: Path, rnas: list[str]) -> None:
    (kept,) = far_alignments(seeds, rnas[:3], {"RF90002"})
    assert kept.accession == "RF90001" and len(kept.rows) <= 37
    assert not any(are_close(row, held) for row in kept.rows for held in rnas[:3])
    with pytest.raises(InputError, match="no alignment is left"):
        far_alignments(seeds, [], {"RF90001", "RF90002"})


def test_halves_hold_all_rows_and_no_cluster_is_in_both(seeds: Path, rnas: list[str]) -> None:
    first, second = dealt_halves(far_alignments(seeds, [], ()))
    rows = [[row for one in half for row in one.rows] for half in (first, second)]
    assert sorted(rows[0] + rows[1]) == sorted(rnas) and all(rows)
    assert dealt_halves(far_alignments(seeds, [], ()))[0][0].rows == first[0].rows


def test_templates_are_found_once_and_shown_at_random(seeds: Path, rnas: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    fresh, cache, told = [hairpin(rng) for _ in range(8)], tmp_path / "templates.pt", list[int]()

    def search() -> RecordTemplates:
        train, dev = [*fresh, rnas[0]], rnas[50:52]
        progress = lambda what, done, total: told.append(done)  # noqa: E731
        return record_templates(seeds, train, dev, families=(), cache=cache, progress=progress)

    known, again = search(), search()
    assert told[-1] == 11 and told.count(11) == 1 and again.close == known.close
    cache.write_bytes(cache.read_bytes()[:1000])
    again = search()
    assert told.count(11) == 2 and again.close == known.close
    template = known.of(fresh[0])
    assert template is not None and template.pairs_LL[0, 47] > 0.5
    np.testing.assert_array_equal(again.of(fresh[0]).pairs_LL, template.pairs_LL)  # type: ignore[union-attr]
    assert known.of("ACGUACGUAA") is None
    pairs = as_pairs([(k, 47 - k) for k in range(20)])
    records = [StructureRecord(f"r{k}", rna, pairs) for k, rna in enumerate(fresh * 20)]
    still = FoldVariation(mutate=0.0, drop_template=0.25, drop_close_template=0.5)
    batch = collate(records, None, templates=known, variation=still, rng=rng)
    assert 0.3 < batch.inputs.has_template_B.float().mean() < 0.9
    changed = dataclasses.replace(still, mutate=1.0, mutate_rate=0.5)
    batch = collate(records, None, templates=known, variation=changed, rng=rng)
    assert not batch.inputs.has_template_B.any()


def test_a_head_learns_with_families_and_goes_on(seeds: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)

    def table(name: str, count: int) -> Path:
        lines = ["name\tfamily\tsequence\tpairs", *(f"{name}{k}\t-\t{hairpin(rng)}\t{PAIRS}" for k in range(count))]
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
        return tmp_path / f"{name}.tsv"

    values = {
        "head": tiny_section(),
        "sampling": {"round_size": 8},
        "optim": {"steps": 4, "warmup": 1, "schedule": "late-cosine"},
        "run": {"bf16": False, "score_steps": 2},
    }
    recipe = recipe_from_dict(FoldRecipe, values)
    partners, dev, told = [table("t", 12)], [table("d", 3)], list[str]()
    run = PairRun(output=tmp_path / "whole", report=told.append)
    whole = run_fold(run, recipe, [], partners=partners, dev=dev, seeds=seeds)
    assert whole.finished
    card = load_model_file(whole.best_file)[1]
    assert card.config["inputs"] == ["sequence", "prior", "template"] and card.source["seeds"] == ["seeds.sto"]
    parts = dataclasses.replace(run, output=tmp_path / "parts", max_minutes=0.0)
    for _ in range(5):
        outcome = run_fold(parts, recipe, [], partners=partners, dev=dev, seeds=seeds)
    assert outcome.finished
    first, second = (load_model_file(tmp_path / name / "last.safetensors")[0] for name in ("whole", "parts"))
    assert all((first[name] == second[name]).all() for name in first)
    # A head that knows families is a start for a run that has none, and gives its size.
    plain = dataclasses.replace(run, output=tmp_path / "on", init_from=str(whole.best_file))
    other = dataclasses.replace(recipe, head=FoldRecipe().head)
    assert run_fold(plain, other, [], partners=partners, dev=dev).finished
    assert any(line.endswith(f"{len(first)} tensors of another head") for line in told)
