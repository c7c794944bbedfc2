"""The recipe of a fold head: frozen dataclasses, read from TOML, unknown keys refused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rnafm_cli.errors import ConfigError
from rnafm_cli.training.recipe_files import load_recipe, recipe_from_dict

__all__ = ["FoldConfig", "load_fold_config"]


@dataclass(frozen=True, kw_only=True)
class HeadSection:
    """Size of the pair head, and the energies behind its prior."""

    width: int = 64
    mixer_width: int = 144
    mixer_layers: int = 3
    """Transformer layers over the bases; 0 for none."""
    channels: int = 64
    blocks: int = 8
    heads: int = 16
    fine: int = 16
    axial_every: int = 4
    dropout: float = 0.1
    parameters: tuple[str, ...] = ("andronescu2007", "langdon2018")
    """Energy parameters behind the prior: the mean of ViennaRNA's pair probabilities over them."""


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """What is trained on and how it is kept apart from the development sets."""

    max_length: int = 500
    dev_share: float = 0.1
    """Share of records held out by clusters when no development file is given."""
    hold_families: bool = True
    """Keep the project's list of held-out Rfam families out of training."""
    noncanonical: Literal["pair", "unpaired", "ignore"] = "pair"
    """What pairs other than AU, GC, GU count as in the loss."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SamplingSection:
    """How often each RNA is drawn, and how batches are cut."""

    pair_budget: int = 30_000
    most: int = 64
    group_power: float = 0.5
    length_power: float = 1.0
    length_knee: int = 200
    round_size: int = 2048


@dataclass(frozen=True, kw_only=True)
class VariationSection:
    """What is changed or withheld at random."""

    drop_embedding: float = 0.15
    drop_sequence: float = 0.1
    drop_prior: float = 0.2
    mutate: float = 0.3
    """Share of RNAs whose sequence is changed so that the structure still holds."""
    mutate_rate: float = 0.5
    """Highest share of bases that change in such an RNA."""
    mutate_longest: int = 160
    """Longer ones are left as they are: their prior takes too long to compute anew."""


@dataclass(frozen=True, kw_only=True)
class OptimSection:
    """AdamW, a warm-up, a constant rate, a linear end, and a running mean of the weights."""

    rate: float = 2e-3
    encoder_rate: float = 3e-5
    """Rate of the encoder's weights when they are trained too."""
    steps: int = 10_000
    warmup: int = 300
    cooldown: float = 0.3
    """Share of the steps over which the rate falls to ``final_rate`` times itself."""
    final_rate: float = 0.02
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip: float = 1.0
    average: float = 0.9995
    """Decay of the running mean; what is measured and saved is the mean."""
    label_smoothing: float = 0.0
    teacher_share: float = 0.8
    """Share of the loss that a teacher takes, when there is one."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """Measuring, saving and stopping; nothing here changes what is learned."""

    encoder: Literal["frozen", "full"] = "frozen"
    bf16: bool = True
    log_steps: int = 20
    save_minutes: float = 5.0
    score_minutes: float = 12.0
    score_steps: int = 0
    """Measure every so many steps instead of minutes; 0 for minutes."""
    score_records: int = 300
    """Records of each development set, drawn once."""
    score_longest: int = 300
    patience: int = 0
    """Stop after so many measurements without a better one; 0 for never."""


@dataclass(frozen=True, kw_only=True)
class FoldConfig:
    """A whole recipe."""

    head: HeadSection = field(default_factory=HeadSection)
    data: DataSection = field(default_factory=DataSection)
    sampling: SamplingSection = field(default_factory=SamplingSection)
    variation: VariationSection = field(default_factory=VariationSection)
    optim: OptimSection = field(default_factory=OptimSection)
    run: RunSection = field(default_factory=RunSection)

    def __post_init__(self) -> None:
        if self.run.log_steps < 1 or self.optim.steps < 1:
            raise ConfigError("run.log_steps and optim.steps must be at least 1")

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, where: str = "configuration") -> FoldConfig:
        """Build from nested plain values, refusing unknown keys and wrong types."""
        return recipe_from_dict(cls, values, where=where)

    def rate_factor(self, step: int) -> float:
        """Share of the full rate at a step (from 0)."""
        optim = self.optim
        length = max(1.0, optim.cooldown * optim.steps)
        falling = min(1.0, max(0.0, optim.steps - step) / length) if optim.cooldown else 1.0
        falling = optim.final_rate + (1 - optim.final_rate) * falling
        return min(1.0, (step + 1) / max(1, optim.warmup)) * falling


def load_fold_config(path: Path | None, overrides: list[str] | None = None) -> FoldConfig:
    """Read a TOML recipe (the defaults if None); see :func:`rnafm_cli.training.recipe_files.load_recipe`."""
    return load_recipe(FoldConfig, path, overrides)
