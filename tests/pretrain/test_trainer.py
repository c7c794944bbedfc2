from __future__ import annotations

import csv
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.errors import ConfigError, InputError, RnafmError
from rnafm_cli.pretrain.batches import Feed
from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.pretrain.export import export_run
from rnafm_cli.pretrain.shards import Corpus
from rnafm_cli.pretrain.trainer import EncoderTrainer
from rnafm_cli.training.recipes import recipe_from_dict
from rnafm_cli.training.run_log import CsvLog

Tiny = Callable[..., PretrainConfig]
TIMINGS = {"tokens_per_s", "seconds", "memory_mb"}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as handle:
        return [{key: value for key, value in row.items() if key not in TIMINGS} for row in csv.DictReader(handle)]


def weights(trainer: EncoderTrainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.encoder.state_dict().items()}


def trained(trainer: EncoderTrainer) -> int:
    trainer.train()
    return trainer.state.step


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """An uninterrupted run of 8 steps."""
    folder = tmp_path_factory.mktemp("straight")
    config = recipe_from_dict(
        PretrainConfig,
        {
            "model": {"preset": "rnafm-tiny"},
            "data": {"corpus": str(corpus_folder), "crop": 64},
            "batch": {"tokens": 512, "micro_batches": 2},
            "optim": {"rate": 3e-3, "warmup": 2, "steps": 8},
            "validation": {"every": 4, "sequences": 10},
            "checkpoint": {"every_minutes": 0.0, "every_steps": 3},
            "log": {"every": 2},
            "run": {"device": "cpu", "threads": 1},
        },
    )
    trainer = EncoderTrainer(config, folder)
    trainer.train()
    assert trainer.finished
    return folder, weights(trainer)


def test_the_share_of_letters_to_predict(tiny: Tiny) -> None:
    config = tiny("mask.share=0.4")
    (batch, _) = next(Feed(Corpus(Path(config.data.corpus)), config).steps(0, 0)).batches
    assert len(batch.truth_N) / batch.real_tokens == pytest.approx(0.4, abs=0.08)


def test_tensorboard_sees_what_the_tables_hold(straight: tuple[Path, dict[str, torch.Tensor]]) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(straight[0] / "tensorboard")).Reload()
    seen = [(str(one.step), f"{one.value:.4f}") for one in events.Scalars("train/loss")]
    assert seen == [(row["step"], f"{float(row['loss']):.4f}") for row in rows(straight[0] / "metrics.csv")]
    assert [one.step for one in events.Scalars("valid_random/perplexity")] == [4, 8]


def test_a_run_learns_and_leaves_its_files(tmp_path: Path, tiny: Tiny) -> None:
    trainer = EncoderTrainer(tiny("optim.steps=40", "validation.every=20", "log.every=4"), tmp_path)
    assert trainer.train() is None and trainer.finished and trainer.state.step == 40
    losses = [float(row["loss"]) for row in rows(tmp_path / "metrics.csv")]
    assert losses[-1] < losses[0] - 0.5
    parts = [(row["step"], row["part"]) for row in rows(tmp_path / "validation.csv")]
    assert parts == [("20", "random"), ("20", "group"), ("40", "random"), ("40", "group")]
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["torch"] == torch.__version__ and facts["config"]["optim"]["steps"] == 40
    assert abs(sum(facts["type_shares"].values()) - 1) < 1e-3
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000040.pt"]


@pytest.mark.parametrize("layout", ["pack", "bucket"])
def test_means_come_to_hold_sketches(tmp_path: Path, tiny: Tiny, layout: str) -> None:
    held = {}
    for weight in ("10", "1e-9", "0"):
        settings = "optim.steps=60", "log.every=20", "validation.every=0", f"batch.layout={layout}"
        settings = *settings, f"sketch.weight={weight}", "sketch.windows=200"
        trainer = EncoderTrainer(tiny(*settings), tmp_path / weight)
        trainer.train()
        assert trainer.finished
        held[weight] = [float(row["sketch_loss"]) for row in rows(tmp_path / weight / "metrics.csv")]
    assert held["10"][-1] < 0.9 * held["1e-9"][-1]
    assert held["0"] == [0, 0, 0]


@pytest.mark.parametrize(
    "special",
    [["batch.layout=pack"], ["batch.layout=bucket"], ["sketch.weight=1", "sketch.windows=50"]],
    ids=["pack", "bucket", "sketch"],
)
def test_a_run_stopped_by_a_signal_goes_on_bit_for_bit(tmp_path: Path, tiny: Tiny, special: list[str]) -> None:
    settings = *special, "optim.steps=10"
    whole = EncoderTrainer(tiny(*settings), tmp_path / "whole")
    whole.train()
    first = EncoderTrainer(tiny(*settings), tmp_path / "parts")
    # The signal comes in the middle of a step and of a row of metrics.
    steps = first._feed.steps

    def interrupting(epoch: int, done: int):  # type: ignore[no-untyped-def]
        for number, step in enumerate(steps(epoch, done), start=1):
            if number == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            yield step

    first._feed.steps = interrupting  # type: ignore[method-assign]
    assert first.train() == signal.SIGTERM and (first.state.step, first.finished) == (5, False)
    second = EncoderTrainer(tiny(*settings), tmp_path / "parts")
    assert second.state.step == 5
    second.train()
    assert second.finished
    assert same(weights(whole), weights(second))
    for name in ("metrics.csv", "validation.csv"):
        assert rows(tmp_path / "whole" / name) == rows(tmp_path / "parts" / name)


def test_rows_after_the_checkpoint_are_written_again(
    tmp_path: Path, tiny: Tiny, straight: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    """What kill -9 leaves: rows and a checkpoint that is older than they are, and half a row."""
    EncoderTrainer(tiny("optim.steps=8", "checkpoint.every_steps=3"), tmp_path).train()
    (tmp_path / "checkpoints" / "step-00000008.pt").unlink()
    with open(tmp_path / "metrics.csv", "a") as handle:
        handle.write("10,0,99")
    again = EncoderTrainer(tiny("optim.steps=8", "checkpoint.every_steps=3"), tmp_path)
    assert again.state.step == 6
    again.train()
    assert same(weights(again), straight[1])
    assert rows(tmp_path / "metrics.csv") == rows(straight[0] / "metrics.csv")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_torn_checkpoint_is_passed_over(
    tmp_path: Path, tiny: Tiny, straight: tuple[Path, dict[str, torch.Tensor]], damage: str
) -> None:
    EncoderTrainer(tiny("checkpoint.every_steps=3"), tmp_path).train()
    newest = tmp_path / "checkpoints" / "step-00000008.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"flip": content, "cut": content[: len(content) // 2], "empty": b""}[damage])
    said: list[str] = []
    again = EncoderTrainer(tiny("checkpoint.every_steps=3"), tmp_path, report=said.append)
    assert again.state.step == 6
    assert any("torn checkpoint" in line and "step-00000008" in line for line in said)
    again.train()
    assert same(weights(again), straight[1])


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path, tiny: Tiny) -> None:
    EncoderTrainer(tiny("checkpoint.every_steps=2", "checkpoint.keep=2", "validation.every=0"), tmp_path).train()
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000006.pt", "step-00000008.pt"]


def test_time_limit_stops_cleanly(tmp_path: Path, tiny: Tiny) -> None:
    trainer = EncoderTrainer(tiny("optim.steps=100000"), tmp_path, max_minutes=1e-9)
    assert trainer.train() is None and not trainer.finished and trainer.state.step == 1
    assert (tmp_path / "checkpoints" / "step-00000001.pt").exists()


def test_losses_that_are_not_finite_stop_the_run(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny("checkpoint.every_steps=1", "validation.every=0")
    trainer = EncoderTrainer(config, tmp_path)
    good = weights(trainer)
    with torch.no_grad():
        trainer.encoder.embed.weight[5, 0] = float("nan")
    broken = weights(trainer)
    with pytest.raises(RnafmError, match="5 steps in a row without a finite loss") as caught:
        trainer.train()
    assert caught.value.exit_code == 1
    # Not one update was made, so nothing spread.
    unchanged = [name for name in good if torch.equal(broken[name].nan_to_num(9), weights(trainer)[name].nan_to_num(9))]
    assert len(unchanged) == len(good)


def test_no_checkpoint_is_written_while_the_loss_is_not_finite(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny("checkpoint.every_steps=1", "validation.every=0", "optim.steps=4")
    EncoderTrainer(config, tmp_path).train()
    longer = tiny("checkpoint.every_steps=1", "validation.every=0", "optim.steps=9")
    trainer = EncoderTrainer(longer, tmp_path)
    with torch.no_grad():
        trainer.encoder.embed.weight[5, 0] = float("nan")
    with pytest.raises(RnafmError, match="step-00000004"):
        trainer.train()
    assert max(path.name for path in (tmp_path / "checkpoints").glob("step-*")) == "step-00000004.pt"


def test_resume_never_refuses_an_old_run(tmp_path: Path, tiny: Tiny) -> None:
    EncoderTrainer(tiny("optim.steps=3", "validation.every=0"), tmp_path).train()
    with pytest.raises(ConfigError, match="step-00000003.pt is there already"):
        EncoderTrainer(tiny(), tmp_path, resume="never")


def test_resume_from_a_named_checkpoint(tmp_path: Path, tiny: Tiny) -> None:
    EncoderTrainer(tiny("checkpoint.every_steps=3"), tmp_path / "a").train()
    fork = EncoderTrainer(
        tiny("checkpoint.every_steps=3"), tmp_path / "b", resume=str(tmp_path / "a/checkpoints/step-00000003.pt")
    )
    assert fork.state.step == 3
    with pytest.raises(ConfigError, match="cannot be read"):
        EncoderTrainer(tiny(), tmp_path / "c", resume=str(tmp_path))


def test_a_run_that_names_its_start_starts_there_once(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny("checkpoint.every_steps=3", "validation.every=0")
    EncoderTrainer(config, tmp_path / "a").train()
    start = str(tmp_path / "a/checkpoints/step-00000003.pt")
    EncoderTrainer(tiny("optim.steps=5", "validation.every=0"), tmp_path / "b", resume=start).train()
    assert EncoderTrainer(config, tmp_path / "b", resume=start).state.step == 5
    Path(start).unlink()
    again = EncoderTrainer(config, tmp_path / "b", resume=start)
    again.train()
    assert again.state.step == 8
    assert EncoderTrainer(config, tmp_path / "b").state.step == 8
    with pytest.raises(ConfigError, match="step-00000008.pt is there already"):
        EncoderTrainer(config, tmp_path / "b", resume=str(tmp_path / "a/checkpoints/step-00000006.pt"))


def test_a_folder_that_has_gone_on_does_not_go_back(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny("checkpoint.every_steps=2", "validation.every=0", "checkpoint.keep=9")
    EncoderTrainer(config, tmp_path).train()
    older, newest = (tmp_path / "checkpoints" / f"step-0000000{step}.pt" for step in (4, 8))
    with pytest.raises(ConfigError, match="step-00000008.pt is there already"):
        EncoderTrainer(config, tmp_path, resume=str(older))
    assert EncoderTrainer(config, tmp_path, resume=str(newest)).state.step == 8


def test_changed_settings_of_the_optimiser_apply_after_resuming(tmp_path: Path, tiny: Tiny) -> None:
    EncoderTrainer(tiny("optim.steps=3", "validation.every=0"), tmp_path).train()
    changed = EncoderTrainer(tiny("optim.weight_decay=0.5", "optim.beta2=0.9", "optim.eps=1e-3"), tmp_path)
    groups = changed.optimizer.param_groups
    assert sorted(group["weight_decay"] for group in groups) == [0.0, 0.5]
    assert all(group["betas"][1] == 0.9 and group["eps"] == 1e-3 for group in groups)
    assert len(changed.optimizer.state) == sum(len(group["params"]) for group in groups), "moments are taken over"


def test_sketches_cannot_begin_in_the_middle_of_a_run(tmp_path: Path, tiny: Tiny) -> None:
    EncoderTrainer(tiny("optim.steps=3", "validation.every=0"), tmp_path).train()
    with pytest.raises(ConfigError, match="was trained without sketch.weight"):
        EncoderTrainer(tiny("sketch.weight=1.0", "sketch.windows=100"), tmp_path)


def test_every_step_is_whole_after_a_change_of_micro_batches(tiny: Tiny, corpus_folder: Path) -> None:
    corpus = Corpus(corpus_folder)
    one = Feed(corpus, tiny("batch.micro_batches=1"))
    count = one.steps_per_epoch()
    for size in (2, 3, 4):
        config = tiny(f"batch.micro_batches={size}")
        for done in range(count - size, count):
            steps = Feed(corpus, config).steps(0, done)
            for _ in range(2):
                assert len(next(steps).batches) == size
            steps.close()


def test_a_log_of_an_older_version_is_kept(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("step,loss,old\n1,0.5,x\n2,0.4,y\n3,0.3,z\n4,0.2")
    log = CsvLog(tmp_path / "m.csv", ("step", "loss", "sketch_loss"), 2)
    log.add({"step": 3, "loss": 0.25, "sketch_loss": 0.125})
    assert (tmp_path / "m.csv").read_text().split() == [
        "step,loss,sketch_loss,old",
        "1,0.5,,x",
        "2,0.4,,y",
        "3,0.25,0.125,",
    ]


def test_another_model_or_corpus_is_refused(tmp_path: Path, tiny: Tiny, corpus_folder: Path) -> None:
    EncoderTrainer(tiny("optim.steps=3", "validation.every=0"), tmp_path / "run").train()
    with pytest.raises(ConfigError, match="another shape"):
        EncoderTrainer(tiny("model.layers=3"), tmp_path / "run")
    from corpora import family_fasta

    from rnafm_cli.pretrain.holdout import HoldoutRules
    from rnafm_cli.pretrain.prepare import prepare_corpus

    other = HoldoutRules(sequences=5, groups=0)
    prepare_corpus([family_fasta(tmp_path / "x.fa", seed=9)], tmp_path / "other", other)
    with pytest.raises(ConfigError, match="another corpus"):
        EncoderTrainer(tiny(f"data.corpus={tmp_path / 'other'}"), tmp_path / "run")


def test_a_run_goes_on_from_a_model(tmp_path: Path, tiny: Tiny) -> None:
    EncoderTrainer(tiny("optim.steps=3", "validation.every=0"), tmp_path / "first").train()
    export_run(tmp_path / "first", tmp_path / "first.safetensors", dtype="float32")
    settings = f"model.init={tmp_path / 'first.safetensors'}", "optim.steps=4", "validation.every=0"
    second = EncoderTrainer(tiny(*settings), tmp_path / "second")
    first = load_encoder(tmp_path / "first.safetensors")[0]
    assert same(first.state_dict(), second.encoder.state_dict())
    second.train()
    assert not same(first.state_dict(), second.encoder.state_dict())
    card = export_run(tmp_path / "second", tmp_path / "second.safetensors")
    assert card.recipe["model"]["init"] == "first.safetensors"
    # Resuming needs the checkpoint alone.
    (tmp_path / "first.safetensors").unlink()
    assert EncoderTrainer(tiny(*settings), tmp_path / "second").state.step == 4


def test_a_model_of_another_shape_is_no_start(tmp_path: Path, tiny: Tiny) -> None:
    EncoderTrainer(tiny("optim.steps=3", "validation.every=0"), tmp_path / "first").train()
    export_run(tmp_path / "first", tmp_path / "first.safetensors")
    with pytest.raises(ConfigError, match="layers 2 instead of 3"):
        EncoderTrainer(tiny(f"model.init={tmp_path / 'first.safetensors'}", "model.layers=3"), tmp_path / "second")


def test_a_changed_shard_is_refused(tmp_path: Path, tiny: Tiny, corpus_folder: Path) -> None:
    import shutil

    copy = tmp_path / "corpus"
    shutil.copytree(corpus_folder, copy)
    shard = copy / "shard_00001.tokens.bin"
    content = bytearray(shard.read_bytes())
    content[7] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match="shard_00001.tokens.bin: changed after"):
        EncoderTrainer(tiny(f"data.corpus={copy}"), tmp_path / "run")


def test_runs_outside_the_main_thread_work(tmp_path: Path, tiny: Tiny) -> None:
    steps: list[int] = []
    thread = threading.Thread(
        target=lambda: steps.append(trained(EncoderTrainer(tiny("optim.steps=3", "validation.every=0"), tmp_path)))
    )
    thread.start()
    thread.join()
    assert steps == [3]
