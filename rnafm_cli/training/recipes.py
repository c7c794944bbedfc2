"""Recipes: TOML into frozen dataclasses, checked key by key; what the heads' recipes share is defined once."""

from __future__ import annotations

import copy
import dataclasses
import math
import tomllib
import typing
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from rnafm_cli.errors import ConfigError

Section = TypeVar("Section")


def load_recipe(kind: type[Section], path: Path | None, overrides: list[str] | None = None) -> Section:
    """Read a TOML recipe (the defaults if None) and apply ``section.key=value`` overrides.

    Raises:
        ConfigError: unreadable file, unknown key, value of a wrong type.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as failure:
            raise ConfigError(f"{path}: {failure.strerror}") from failure
        except tomllib.TOMLDecodeError as failure:
            raise ConfigError(f"{path}: not valid TOML: {failure}") from failure
    return recipe_from_dict(kind, with_overrides(values, overrides or []), where=str(path or "configuration"))


def with_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of nested ``values`` with ``section.key=value`` texts applied; values are TOML or bare words."""
    merged = copy.deepcopy(values)
    for text in overrides:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"--set {text!r}: not of the form section.key=value", hint="for example optim.rate=2e-4")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        merged.setdefault(section, {})[key] = parsed
    return merged


def recipe_from_dict(kind: type[Section], values: dict[str, Any], *, where: str = "configuration") -> Section:
    """A recipe, a dataclass whose fields are sections, of nested plain values over its defaults.

    Raises:
        ConfigError: for an unknown section or key (with the nearest match) and a value of a wrong type.
    """
    return _with_values(kind(), values, where, "")


def _with_values(section: Section, values: dict[str, Any], where: str, prefix: str) -> Section:
    hints, built = typing.get_type_hints(type(section)), {}
    for key, value in values.items():
        name = prefix + key
        if key not in hints:
            known = [prefix + other for other in hints]
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            raise ConfigError(
                f"{where}: unknown {'key' if prefix else 'section'} {name!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}",
            )
        if not dataclasses.is_dataclass(hints[key]):
            built[key] = _typed(value, hints[key], f"{where}: {name}")
        elif isinstance(value, dict):
            built[key] = _with_values(getattr(section, key), value, where, f"{name}.")
        else:
            raise ConfigError(f"{where}: {name} must be a section", hint=f"write [{name}] and its keys below")
    made: Any = section
    return typing.cast(Section, dataclasses.replace(made, **built))


def _typed(value: Any, hint: Any, name: str) -> Any:
    """A value as its key wants it: a word of a list, words, a number, or one of two types."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal and value not in options:
        raise ConfigError(f"{name}: {value!r} is not one of {', '.join(map(str, options))}")
    if origin is Literal:
        return value
    if origin is tuple:
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ConfigError(f"{name}: {value!r} is no list of words", hint='write it as ["one", "two"]')
    expected = [option for option in options or (hint,) if option is not type(None)]
    if typing.get_origin(expected[0]) is Literal:
        return _typed(value, expected[0], name)
    if float in expected and type(value) is int:
        return float(value)
    if type(value) is float and not math.isfinite(value):
        raise ConfigError(f"{name}: {value} is no finite number")
    if type(value) in expected:
        return value
    raise ConfigError(f"{name}: {value!r} is not of type {' or '.join(option.__name__ for option in expected)}")


def key(default: Any, meaning: str) -> Any:
    """A key of a section that is printed with its meaning."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class OptimSection:
    """The optimiser and its schedule."""

    rate: float = key(1e-3, "Peak learning rate.")
    schedule: Literal["inverse-sqrt", "cosine", "trapezoid", "late-cosine"] = key(
        "trapezoid",
        "After warm-up: inverse-sqrt (the paper's), cosine to final_rate, or trapezoid: constant, then "
        "linear to final_rate over the last cooldown share (late-cosine: by a cosine).",
    )
    warmup: int = key(500, "Steps of linear warm-up.")
    steps: int = key(10000, "Optimiser steps in all.")
    cooldown: float = key(0.2, "Share of the steps over which the trapezoid falls.")
    final_rate: float = key(0.0, "Rate at the end as a share of the peak (cosine, trapezoid).")
    beta1: float = key(0.9, "AdamW: decay of the mean.")
    beta2: float = key(0.98, "AdamW: decay of the variance.")
    eps: float = key(1e-6, "AdamW: added to the root of the variance.")
    weight_decay: float = key(0.01, "Applied to matrices; never to norms, biases and embeddings.")
    clip: float = key(1.0, "Largest norm of the gradient; 0 never clips.")

    def __post_init__(self) -> None:
        for name in ("rate", "encoder_rate", "eps", "weight_decay", "clip", "seed"):
            if getattr(self, name, 0) < 0:
                raise ConfigError(f"optim.{name} {getattr(self, name)} must not be negative")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ConfigError("optim.beta1 and optim.beta2 must be at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class HeadOptim(OptimSection):
    """AdamW, a warm-up, a constant rate that falls at the end, and a running mean of the weights."""

    encoder_rate: float = 3e-5
    """Rate of the encoder's weights when they are trained too."""
    steps: int = 0
    """0: as many as the number of rows asks for."""
    final_rate: float = 0.02
    eps: float = 1e-8
    average: float = 0.999
    """Decay of the running mean; what is measured and saved is the mean."""
    seed: int = 0

    def lasting(self, steps: int) -> Self:
        """The same for so many steps, a fifth of them warm-up at most."""
        return dataclasses.replace(self, steps=steps, warmup=min(self.warmup, max(steps // 5, 1)))


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """Measuring, saving and stopping; nothing here changes what is learned."""

    bf16: bool = True
    log_steps: int = 20
    save_minutes: float = 5.0
    score_steps: int = 0
    """Steps between measurements on the development rows; 0 for a tenth of all."""
    patience: int = 0
    """Stop after so many measurements without a better one; 0 for never."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How often each RNA is drawn, and how batches are cut."""

    pair_budget: int = 30_000
    """Cells of the padded maps of a batch: RNAs x length squared."""
    most: int = 64
    """RNAs of a batch at most."""
    group_power: float = 0.5
    """A group of n RNAs is drawn in proportion to n to this power; 1 for all RNAs alike."""
    length_power: float = 1.0
    """An RNA longer than ``length_knee`` is drawn less often by (knee / length) to this power."""
    length_knee: int = 200
    round_size: int = 2048


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Share of RNAs that are shown without an input."""

    drop_embedding: float = 0.0
    drop_sequence: float = 0.0
    drop_prior: float = 0.0
    drop_template: float = 0.0
    """Without their families."""


@dataclass(frozen=True, kw_only=True)
class FoldVariation(Variation):
    """The same for folds, and what else is changed at random; changed RNAs are always shown without their family."""

    drop_close_template: float = 0.0
    """``drop_template`` of RNAs that are close to a row of the alignments behind it."""
    mutate: float = 0.0
    """Share of RNAs whose sequence is changed so that the structure still holds."""
    mutate_rate: float = 0.5
    """Highest share of bases that change in such an RNA."""
    mutate_longest: int = 160
    """Longer ones are left as they are: their prior takes too long to compute anew."""


@dataclass(frozen=True, kw_only=True)
class ChainVariation(Variation):
    """The same for chains."""

    drop_relatives: float = 0.0
    """Without the known structures of their families."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all recipes have."""

    optim: HeadOptim = HeadOptim()
    run: RunSection = RunSection()

    def __post_init__(self) -> None:
        if self.run.log_steps < 1 or self.optim.steps < 0:
            raise ConfigError("run.log_steps must be at least 1 and optim.steps not negative")
        for name in ("head", "map"):
            if getattr(getattr(self, name, None), "channels", 1) < 1:
                raise ConfigError(f"{name}.channels must be at least 1")

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class PairSection:
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
class FoldDataSection:
    """What is trained on and how it is kept apart from the development sets."""

    max_length: int = 500
    dev_share: float = 0.1
    """Share of records held out by clusters when no development file is given."""
    hold_families: bool = True
    """Keep the project's list of held-out Rfam families out of training."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class FoldOptim(HeadOptim):
    """The same for fold heads."""

    rate: float = 2e-3
    epochs: float = 30.0
    """Where ``steps`` is 0, how often each RNA is drawn on average, within 100 to 10,000 steps."""
    warmup: int = 300
    """A fifth of the steps at most."""
    cooldown: float = 0.3
    average: float = 0.9995


@dataclass(frozen=True, kw_only=True)
class FoldRunSection(RunSection):
    """The same for fold heads."""

    encoder: Literal["frozen", "full"] = "frozen"
    score_records: int = 300
    """Records of each development set, drawn once."""
    score_longest: int = 300
    patience: int = 4


@dataclass(frozen=True, kw_only=True)
class FoldRecipe(Recipe):
    """Of a fold head."""

    head: PairSection = PairSection()
    data: FoldDataSection = FoldDataSection()
    sampling: Sampling = Sampling()
    variation: FoldVariation = FoldVariation(
        drop_embedding=0.15, drop_sequence=0.1, drop_prior=0.2, drop_template=0.25, drop_close_template=0.5, mutate=0.3
    )
    optim: FoldOptim = FoldOptim()
    run: FoldRunSection = FoldRunSection()


@dataclass(frozen=True, kw_only=True)
class MapSection:
    """The map above the pair head."""

    channels: int = 64
    blocks: int = 3
    fine: int = 16
    patch: int = 32
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class ChainData:
    """Which chains are used and how they are split."""

    min_length: int = 20
    max_length: int = 1000
    folds: int = 5
    seed: int = 0
    """Of the split, where the project's own does not hold the chains."""


@dataclass(frozen=True, kw_only=True)
class ChainSampling(Sampling):
    """The same for chains."""

    crop: int = 160
    """Longer chains are shown as windows of this many residues."""
    length_power: float = 0.0
    round_size: int = 256


@dataclass(frozen=True, kw_only=True)
class LossSection:
    """Weights of what is learned at once: contacts are learned better beside distances, and the other way round."""

    contact: float = 1.0
    bins: float = 0.2
    square: float = 4.0
    """Of the squared errors of distance / 20."""
    near: float = 0.2
    """Weight of contacts below the long range, beside 1 for long-range ones."""


@dataclass(frozen=True, kw_only=True)
class ChainOptim(HeadOptim):
    """The same for contacts and distances."""

    rate: float = 2e-3
    trunk_rate: float = 3e-4
    """Rate of a pair head that comes trained; 0 leaves it as it is."""
    readout_rate: float = 5e-3
    """Rate of the last linear maps."""
    warmup: int = 30
    steps: int = 400
    cooldown: float = 0.4
    weight_decay: float = 0.03
    eps: float = 1e-6
    average: float = 0.99


@dataclass(frozen=True, kw_only=True)
class TertiaryRecipe(Recipe):
    """Of a head for contacts and distances."""

    trunk: PairSection = PairSection()
    """The pair head where none comes trained."""
    map: MapSection = MapSection()
    data: ChainData = ChainData()
    sampling: ChainSampling = ChainSampling()
    variation: ChainVariation = ChainVariation(
        drop_embedding=0.1, drop_sequence=0.1, drop_prior=0.1, drop_template=0.15, drop_relatives=0.15
    )
    loss: LossSection = LossSection()
    optim: ChainOptim = ChainOptim()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.folds < 2:
            raise ConfigError(f"data.folds {self.data.folds} must be at least 2")
        if self.sampling.crop < 8 or self.optim.steps < 1:
            raise ConfigError("optim.steps must be at least 1 and sampling.crop at least 8")
        if self.run.bf16 and self.map.channels % 16:
            # oneDNN's gradient of a dilated bfloat16 convolution with 72 channels holds NaN now and then.
            raise ConfigError("map.channels must be a multiple of 16 with run.bf16", hint="or run.bf16=false")


@dataclass(frozen=True, kw_only=True)
class RowData:
    """Which rows of tables are trained on and how often each is shown."""

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
class BindingData(RowData):
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
class RowOptim(HeadOptim):
    """The same for heads that learn from tables."""

    rate: float = 4e-3
    epochs: float = 6.0
    """Rounds over all rows, where ``steps`` is 0."""
    batch: int = 256
    warmup: int = 200
    """A fifth of the steps at most."""
    cooldown: float = 0.6
    final_rate: float = 0.01


@dataclass(frozen=True, kw_only=True)
class RowRun(RunSection):
    """The same for heads that learn from tables."""

    encoder: Literal["frozen", "full"] = "frozen"
    log_steps: int = 50
    score_epochs: float = 1.0
    """Rounds between measurements on the development rows, where ``score_steps`` is 0."""
    score_rows: int = 1500
    """Development rows of each RBP set that are measured and calibrated on, drawn once; 0 for all."""


@dataclass(frozen=True, kw_only=True)
class BindingShape:
    """Size of the RBP head."""

    channels: int = 96
    kernel: int = 9
    block_kernel: int = 5
    blocks: int = 2
    reduced: int = 24
    """Channels to which embeddings are reduced."""
    dropout: float = 0.25


@dataclass(frozen=True, kw_only=True)
class MrlShape:
    """Size of the MRL head."""

    letters: bool = True
    channels: int = 64
    reduced: int = 32
    members: int = 3
    dropout: float = 0.2


@dataclass(frozen=True, kw_only=True)
class RowRecipe(Recipe):
    """Of a head that learns from tables."""

    head: BindingShape | MrlShape
    data: RowData = RowData()
    optim: RowOptim = RowOptim()
    run: RowRun = RowRun()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optim.epochs <= 0 or self.optim.batch < 2:
            raise ConfigError("optim.epochs must be positive and optim.batch at least 2")
        if not 0 < self.data.dev_share < 1:
            raise ConfigError(f"data.dev_share {self.data.dev_share} is a share, between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class BindingRecipe(RowRecipe):
    """Of an RBP head."""

    head: BindingShape = BindingShape()
    data: BindingData = BindingData()


@dataclass(frozen=True, kw_only=True)
class MrlRecipe(RowRecipe):
    """Of an MRL head."""

    head: MrlShape = MrlShape()
    optim: RowOptim = RowOptim(rate=3e-3, epochs=8.0, batch=128, warmup=100)
