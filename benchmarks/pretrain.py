"""Training speed of a preset: tokens/s, and the share of this machine's rate of matrix products.

python benchmarks/pretrain.py rnafm-mini --rows 16 --crop 256 --threads 2
python benchmarks/pretrain.py rna-fm --rows 1 --crop 1024 --steps 2 --eager

Both are computed in bfloat16, or in float32 on processors without instructions for it (--precision to choose).
On a busy machine --threads 1 --clock cpu counts the processor time spent instead of the time passed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from rnafm_cli.encoder.config import ENCODER_PRESETS, EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import has_fast_bf16
from rnafm_cli.pretrain.model import MaskedTokenModel
from rnafm_cli.training.optimizers import decay_groups

Clock = Callable[[], float]


def product_rate(device: torch.device, dtype: torch.dtype, clock: Clock, seconds: float = 2.0) -> float:
    """FLOP/s of products of the shapes that a large layer has."""
    a = torch.randn(4096, 1024, dtype=dtype, device=device)
    b = torch.randn(1024, 4096, dtype=dtype, device=device)
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = clock()
        for _ in range(3):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, (clock() - began) / 3)
    return 2 * 4096 * 1024 * 4096 / best


def flops_per_token(shape: EncoderConfig, width: int) -> float:
    """Forward and backward: 6 per weight of the layers, and attention over ``width`` tokens."""
    weights = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.ffn)
    return 6.0 * weights + 12.0 * shape.layers * shape.width * width


def measure(
    shape: EncoderConfig,
    *,
    rows: int,
    width: int,
    steps: int,
    eager: bool,
    bf16: bool,
    device: torch.device,
    clock: Clock,
) -> float:
    """Tokens/s of full steps (forward, backward, AdamW) on packed rows of two RNAs."""
    torch.manual_seed(0)
    model = MaskedTokenModel(Encoder(shape)).to(device)
    if not eager:
        model.encoder.compile(dynamic=False)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.01), lr=1e-4, fused=True)
    tokens = torch.randint(4, 8, (rows, width), device=device)
    segments = torch.zeros(rows, width, dtype=torch.int32, device=device)
    segments[:, width // 2 :] = 1
    chosen = (torch.rand(rows * width, device=device) < 0.15).nonzero().squeeze(1)
    truth = tokens.flatten()[chosen]
    best = float("inf")
    for _ in range(steps + 1):
        began = clock()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            loss, *_ = model(tokens, segments, chosen, truth)
        (loss / len(chosen)).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - began)
    return rows * width / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(ENCODER_PRESETS))
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--precision", choices=["bf16", "fp32"])
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = ENCODER_PRESETS[options.preset]
    bf16 = options.precision == "bf16" if options.precision else has_fast_bf16(device.type)
    peak = product_rate(device, torch.bfloat16 if bf16 else torch.float32, clock)
    rate = measure(
        shape,
        rows=options.rows,
        width=options.crop,
        steps=options.steps,
        eager=options.eager,
        bf16=bf16,
        device=device,
        clock=clock,
    )
    done = rate * flops_per_token(shape, options.crop)
    where = f"in {'bf16' if bf16 else 'fp32'} on {torch.get_num_threads()} threads of {device}"
    print(
        f"{options.preset} {options.rows} x {options.crop} {where}: {rate:,.0f} tokens/s, "
        f"{done / 1e9:,.0f} GFLOP/s = {done / peak:.0%} of {peak / 1e9:,.0f} GFLOP/s"
    )


if __name__ == "__main__":
    main()
