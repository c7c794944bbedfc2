"""A fold head that learns from another one."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tertiary_models import tiny_model, tiny_pair, tiny_section

from rnafm_cli.errors import ConfigError, WeightsError
from rnafm_cli.rna.pairs import as_pairs
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.batches import Dropouts, PairBatch, collate
from rnafm_cli.structure.fold_data import FoldFiles
from rnafm_cli.structure.fold_recipe import FoldConfig
from rnafm_cli.structure.fold_teacher import FoldTeacher, divergence, load_teacher
from rnafm_cli.structure.fold_training import FoldRun, run_fold
from rnafm_cli.structure.pair import PairHead, PairLogits
from rnafm_cli.weights.files import read_card, save_model_file

pytest.importorskip("RNA")
torch.set_num_threads(1)

LENGTHS = (14, 11)


def batch(*, withhold: float = 0.0) -> PairBatch:
    records = [
        StructureRecord("a", "GGCACAAAAGUGCC", as_pairs([(0, 13), (1, 12)])),
        StructureRecord("b", "GGGAAAACCCA", as_pairs([(0, 9)])),
    ]
    drops = Dropouts(embedding=withhold, sequence=withhold)
    return collate(records, None, noncanonical="pair", dropouts=drops, rng=np.random.default_rng(0))


def head(seed: int) -> PairHead:
    torch.manual_seed(seed)
    made = PairHead(dataclasses.replace(tiny_pair(), embedding=0, inputs=("sequence",)))
    for value in made.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return made.eval()


def test_divergence_is_that_of_the_definition_and_zero_for_the_same_choices() -> None:
    made, other = batch(), batch()
    logits, taught = head(1)(made.inputs), head(2)(other.inputs)
    wanted = []
    for own_LK, teacher_LK, length in zip(logits.log_choices(), taught.log_choices(), LENGTHS, strict=True):
        p, q = teacher_LK[:length].exp(), own_LK[:length].exp()
        wanted += [
            sum(a * torch.log(a / b) for a, b in zip(*row, strict=True) if a > 0) for row in zip(p, q, strict=True)
        ]
    found = divergence(logits, taught.log_choices(), made.inputs.lengths_B).item()
    assert found == pytest.approx((sum(wanted) / len(wanted)).item(), rel=1e-4) and found > 0.01
    assert divergence(logits, logits.log_choices(), made.inputs.lengths_B).item() == pytest.approx(0.0, abs=1e-6)


def test_divergence_has_finite_gradients_where_no_pair_can_be() -> None:
    made = batch()
    raw = head(1)(made.inputs)
    pair_BLL, unpaired_BL = raw.pair_BLL.detach().requires_grad_(), raw.unpaired_BL.detach().requires_grad_()
    assert not pair_BLL.isfinite().all()
    divergence(PairLogits(pair_BLL, unpaired_BL), head(2)(made.inputs).log_choices(), made.inputs.lengths_B).backward()
    assert pair_BLL.grad is not None and pair_BLL.grad.isfinite().all() and pair_BLL.grad.abs().sum() > 0
    assert unpaired_BL.grad is not None and unpaired_BL.grad.isfinite().all()


def test_a_teacher_sees_what_the_batch_withholds() -> None:
    teacher = FoldTeacher(head(1), None, bf16=False)
    whole, withheld = batch(), batch(withhold=1.0)
    withheld.inputs.has_sequence_B = torch.tensor([False, False])
    assert torch.equal(teacher.log_choices(whole), teacher.log_choices(withheld))
    assert not torch.equal(head(1)(withheld.inputs).log_choices(), teacher.log_choices(withheld))


def fold_model(folder: Path, name: str, parameters: tuple[str, ...] = ("turner2004",)) -> Path:
    """A fold head of its own beside a tiny encoder."""
    encoder = tiny_model(folder, heads=())
    torch.manual_seed(3)
    made = PairHead(dataclasses.replace(tiny_pair(), parameters=parameters))
    for value in (made.fine_out.weight, made.unpaired_out.weight):
        torch.nn.init.normal_(value)
    path = folder / f"{name}.safetensors"
    card = dataclasses.replace(
        read_card(encoder),
        name=name,
        kind="fold",
        config=dataclasses.asdict(made.config),
        encoder_sha256=read_card(encoder).weights_sha256,
    )
    save_model_file(path, made.state_dict(), card)
    return path


def table(path: Path, loops: str) -> Path:
    lines = ["name\tfamily\tsequence\tpairs"]
    lines += [f"h{k}\t-\tGGCAC{letter * 4}GUGCC\t(((((....)))))" for k, letter in enumerate(loops)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_run_draws_near_to_its_teacher(tmp_path: Path) -> None:
    teacher = fold_model(tmp_path, "teacher")
    values = {
        "head": tiny_section() | {"dropout": 0.0, "parameters": ("turner2004",)},
        "sampling": {"round_size": 8},
        "variation": {"drop_embedding": 0.0, "drop_sequence": 0.0, "drop_prior": 0.0, "mutate": 0.0},
        "optim": {"steps": 40, "warmup": 1, "rate": 5e-3, "teacher_share": 1.0},
        "run": {"bf16": False, "score_steps": 40, "log_steps": 1},
    }
    run = FoldRun(
        files=FoldFiles(train=(table(tmp_path / "train.tsv", "AC"),), dev=(table(tmp_path / "dev.tsv", "U"),)),
        config=FoldConfig.from_dict(values),
        output=tmp_path / "run",
        model=str(tmp_path / "tiny.safetensors"),
        teacher=str(teacher),
    )
    outcome = run_fold(run, report=lambda line: None)
    with open(tmp_path / "run" / "metrics.csv", newline="") as handle:
        losses = [float(row["loss"]) for row in csv.DictReader(handle)]
    assert losses[0] > 0.01 and losses[-1] < 0.3 * losses[0]
    assert read_card(outcome.best_file).source["teacher"] == ["teacher.safetensors"]


def test_a_teacher_must_be_whole_and_read_the_same_prior(tmp_path: Path) -> None:
    teacher = fold_model(tmp_path, "teacher")
    with pytest.raises(ConfigError, match="reads the prior of turner2004, not of andronescu2007"):
        load_teacher(teacher, ("andronescu2007",), weights_dir=None, bf16=False)
    alone = tmp_path / "alone"
    alone.mkdir()
    for suffix in (".safetensors", ".json"):
        (alone / f"teacher{suffix}").write_bytes((tmp_path / f"teacher{suffix}").read_bytes())
    with pytest.raises(WeightsError, match="its encoder .* is not on this machine"):
        load_teacher(alone / "teacher.safetensors", ("turner2004",), weights_dir=None, bf16=False)
