"""Configuration of a pre-training run: frozen sections, the named recipes, and their commented TOML.

What stands beside each key is its description wherever it is shown.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from rnafm_cli.encoder.config import ENCODER_PRESETS, EncoderConfig
from rnafm_cli.errors import ConfigError
from rnafm_cli.training.recipes import OptimSection, key, recipe_from_dict

TERMS = ("profile", "partner", "unpaired")
"""What single letters may be asked for besides, each with a weight in :class:`TargetSection`."""


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """The encoder: a preset, and what differs from it."""

    preset: Literal["rnafm-mini", "rna-fm", "rnafm-tiny"] = key(
        "rnafm-mini", "Named shape: rnafm-mini, rna-fm, rnafm-tiny."
    )
    layers: int | None = key(None, "Transformer layers, if not the preset's.")
    width: int | None = key(None, "Width of the representations, if not the preset's.")
    heads: int | None = key(None, "Attention heads, if not the preset's.")
    ffn: int | None = key(None, "Width of the feed-forward layers, if not the preset's.")
    positions: Literal["learned", "rotary"] | None = key(
        None, "Position encoding (learned or rotary), if not the preset's."
    )
    max_tokens: int | None = key(None, "Longest input of the finished model with <cls> and <eos>, if not the preset's.")
    init: str | None = key(None, "Model of the same shape to go on from, by name or file; random weights without it.")

    def encoder(self) -> EncoderConfig:
        """The shape that results."""
        own = {
            name: value for name, value in vars(self).items() if value is not None and name not in ("preset", "init")
        }
        return dataclasses.replace(ENCODER_PRESETS[self.preset], **own)


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Where the corpus is and how it is cut."""

    corpus: str = key("corpus", "Folder written by 'rnafm pretrain prepare'.")
    crop: int = key(
        256,
        "Longest training window in tokens, <cls> and <eos> included; longer sequences are cropped at random places.",
    )


@dataclass(frozen=True, kw_only=True)
class MaskSection:
    """What is predicted: of these letters 80 % are shown as <mask>, 10 % as a random base, 10 % as they are."""

    share: float = key(0.15, "Share of letters to predict while training; held-out parts are always asked for 15 %.")


@dataclass(frozen=True, kw_only=True)
class SamplingSection:
    """How often each RNA type is seen."""

    exponent: float = key(
        0.5, "A type's share of tokens is its size to this power: 1 is the corpus as it is, 0 every type the same."
    )


@dataclass(frozen=True, kw_only=True)
class SketchSection:
    """Sketches: mean representations shall hold what stands near both ends of an RNA, its 5-mers and its length."""

    weight: float = key(0.0, "Weight of that loss beside the masked-token loss; 0 does without, as the paper does.")
    windows: int = key(12000, "Windows to which the axes of the sketches are fitted before the first step.")


@dataclass(frozen=True, kw_only=True)
class TargetSection:
    """Targets of single letters beside the masked ones: from alignments of families and from ViennaRNA."""

    alignments: str | None = key(
        None, "Stockholm file (plain or compressed) of families whose rows are shown among the windows of the corpus."
    )
    share: float = key(0.25, "Share of the nucleotides shown that are of these rows.")
    drawn: float = key(0.6, "Of these rows, the share drawn anew from the family's profile, paired letters together.")
    profile: float = key(0.0, "Weight of the letters that stand in the column of each letter of a row.")
    partner: float = key(0.0, "Weight of each letter's partner, or none, in the consensus structure.")
    unpaired: float = key(
        0.0, "Weight of the probability that a letter is unpaired, by ViennaRNA, computed as windows are drawn."
    )
    folded: float = key(0.15, "Share of the windows for which it is computed.")
    longest: int = key(200, "Longest window for which it is computed, in nucleotides.")

    @property
    def on(self) -> bool:
        """Whether there is any."""
        return bool(self.alignments or self.unpaired)


@dataclass(frozen=True, kw_only=True)
class BatchSection:
    """Tokens per micro-batch and per step."""

    tokens: int = key(8192, "Tokens of one forward pass (rows x width).")
    micro_batches: int = key(
        2, "Micro-batches per optimiser step over all processes: accumulation steps = this / number of processes."
    )
    layout: Literal["pack", "bucket"] = key(
        "pack",
        "pack: several short RNAs share a row of `crop` tokens and cannot see each other; bucket: one "
        "RNA a row, rows of similar length.",
    )

    def micro_batches_each(self, processes: int) -> int:
        """Micro-batches of each of some processes in a step."""
        if self.micro_batches % processes:
            raise ConfigError(
                f"batch.micro_batches {self.micro_batches} is not a multiple of the {processes} processes",
                hint="micro_batches = processes x accumulation steps",
            )
        return self.micro_batches // processes


@dataclass(frozen=True, kw_only=True)
class ValidationSection:
    """Loss on the held-out parts while training."""

    every: int = key(500, "Steps between validations; 0 never validates.")
    sequences: int = key(512, "Sequences of each held-out part that are used.")


@dataclass(frozen=True, kw_only=True)
class CheckpointSection:
    """When the state is saved; it is also saved at the end and on Ctrl-C, SIGTERM and SIGUSR1."""

    every_steps: int = key(0, "Steps between checkpoints; 0 goes by time alone.")
    every_minutes: float = key(10.0, "Minutes between checkpoints; 0 goes by steps alone.")
    keep: int = key(3, "Newest checkpoints kept.")


@dataclass(frozen=True, kw_only=True)
class LogSection:
    """What is written while training."""

    every: int = key(10, "Steps between rows of metrics.csv.")


@dataclass(frozen=True, kw_only=True)
class PretrainRun:
    """Seed and machine."""

    seed: int = key(0, "Seeds weights, order, crops and masks.")
    precision: Literal["bf16", "fp32"] = key(
        "bf16", "bf16 or fp32: arithmetic of the matrix products (weights and optimiser stay float32)."
    )
    compile: bool = key(False, "torch.compile the encoder: faster after a minute or more of compiling.")
    threads: int = key(0, "CPU threads per process; 0 leaves PyTorch's choice.")
    device: Literal["auto", "cpu", "cuda"] = key(
        "auto", "Where to train: cpu, cuda, or auto, which takes a GPU if there is one."
    )
    fsdp: bool = key(False, "Shard parameters and optimiser over the processes (FSDP2) instead of copying them (DDP).")
    timeout_minutes: float = key(
        15.0, "A process that has waited this long for the others fails, and the launcher starts all of them again."
    )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training run."""

    model: ModelSection = field(default_factory=ModelSection)
    data: DataSection = field(default_factory=DataSection)
    mask: MaskSection = field(default_factory=MaskSection)
    sampling: SamplingSection = field(default_factory=SamplingSection)
    sketch: SketchSection = field(default_factory=SketchSection)
    targets: TargetSection = field(default_factory=TargetSection)
    batch: BatchSection = field(default_factory=BatchSection)
    optim: OptimSection = field(default_factory=OptimSection)
    validation: ValidationSection = field(default_factory=ValidationSection)
    checkpoint: CheckpointSection = field(default_factory=CheckpointSection)
    log: LogSection = field(default_factory=LogSection)
    run: PretrainRun = field(default_factory=PretrainRun)

    def __post_init__(self) -> None:
        longest, crop, batch = self.model.encoder().max_tokens, self.data.crop, self.batch
        sketch, targets, optim = self.sketch, self.targets, self.optim
        shares = 0 < targets.share < 1 and 0 <= targets.drawn <= 1 and 0 < targets.folded <= 1
        mistakes = {
            f"data.crop {crop} is more than the model's {longest} tokens": crop > longest,
            f"data.crop {crop} leaves no room for an RNA of 16 nucleotides": crop < 18,
            f"batch.tokens {batch.tokens} is less than data.crop {crop}": batch.tokens < crop,
            "sketch.weight must not be negative and sketch.windows at least 2": sketch.weight < 0 or sketch.windows < 2,
            "the weights of targets must not be negative and targets.longest at least 16": (
                min(targets.profile, targets.partner, targets.unpaired) < 0 or targets.longest < 16
            ),
            f"mask.share {self.mask.share} must lie between 0 and 1": not 0 < self.mask.share < 1,
            "targets.share, targets.drawn and targets.folded are shares, 0 to 1": not shares,
            "targets.profile and targets.partner need targets.alignments, a Stockholm file as Rfam has them": (
                bool(targets.profile or targets.partner) and not targets.alignments
            ),
            "batch.micro_batches and optim.steps must be at least 1": batch.micro_batches < 1 or optim.steps < 1,
            "log.every must be at least 1 and run.seed not negative": self.log.every < 1 or self.run.seed < 0,
            f"optim.warmup {optim.warmup} must be less than optim.steps {optim.steps}": optim.warmup >= optim.steps,
            f"optim.cooldown {optim.cooldown} is a share, 0 to 1": not 0 <= optim.cooldown <= 1,
        }
        for mistake, is_made in mistakes.items():
            if is_made:
                raise ConfigError(mistake)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values; keys that are None are left out."""
        return {
            section: {key: value for key, value in values.items() if value is not None}
            for section, values in dataclasses.asdict(self).items()
        }


RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    # Chen et al. 2022, section 2.1: 1,024 tokens, base rate 1e-4, inverse square root after 10,000 warm-up steps,
    # weight decay 0.01. Batch and number of steps are not published; docs/pretraining.md gives the arithmetic.
    "rna-fm": {
        "model": {"preset": "rna-fm"},
        "data": {"crop": 1024},
        "sampling": {"exponent": 1.0},
        "batch": {"tokens": 32768, "micro_batches": 16, "layout": "bucket"},
        "optim": {"rate": 1e-4, "schedule": "inverse-sqrt", "warmup": 10000, "steps": 300000},
        "validation": {"every": 2000, "sequences": 2000},
        "checkpoint": {"every_minutes": 30.0, "keep": 3},
        "run": {"compile": True},
    },
    # Sketches as in parts 3 to 5 of the shipped encoder's training; its card has all of it.
    "rnafm-mini": {
        "model": {"preset": "rnafm-mini"},
        "data": {"crop": 512},
        "sampling": {"exponent": 0.35},
        "sketch": {"weight": 2.0},
        "optim": {"rate": 1.5e-3, "schedule": "trapezoid", "warmup": 60, "steps": 1300, "cooldown": 0.3},
        "validation": {"every": 300, "sequences": 256},
        "checkpoint": {"every_minutes": 5.0},
    },
    "rnafm-tiny": {
        "model": {"preset": "rnafm-tiny"},
        "data": {"crop": 128},
        "batch": {"tokens": 2048, "micro_batches": 2},
        "optim": {"warmup": 20, "steps": 200},
        "validation": {"every": 50, "sequences": 64},
    },
}


def recipe(name: str) -> PretrainConfig:
    """The configuration called ``name``, one of ``RECIPES``."""
    return recipe_from_dict(PretrainConfig, RECIPES[name], where=name)


def commented_toml(config: PretrainConfig) -> str:
    """TOML text of a configuration: every key, each under a comment that says what it means."""
    lines = [f"# Pre-training of {config.model.preset}; run it with: rnafm pretrain run --config THIS.toml -o RUN"]
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        lines += ["", f"# {inspect.getdoc(values)}", f"[{section.name}]"]
        for key_field in dataclasses.fields(values):
            name, value = key_field.name, getattr(values, key_field.name)
            # TOML has no null: a key that is not set stands as a comment.
            setting = f"# {name} =" if value is None else f"{name} = {json.dumps(value)}"
            lines += [f"# {key_field.metadata['meaning']}", setting]
    return "\n".join(lines) + "\n"
