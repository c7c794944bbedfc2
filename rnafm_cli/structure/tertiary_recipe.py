"""The recipe of a contact or distance head: frozen dataclasses that TOML files fill."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from rnafm_cli.errors import ConfigError
from rnafm_cli.structure.batches import Draw
from rnafm_cli.structure.fold_recipe import FoldConfig, HeadSection
from rnafm_cli.structure.pair import PairConfig
from rnafm_cli.structure.tertiary_head import TertiaryConfig
from rnafm_cli.training.recipe_files import OptimSection as SharedOptimSection

__all__ = ["LossSection", "TertiaryRecipe"]


@dataclass(frozen=True, kw_only=True)
class MapSection:
    """The map above the pair head."""

    channels: int = 64
    growth: int = 0
    """Channels that each coarser level has more."""
    levels: int = 1
    """Resolutions; 1 is no U-Net."""
    blocks: int = 3
    fine: int = 16
    patch: int = 32
    dropout: float = 0.1
    readout: Literal["binned", "regression"] = "binned"


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Which chains are used and how they are split."""

    min_length: int = 20
    max_length: int = 1000
    folds: int = 5
    seed: int = 0
    """Of the split, where the project's own does not hold the chains."""


@dataclass(frozen=True, kw_only=True)
class SamplingSection:
    """How often each chain is drawn, and how batches are cut."""

    crop: int = 160
    """Longer chains are shown as windows of this many residues."""
    pair_budget: int = 30_000
    most: int = 64
    group_power: float = 0.5
    length_power: float = 0.0
    length_knee: int = 200
    round_size: int = 256


@dataclass(frozen=True, kw_only=True)
class VariationSection:
    """What is withheld or blurred at random."""

    drop_embedding: float = 0.1
    drop_sequence: float = 0.1
    drop_prior: float = 0.1
    noise: float = 0.1
    """Standard deviation of what is added to embeddings, as a share of theirs."""


@dataclass(frozen=True, kw_only=True)
class LossSection:
    """Weights of what is learned at once: contacts are learned better beside distances, and the other way round."""

    contact: float = 1.0
    bins: float = 0.2
    square: float = 2.0
    """Of the squared errors of distance / 20, by histogram and by regression."""
    near: float = 0.2
    """Weight of contacts below the long range, beside 1 for long-range ones."""
    soft: float = 0.5
    """For the final head: share of the target that comes from the heads of cross-validation."""


@dataclass(frozen=True, kw_only=True)
class OptimSection(SharedOptimSection):
    """AdamW, a warm-up, a constant rate, a linear end, and a running mean of the weights."""

    rate: float = 2e-3
    trunk_rate: float = 3e-4
    """Rate of a pair head that comes trained; 0 leaves it as it is."""
    readout_rate: float = 5e-3
    """Rate of the last linear maps."""
    warmup: int = 30
    steps: int = 400
    cooldown: float = 0.4
    final_rate: float = 0.02
    weight_decay: float = 0.03
    average: float = 0.99
    """Decay of the running mean; what is measured and saved is the mean."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """Saving and logging; nothing here changes what is learned."""

    bf16: bool = True
    log_steps: int = 20
    save_minutes: float = 5.0


@dataclass(frozen=True, kw_only=True)
class TertiaryRecipe:
    """A whole recipe."""

    trunk: HeadSection = field(default_factory=HeadSection)
    """The pair head where none comes trained."""
    map: MapSection = field(default_factory=MapSection)
    data: DataSection = field(default_factory=DataSection)
    sampling: SamplingSection = field(default_factory=SamplingSection)
    variation: VariationSection = field(default_factory=VariationSection)
    loss: LossSection = field(default_factory=LossSection)
    optim: OptimSection = field(default_factory=OptimSection)
    run: RunSection = field(default_factory=RunSection)

    def __post_init__(self) -> None:
        if self.data.folds < 2:
            raise ConfigError(f"data.folds {self.data.folds} must be at least 2")
        if self.run.log_steps < 1:
            raise ConfigError("run.log_steps must be at least 1")
        if self.map.levels < 1 or self.sampling.crop < 8:
            raise ConfigError("map.levels must be at least 1 and sampling.crop at least 8")
        if self.run.bf16 and (self.map.channels % 16 or (self.map.levels > 1 and self.map.growth % 16)):
            # oneDNN's gradient of a dilated bfloat16 convolution with 72 channels holds NaN now and then.
            raise ConfigError(
                "map.channels and map.growth must be multiples of 16 with run.bf16", hint="or run.bf16=false"
            )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values."""
        return dataclasses.asdict(self)

    def network(self, pair: PairConfig) -> TertiaryConfig:
        """The head that the recipe describes, above a given pair head."""
        section = self.map
        return TertiaryConfig(
            pair=pair,
            widths=tuple(section.channels + k * section.growth for k in range(section.levels)),
            blocks=section.blocks,
            fine=section.fine,
            patch=section.patch,
            dropout=section.dropout,
            readout=section.readout,
        )

    def trunk_recipe(self) -> FoldConfig:
        """The recipe of a pair head that starts at random."""
        return FoldConfig(head=self.trunk)

    def draw_rules(self) -> Draw:
        """The sampling section as rules of the batch maker."""
        values = dataclasses.asdict(self.sampling)
        del values["crop"]
        return Draw(**values)
