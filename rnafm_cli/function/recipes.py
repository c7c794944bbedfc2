"""The recipes of the RBP and MRL heads: frozen dataclasses that TOML files fill."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from rnafm_cli.errors import ConfigError
from rnafm_cli.training.recipe_files import OptimSection

__all__ = ["BindingRecipe", "FunctionData", "FunctionOptim", "FunctionRun", "LoadRecipe", "Recipe"]


@dataclass(frozen=True, kw_only=True)
class FunctionData:
    """Which rows are trained on and how often each is shown."""

    dev_share: float = 0.1
    """Share of a set without a split that is held out, by groups of rows that share a 20-mer."""
    filter_leaks: bool = True
    """Leave out training rows that share a 30-mer with any development row."""
    set_power: float = 0.5
    """Rows of a set of n are shown (largest / n) to this power times in a round."""
    drop_embedding: float = 0.1
    """Share of encoded rows that are shown without embeddings."""
    seed: int = 0
    """Of the split and of the choice of rows."""


@dataclass(frozen=True, kw_only=True)
class BindingData(FunctionData):
    """The same for RBP sets, with what is computed for only some of the rows."""

    embedded: float = 0.4
    """Share of the rows that are encoded; the others are shown without embeddings. The encoder takes most of the
    time; with ``run.encoder = "full"`` all rows are encoded, at every step."""
    structured: int = 0
    """Rows whose pairing ViennaRNA computes, over all sets."""
    drop_structure: float = 0.3
    """Share of rows with known pairing that are shown without it."""
    balance: float = 0.0
    """How far the rarer label is made up for: a bound row weighs (unbound / bound) to this power; calibration undoes
    what that does to probabilities."""


@dataclass(frozen=True, kw_only=True)
class FunctionOptim:
    """AdamW, a warm-up, a constant rate, a linear end, and a running mean of the weights."""

    rate: float = 4e-3
    encoder_rate: float = 3e-5
    """Rate of the encoder's weights when they are trained too."""
    epochs: float = 6.0
    """Rounds over all rows."""
    batch: int = 256
    warmup: int = 200
    cooldown: float = 0.6
    """Share of the steps over which the rate falls to ``final_rate`` times itself."""
    final_rate: float = 0.01
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip: float = 1.0
    average: float = 0.999
    """Decay of the running mean; what is measured and saved is the mean."""
    seed: int = 0

    def schedule(self, steps: int) -> OptimSection:
        """The same as a section of the pre-trainer's, whose schedule is used."""
        return OptimSection(
            rate=self.rate,
            schedule="trapezoid",
            warmup=min(self.warmup, max(steps // 5, 1)),
            steps=steps,
            cooldown=self.cooldown,
            final_rate=self.final_rate,
        )


@dataclass(frozen=True, kw_only=True)
class FunctionRun:
    """Measuring, saving and stopping; nothing here changes what is learned."""

    encoder: Literal["frozen", "full"] = "frozen"
    bf16: bool = True
    log_steps: int = 50
    save_minutes: float = 5.0
    score_epochs: float = 1.0
    """Rounds between measurements on the development rows."""
    score_rows: int = 1500
    """Development rows of each set that are measured and calibrated on, drawn once; 0 for all."""


@dataclass(frozen=True, kw_only=True)
class BindingShape:
    """Size of the RBP head."""

    channels: int = 96
    kernel: int = 9
    block_kernel: int = 5
    blocks: int = 2
    reduced: int = 24
    dropout: float = 0.25


@dataclass(frozen=True, kw_only=True)
class LoadShape:
    """Size of the MRL head."""

    architecture: Literal["frames", "cnn", "residual"] = "frames"
    letters: bool = True
    channels: int = 64
    reduced: int = 32
    members: int = 3
    dropout: float = 0.2


@dataclass(frozen=True, kw_only=True)
class LoadOptim(FunctionOptim):
    """The same with what suits a smaller data set."""

    rate: float = 3e-3
    epochs: float = 8.0
    batch: int = 128
    warmup: int = 100


class _Sections:
    """What both recipes do with their sections."""

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]


@dataclass(frozen=True, kw_only=True)
class BindingRecipe(_Sections):
    """A whole recipe of an RBP head."""

    head: BindingShape = field(default_factory=BindingShape)
    data: BindingData = field(default_factory=BindingData)
    optim: FunctionOptim = field(default_factory=FunctionOptim)
    run: FunctionRun = field(default_factory=FunctionRun)

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True)
class LoadRecipe(_Sections):
    """A whole recipe of an MRL head."""

    head: LoadShape = field(default_factory=LoadShape)
    data: FunctionData = field(default_factory=FunctionData)
    optim: LoadOptim = field(default_factory=LoadOptim)
    run: FunctionRun = field(default_factory=FunctionRun)

    def __post_init__(self) -> None:
        _check(self)


Recipe = BindingRecipe | LoadRecipe


def _check(recipe: Recipe) -> None:
    if recipe.optim.epochs <= 0 or recipe.optim.batch < 2:
        raise ConfigError("optim.epochs must be positive and optim.batch at least 2")
    if recipe.run.log_steps < 1:
        raise ConfigError("run.log_steps must be at least 1")
    if not 0 < recipe.data.dev_share < 1:
        raise ConfigError(f"data.dev_share {recipe.data.dev_share} is a share, between 0 and 1")
