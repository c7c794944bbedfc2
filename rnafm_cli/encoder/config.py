"""Shapes of encoders as frozen configurations, and the named presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rnafm_cli.errors import ConfigError, UsageError
from rnafm_cli.rna.alphabet import Alphabet, alphabet


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Everything that fixes an encoder's tensors and its arithmetic."""

    layers: int
    width: int
    heads: int
    ffn: int
    tokens: Literal["rna", "codon"] = "rna"
    positions: Literal["learned", "rotary"] = "learned"
    max_tokens: int = 1024
    """Longest input including <cls> and <eos>."""
    norm_before: bool = True
    """LayerNorm between the embedding and the first layer."""
    token_dropout: bool = False
    """ESM's rescaling of embeddings by the share of masked tokens."""
    token_head: bool = True
    """Masked-token head present; some published files leave it out."""

    def __post_init__(self) -> None:
        if min(self.layers, self.width, self.heads, self.ffn) < 1:
            raise ConfigError("layers, width, heads and ffn must be at least 1")
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.positions == "rotary" and (self.width // self.heads) % 2:
            raise ConfigError(f"rotary positions need an even head width, not {self.width // self.heads}")

    @property
    def alphabet(self) -> Alphabet:
        """The token alphabet."""
        return alphabet(self.tokens)

    @property
    def max_length(self) -> int:
        """Longest sequence in units (nucleotides or codons) that fits into one window."""
        return self.max_tokens - 2

    def check_nucleotides(self, model: str) -> None:
        """Make sure that tokens are nucleotides: else a UsageError that calls the model by name."""
        if self.alphabet.unit != 1:
            raise UsageError(f"model '{model}' reads codons", hint="use rnafm-mini or another nucleotide model")


ENCODER_PRESETS: dict[str, EncoderConfig] = {
    "rna-fm": EncoderConfig(layers=12, width=640, heads=20, ffn=5120),
    "mrna-fm": EncoderConfig(layers=12, width=1280, heads=20, ffn=5120, tokens="codon", norm_before=False),
    "rnafm-mini": EncoderConfig(layers=6, width=256, heads=4, ffn=1024, positions="rotary"),
    "rnafm-tiny": EncoderConfig(layers=2, width=32, heads=2, ffn=64, positions="rotary"),
}
