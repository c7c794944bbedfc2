"""RNA-FM's structure head: ours against the published `rna-fm` package, same weights, same threads, one run.

Usage: python benchmarks/structure_head.py [--quick] [--rounds 5] [--threads 2] [--clock wall|cpu] [--lengths N ...]
           [--only heads|memory ...]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rnafm_cli.encoder.config import ENCODER_PRESETS

PARTS = ("heads", "memory")
CONFIG = ENCODER_PRESETS["rna-fm"]
MEMORY_SHARE = 0.5
TARGETS = {("fp32", 600): 1.2, ("bf16", 300): 3.0, ("bf16", 600): 3.0}
SEED = 1


def main() -> None:
    options = parse_options()
    if options.peak:
        print(peak_memory(options.peak, options.memory_length))
        return
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, {options.clock} clock, load average {os.getloadavg()[0]:.1f}")
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    if "heads" in options.only:
        for length in options.lengths:
            compare_heads(length, options.rounds, clock)
    if "memory" in options.only:
        compare_memory(options.memory_length)


def compare_heads(length: int, rounds: int, clock: Callable[[], float]) -> None:
    """Seconds of one pair map in turn, and how far the logits are apart."""
    from upstream import our_head, upstream_head

    theirs, _ = upstream_head(SEED)
    head = our_head(theirs)
    tokens_1T, features_1TD = head_input(length)
    runs: dict[str, Callable[[], Tensor]] = {
        "upstream": lambda: theirs(tokens_1T, {"embedding": features_1TD})[0],
        "fp32": lambda: head(features_1TD[0, 1:-1]),
        "bf16": lambda: head(features_1TD[0, 1:-1], dtype=torch.bfloat16),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    logits: dict[str, Tensor] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            with torch.no_grad():
                logits[name] = run()
            seconds[name].append(clock() - start)
    reference = logits["upstream"]
    print(f"{length} nt: upstream {statistics.median(seconds['upstream']):.2f} s")
    for name in ("fp32", "bf16"):
        ratio = statistics.median(a / b for a, b in zip(seconds["upstream"], seconds[name], strict=True))
        target = TARGETS.get((name, length))
        verdict = f" (target {target}x {'reached' if ratio >= target else 'MISSED'})" if target else ""
        difference = (logits[name] - reference).abs()
        probability = (logits[name].sigmoid() - reference.sigmoid()).abs()
        apart = f"{difference.max():.1e} at most, {difference.mean():.1e} on average"
        print(
            f"  ours {name} {statistics.median(seconds[name]):.2f} s, {ratio:.2f}x{verdict}; logits differ by {apart} "
            f"(their deviation {reference.std():.2f}), "
            f"probabilities by {probability.max():.1e} at most"
        )
        if name == "fp32" and difference.max() > 5e-4:
            raise SystemExit("float32 logits differ")


def head_input(length: int) -> tuple[Tensor, Tensor]:
    """Tokens with <cls> and <eos>, and made-up representations of unit variance."""
    generator = torch.Generator().manual_seed(length)
    tokens_1T = torch.randint(4, 8, (1, length + 2), generator=generator)
    tokens_1T[0, 0], tokens_1T[0, -1] = 0, 2
    return tokens_1T, torch.randn(1, length + 2, CONFIG.width, generator=generator)


def compare_memory(length: int) -> None:
    """Peak resident memory of a fresh process that folds one RNA with encoder and head in float32."""
    peaks = {}
    for side in ("upstream", "ours"):
        command = [sys.executable, __file__, "--peak", side, "--memory-length", str(length)]
        peaks[side] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        print(f"peak memory at {length} nt, encoder and head, {side}: {peaks[side] / 1024:.0f} MiB")
    share = peaks["ours"] / peaks["upstream"]
    print(
        f"ours takes {share:.2f} of it (target under {MEMORY_SHARE}: {'reached' if share < MEMORY_SHARE else 'MISSED'})"
    )


@torch.no_grad()
def peak_memory(side: str, length: int) -> int:
    """KiB of this process after one map; upstream's modules hold only themselves then, ours only ours."""
    tokens_1T, _ = head_input(length)
    if side == "upstream":
        from upstream import upstream_encoder, upstream_head

        encoder, head = upstream_encoder(SEED)[0], upstream_head(SEED)[0]
        hidden = encoder(tokens_1T, repr_layers=[CONFIG.layers])["representations"][CONFIG.layers]
        head(tokens_1T, {"embedding": hidden}).sigmoid()
    else:
        from rnafm_cli.encoder.network import Encoder
        from rnafm_cli.encoder.resnet import PairResNet

        ours, our_pair_head = Encoder(CONFIG).eval(), PairResNet().eval()
        hidden = ours(tokens_1T).hidden[CONFIG.layers]
        our_pair_head(hidden[0, 1:-1]).sigmoid()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[300, 600])
    parser.add_argument("--rounds", type=int, default=5, help="times every way is run, in turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: on a busy machine, with --threads 1"
    )
    parser.add_argument("--memory-length", type=int, default=1000)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="both without it")
    parser.add_argument("--quick", action="store_true", help="one round: heads at 100 and 300 nt")
    parser.add_argument("--peak", choices=("upstream", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.lengths, options.rounds = [100, 300], 1
        options.only = [part for part in options.only if part != "memory"]
    return options


if __name__ == "__main__":
    main()
