"""The BERT-style encoder of RNA-FM: tokens in; representations, attention maps and token logits out.

Shape suffixes: B batch, T tokens with <cls>/<eos>, D width, H heads, K head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.errors import WeightsError


@dataclass
class EncoderOutput:
    """What one pass returns; rows of padded positions hold nothing of meaning."""

    hidden: dict[int, Tensor] = field(default_factory=dict)
    """Layer number -> (B, T, D). 0 is the embedding, the last is taken after the final LayerNorm."""
    attentions: Tensor | None = None
    """(B, layers, H, T, T); rows and columns of pads are zero."""
    logits: Tensor | None = None
    """(B, T, V) of the masked-token head."""


class Encoder(nn.Module):
    """Pre-LayerNorm transformer encoder (Chen et al. 2022, section 2.1; the ESM-1b layout)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        vocabulary = len(config.alphabet)
        self.embed = nn.Embedding(vocabulary, config.width, padding_idx=config.alphabet.pad)
        # Two rows more than tokens: upstream counts positions from 2, so rows 0 and 1 are never trained.
        self.positions = (
            nn.Embedding(config.max_tokens + 2, config.width, padding_idx=config.alphabet.pad)
            if config.positions == "learned"
            else None
        )
        self.norm_before = nn.LayerNorm(config.width) if config.norm_before else None
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm_after = nn.LayerNorm(config.width)
        self.token_head = TokenHead(config.width, vocabulary) if config.token_head else None
        self.apply(_initialise)

    def forward(
        self,
        tokens_BT: Tensor,
        *,
        layers: Collection[int] | None = None,
        attentions: bool = False,
        logits: bool = False,
        segments_BT: Tensor | None = None,
    ) -> EncoderOutput:
        """Run the encoder.

        Args:
            tokens_BT: integer token indices, right-padded with the alphabet's pad.
            layers: numbers of the representations to keep, 0 to ``config.layers``; the last if None.
            attentions: also return the attention maps.
            logits: also return the masked-token logits (at every position, pads included).
            segments_BT: for rows that hold several RNAs one after another: a number per RNA, -1 at pads;
                positions attend within their own RNA only. None: one RNA a row.
        """
        last = self.config.layers
        wanted = {last} if layers is None else set(layers)
        is_pad_BT = tokens_BT == self.config.alphabet.pad
        key_mask: Tensor | None = None
        if segments_BT is not None:
            key_mask = (segments_BT[:, :, None] == segments_BT[:, None, :])[:, None]
        elif torch.compiler.is_exporting() or bool(is_pad_BT.any()):  # an exported graph cannot ask for values
            key_mask = ~is_pad_BT[:, None, None, :]
        x_BTD = self._embed(tokens_BT, is_pad_BT, segments_BT)
        rotation: tuple[Tensor, Tensor] | None = None
        if self.config.positions == "rotary":
            rotation = rotary_tables(tokens_BT.shape[1], self.config.width // self.config.heads, x_BTD.device)

        output = EncoderOutput()
        maps: list[Tensor] = []
        if 0 in wanted:
            output.hidden[0] = x_BTD
        for number, layer in enumerate(self.layers, start=1):
            x_BTD, map_BHTT = layer(x_BTD, key_mask, rotation, return_map=attentions)
            if map_BHTT is not None:
                maps.append(map_BHTT)
            if number in wanted and number != last:
                output.hidden[number] = x_BTD
        x_BTD = self.norm_after(x_BTD)
        if last in wanted:
            output.hidden[last] = x_BTD
        if attentions:
            real_BTT = ~(is_pad_BT[:, :, None] | is_pad_BT[:, None, :])
            output.attentions = torch.stack(maps, dim=1) * real_BTT[:, None, None]
        if logits:
            output.logits = self.token_logits(x_BTD)
        return output

    def token_logits(self, x_ND: Tensor) -> Tensor:
        """Masked-token logits (N, V) of final representations picked from any positions.

        Raises:
            WeightsError: when the weights came without a masked-token head.
        """
        if self.token_head is None:
            raise WeightsError("these encoder weights hold no masked-token head", hint="import a file that has one")
        return self.token_head(x_ND, self.embed.weight)

    def _embed(self, tokens_BT: Tensor, is_pad_BT: Tensor, segments_BT: Tensor | None) -> Tensor:
        x_BTD = self.embed(tokens_BT)
        if self.config.token_dropout:
            is_mask_BT = tokens_BT == self.config.alphabet.mask
            x_BTD = x_BTD.masked_fill(is_mask_BT[..., None], 0.0)
            # Trained at 15 % masking, 80 % of it by <mask>: keep the expected scale at any other share.
            masked_share_B = is_mask_BT.sum(-1).to(x_BTD.dtype) / (~is_pad_BT).sum(-1)
            x_BTD = x_BTD * ((1 - 0.15 * 0.8) / (1 - masked_share_B))[:, None, None]
        if self.positions is not None:
            count_BT = torch.cumsum(~is_pad_BT, dim=1)
            if segments_BT is not None:
                # Count from 1 again at each RNA: take off what the row had counted before its first token.
                starts_BT = F.pad(segments_BT[:, 1:] != segments_BT[:, :-1], (1, 0), value=True)
                count_BT = count_BT - torch.cummax((count_BT - 1) * starts_BT, dim=1).values
            rows_BT = count_BT * ~is_pad_BT + self.config.alphabet.pad
            x_BTD = x_BTD + self.positions(rows_BT)
        if self.norm_before is not None:
            x_BTD = self.norm_before(x_BTD)
        return x_BTD * (~is_pad_BT)[..., None].to(x_BTD.dtype)


class EncoderLayer(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.ffn_norm = nn.LayerNorm(config.width)
        self.ffn_in = nn.Linear(config.width, config.ffn)
        self.ffn_out = nn.Linear(config.ffn, config.width)

    def forward(
        self,
        x_BTD: Tensor,
        key_mask: Tensor | None,
        rotation: tuple[Tensor, Tensor] | None,
        *,
        return_map: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        batch, length, width = x_BTD.shape
        qkv = self.qkv(self.attention_norm(x_BTD)).view(batch, length, 3, self.heads, width // self.heads)
        q_BHTK, k_BHTK, v_BHTK = qkv.permute(2, 0, 3, 1, 4)
        if rotation is not None:
            q_BHTK, k_BHTK = _rotate(q_BHTK, rotation), _rotate(k_BHTK, rotation)
        mixed_BHTK, map_BHTT = _attention(q_BHTK, k_BHTK, v_BHTK, key_mask, return_map=return_map)
        x_BTD = x_BTD + self.out(mixed_BHTK.transpose(1, 2).reshape(batch, length, width))
        return x_BTD + self.ffn_out(F.gelu(self.ffn_in(self.ffn_norm(x_BTD)))), map_BHTT


def rotary_tables(length: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (T, K) each, that rotary positions turn queries and keys of ``width`` by (Su et al. 2021)."""
    half = width // 2
    rate_K = 10000.0 ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
    angle_TK = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rate_K
    angle_TK = torch.cat([angle_TK, angle_TK], dim=-1)
    return angle_TK.cos(), angle_TK.sin()


class TokenHead(nn.Module):
    """Masked-token head: dense, GELU, LayerNorm, then the (tied) embedding table plus a bias."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x_ND: Tensor, table_VD: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(x_ND))), table_VD, self.bias)


def _attention(
    q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, key_mask: Tensor | None, *, return_map: bool
) -> tuple[Tensor, Tensor | None]:
    # On CPUs the fused bfloat16 kernel is slower than plain matrix products at these lengths, its gradient twice so.
    plain = q_BHTK.device.type == "cpu" and q_BHTK.dtype == torch.bfloat16 and q_BHTK.shape[-2] <= 512
    if not plain and not return_map:
        return F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, attn_mask=key_mask), None
    with torch.autocast(q_BHTK.device.type, enabled=False):
        scores_BHTT = (q_BHTK * q_BHTK.shape[-1] ** -0.5) @ k_BHTK.transpose(-1, -2)
        if key_mask is not None:
            scores_BHTT = scores_BHTT.masked_fill(~key_mask, float("-inf"))
        map_BHTT = scores_BHTT.softmax(dim=-1, dtype=torch.float32 if return_map else None)
        return map_BHTT.to(v_BHTK.dtype) @ v_BHTK, map_BHTT if return_map else None


def _rotate(x_BHTK: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos_TK, sin_TK = rotation[0].to(x_BHTK.dtype), rotation[1].to(x_BHTK.dtype)
    low, high = x_BHTK.chunk(2, dim=-1)
    return x_BHTK * cos_TK + torch.cat([-high, low], dim=-1) * sin_TK


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()


def untrained(encoder: Encoder, *, seed: int = 0) -> Encoder:
    """An encoder of the same shape with random weights: what the architecture alone is worth."""
    torch.manual_seed(seed)
    return Encoder(encoder.config).to(encoder.embed.weight.device).eval()
