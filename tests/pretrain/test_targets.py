"""Targets of single letters: what alignments say, rows drawn from them, their losses, and runs that stop and go on."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.errors import ConfigError, InputError
from rnafm_cli.io.stockholm import Alignment, format_stockholm
from rnafm_cli.pretrain.batches import Feed
from rnafm_cli.pretrain.config import TERMS, PretrainConfig, TargetSection
from rnafm_cli.pretrain.export import export_run
from rnafm_cli.pretrain.model import TargetHeads
from rnafm_cli.pretrain.sampling import plan_of
from rnafm_cli.pretrain.shards import Corpus
from rnafm_cli.pretrain.targets import NO_PARTNER, UNTOLD, AlignedRows, Targets
from rnafm_cli.pretrain.trainer import EncoderTrainer
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.rna.thermo import pair_probabilities

Tiny = Callable[..., PretrainConfig]
CANONICAL = {"AU", "UA", "CG", "GC", "GU", "UG"}
SPECIALS = (NUCLEOTIDE.cls, NUCLEOTIDE.eos, NUCLEOTIDE.pad)
HAIRPIN = "..((((((....))))))...."


def family(rng: np.random.Generator, rows: int, name: str) -> Alignment:
    """A hairpin whose stem differs from row to row and whose loop does not; one row lacks a stem letter."""
    found = []
    for _ in range(rows):
        stem = [("GC", "CG", "AU", "UA")[k] for k in rng.integers(0, 4, size=6)]
        found.append("AA" + "".join(p[0] for p in stem) + "GAAA" + "".join(p[1] for p in reversed(stem)) + "CCUU")
    found[0] = found[0][:3] + "-" + found[0][4:]
    columns = {"SS_cons": HAIRPIN.replace("(", "<").replace(")", ">")}
    return Alignment([f"{name}/{k}" for k in range(rows)], found, {"AC": name, "ID": name}, columns)


@pytest.fixture(scope="module")
def stockholm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("alignments") / "families.sto"
    path.write_text("".join(format_stockholm(family(rng, rows, f"RF9{rows:04d}")) for rows in (5, 9)))
    return path


def rows_of(path: Path, *, drawn: float, held_out: list[str] | None = None, window: int = 62) -> AlignedRows:
    return AlignedRows(path, held_out=held_out or [], drawn=drawn, window=window, seed=3)


def text(tokens: np.ndarray) -> str:
    return NUCLEOTIDE.decode(tokens)


def test_a_real_row_tells_its_columns_and_partners(stockholm: Path) -> None:
    rows = rows_of(stockholm, drawn=0.0)
    assert (len(rows), rows.families) == (14, 2)
    whole = rows.window(-2, 0, 22, 5)
    assert whole.partner_L.tolist() == [
        -1,
        -1,
        17,
        16,
        15,
        14,
        13,
        12,
        -1,
        -1,
        -1,
        -1,
        7,
        6,
        5,
        4,
        3,
        2,
        -1,
        -1,
        -1,
        -1,
    ]
    assert np.allclose(whole.profile_L4.sum(axis=1), 1, atol=1e-5)
    assert (whole.profile_L4[8:12].argmax(axis=1) == [2, 0, 0, 0]).all() and whole.profile_L4[8:12].max(
        axis=1
    ).min() > 0.8
    assert whole.profile_L4[2:8].max() < 0.9, "stems differ from row to row"
    gapped = rows.window(-1, 0, 21, 5)
    assert gapped.partner_L[15] == NO_PARTNER, "its partner is a gap in this row"
    assert gapped.partner_L[2] == 16 and len(gapped.tokens_L) == 21
    cut = rows.window(-2, 4, 12, 5)
    assert text(cut.tokens_L) == text(whole.tokens_L)[4:16]
    assert cut.partner_L.tolist() == [11, 10, 9, 8, -1, -1, -1, -1, 3, 2, 1, 0]
    assert rows.window(-2, 0, 10, 5).partner_L[2:8].tolist() == [UNTOLD] * 6, "partners beyond the cut"


def test_drawn_rows_keep_gaps_and_pairs(stockholm: Path) -> None:
    rows = rows_of(stockholm, drawn=1.0)
    new = [text(rows.window(-2, 0, 22, key).tokens_L) for key in range(200)]
    assert len(set(new)) > 150
    pairs = [sequence[i] + sequence[19 - i] for sequence in new for i in range(2, 8)]
    assert np.mean([pair in CANONICAL for pair in pairs]) > 0.9
    assert np.mean([sequence[8:12] == "GAAA" for sequence in new]) > 0.5
    again = rows_of(stockholm, drawn=1.0)
    assert [text(again.window(-2, 0, 22, key).tokens_L) for key in range(200)] == new


def test_rows_close_to_held_out_sequences_are_left_out(stockholm: Path) -> None:
    first = text(rows_of(stockholm, drawn=0.0).window(-2, 0, 22, 1).tokens_L)
    assert len(rows_of(stockholm, drawn=0.0, held_out=[first])) < 14
    every = [text(rows_of(stockholm, drawn=0.0).window(-1 - k, 0, 22, 1).tokens_L) for k in range(14)]
    with pytest.raises(InputError, match="no row is left"):
        rows_of(stockholm, drawn=0.0, held_out=every)


def test_an_epoch_has_its_share_of_rows(stockholm: Path) -> None:
    n = 400
    keys = np.arange(n, dtype=np.uint64)
    plan = plan_of(np.arange(n), np.full(n, 40), 62, keys)
    mixed = rows_of(stockholm, drawn=0.5, window=20).among(plan, 0.25, epoch=1)
    of_rows = mixed.sequences < 0
    assert mixed.lengths[of_rows].sum() / mixed.lengths.sum() == pytest.approx(0.25, abs=0.01)
    assert sorted(mixed.sequences[~of_rows]) == list(range(n)) and set(mixed.sequences[of_rows]) == {
        -k for k in range(1, 15)
    }
    small = np.isin(mixed.sequences[of_rows], [-1, -2, -3, -4, -5]).mean()
    assert small == pytest.approx(5**0.5 / (5**0.5 + 3), abs=0.1), "by the square root of a family's rows"
    assert len(set(mixed.keys[of_rows].tolist())) == of_rows.sum()


def test_a_batch_holds_what_its_letters_shall_tell(tiny: Tiny, stockholm: Path) -> None:
    config = tiny(
        f"targets.alignments={stockholm}",
        "targets.profile=1",
        "targets.partner=1",
        "targets.unpaired=1",
        "targets.folded=1",
    )
    feed = Feed(Corpus(Path(config.data.corpus)), config)
    batch = next(feed.steps(0, 0)).batches[0]
    targets = batch.targets
    assert (
        targets is not None
        and len(targets.aligned_A)
        and len(targets.folded_U) == np.isin(batch.tokens_BT, SPECIALS, invert=True).sum()
    )
    true = batch.tokens_BT.ravel().copy()
    true[batch.chosen_N] = batch.truth_N
    paired = targets.partner_A >= 0
    letters = true[torch.stack([targets.aligned_A[paired], targets.partner_A[paired]]).numpy()].T
    assert np.mean([text(pair) in CANONICAL for pair in letters]) > 0.85
    first = targets.folded_U[0]
    size = int((torch.diff(targets.folded_U) == 1).int().argmin()) + 1
    p_LL = pair_probabilities(text(true[first : first + size]))
    assert np.allclose(targets.unpaired_U[:size], 1 - p_LL.sum(axis=1), atol=1e-5)


def test_losses_are_what_they_say() -> None:
    torch.manual_seed(0)
    section = TargetSection(alignments="x", profile=0.5, partner=2.0, unpaired=1.0)
    heads = TargetHeads(8, section)
    tokens_BT = torch.from_numpy(NUCLEOTIDE.encode("GGGAAACCC").astype(np.int64))[None]
    x_BTD = torch.randn(1, 11, 8)
    none = torch.empty(0, dtype=torch.long)
    nothing = Targets(none, torch.empty(0, 4), none, none, torch.empty(0))
    assert heads(x_BTD, tokens_BT, None, nothing).tolist() == [0, 0, 0]
    told = Targets(torch.tensor([1, 5]), torch.full((2, 4), 0.25), torch.tensor([9, NO_PARTNER]), none, torch.empty(0))
    profile, partner, unpaired = heads(x_BTD, tokens_BT, None, told)
    assert unpaired == 0 and profile > np.log(4) - 1e-6
    form = heads.heads["partner"]
    score_T = (form["query"](x_BTD[0, [1, 5]]) @ form["key"](x_BTD[0]).T) / 8  # type: ignore[index]
    choices = [[*range(5, 10)], [1, 9]]
    expected = []
    for row, (place, allowed, right) in enumerate(zip([1, 5], choices, [4, 2], strict=True)):
        options = torch.cat([score_T[row, allowed], form["none"](x_BTD[0, place])])  # type: ignore[index]
        expected.append(-options.log_softmax(0)[right])
    assert torch.allclose(partner, torch.stack(expected).mean(), atol=1e-5)


def settings(stockholm: Path, *more: str) -> list[str]:
    terms = "targets.profile=1", "targets.partner=1", "targets.unpaired=1"
    return [f"targets.alignments={stockholm}", *terms, "targets.folded=0.5", "validation.every=0", *more]


def logged(folder: Path) -> list[dict[str, float]]:
    with open(folder / "metrics.csv", newline="") as handle:
        return [{term: float(row[f"{term}_loss"]) for term in TERMS} for row in csv.DictReader(handle)]


def test_a_run_learns_them_and_exports_an_encoder(tmp_path: Path, tiny: Tiny, stockholm: Path) -> None:
    trainer = EncoderTrainer(tiny(*settings(stockholm, "optim.steps=60", "log.every=20")), tmp_path)
    trainer.train()
    assert trainer.finished
    first, *_, last = logged(tmp_path)
    assert all(last[term] < first[term] for term in TERMS) and last["partner"] < 0.8 * first["partner"]
    card = export_run(tmp_path, tmp_path / "mine.safetensors")
    assert card.recipe["targets"]["alignments"] == "families.sto"
    encoder, _ = load_encoder(tmp_path / "mine.safetensors")
    assert encoder.state_dict().keys() == trainer.encoder.state_dict().keys()


@pytest.mark.parametrize("layout", ["pack", "bucket"])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, tiny: Tiny, stockholm: Path, layout: str) -> None:
    config = tiny(*settings(stockholm, "optim.steps=10", f"batch.layout={layout}"))
    whole = EncoderTrainer(config, tmp_path / "whole")
    whole.train()
    first = EncoderTrainer(config, tmp_path / "parts")
    steps = first._feed.steps

    def interrupting(epoch: int, done: int):  # type: ignore[no-untyped-def]
        for number, step in enumerate(steps(epoch, done), start=1):
            if number == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            yield step

    first._feed.steps = interrupting  # type: ignore[method-assign]
    first.train()
    assert first.state.step == 5
    second = EncoderTrainer(config, tmp_path / "parts")
    second.train()
    assert second.finished
    for a, b in zip(whole.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")


def test_terms_are_switched_one_by_one(tmp_path: Path, tiny: Tiny, stockholm: Path) -> None:
    config = tiny("targets.unpaired=1", "optim.steps=4", "log.every=4", "validation.every=0", "targets.folded=1")
    trainer = EncoderTrainer(config, tmp_path)
    trainer.train()
    assert trainer.finished
    (row,) = logged(tmp_path)
    assert row["unpaired"] > 0 and row["profile"] == row["partner"] == 0
    with pytest.raises(ConfigError, match=r"without targets\.profile"):
        EncoderTrainer(tiny(*settings(stockholm, "optim.steps=8")), tmp_path)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("targets.profile=1", "need targets.alignments"),
        ("targets.unpaired=-1", "must not be negative"),
        ("targets.share=1", "are shares"),
        ("targets.longest=4", "at least 16"),
    ],
)
def test_settings_that_cannot_be(tiny: Tiny, setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tiny(setting)


def test_what_is_no_longer_asked_for_stays_behind(tmp_path: Path, tiny: Tiny, stockholm: Path) -> None:
    sketch = "sketch.weight=1", "sketch.windows=50", "optim.steps=3"
    EncoderTrainer(tiny(*settings(stockholm, *sketch)), tmp_path).train()
    said: list[str] = []
    plain = EncoderTrainer(tiny("validation.every=0", "optim.steps=6"), tmp_path, report=said.append)
    plain.train()
    assert plain.finished and any("targets.profile" in line for line in said)
    assert len(plain.optimizer.state) == sum(len(group["params"]) for group in plain.optimizer.param_groups)
