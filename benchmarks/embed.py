"""`rnafm embed` against the published `rna-fm` package: same weights, same threads, same RNAs, one run.

Usage: python benchmarks/embed.py [--quick] [--rounds 5] [--threads 2] [--clock wall|cpu] [--only WAY ...]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from upstream import CONFIG, our_encoder, upstream_encoder

from rnafm_cli.encoder.embed import embed
from rnafm_cli.encoder.runtime import Runtime, has_fast_bf16
from rnafm_cli.rna.records import SequenceRecord

LENGTH_DECILES = (30, 31, 73, 90, 106, 132, 167, 230, 334, 537, 1000)
"""Of 361,555 non-coding RNAs of 30 to 1,000 nt from public collections (small RNAs, rRNA, lncRNA)."""
TARGETS = {"upstream by 16": 5.0, "upstream one by one": 1.2, "ours bf16 over ours fp32": 2.0}

Embeddings = list[np.ndarray]


def draw_records(count: int, seed: int) -> list[SequenceRecord]:
    """Made-up RNAs in random order, lengths by inverse transform of the deciles."""
    generator = np.random.default_rng(seed)
    lengths = np.interp(generator.random(count), np.linspace(0, 1, 11), LENGTH_DECILES).astype(int)
    return [
        SequenceRecord(f"rna{k}", "".join(generator.choice(list("ACGU"), length)))
        for k, length in enumerate(lengths, start=1)
    ]


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    records = draw_records(options.count, options.seed)
    total = sum(map(len, records))
    print(f"{len(records)} RNAs, {total} nt, {options.threads} threads, load average {os.getloadavg()[0]:.1f}")

    theirs, alphabet = upstream_encoder(options.seed)
    encoder = our_encoder(theirs)
    half = our_encoder(theirs).to(torch.bfloat16)
    convert = alphabet.get_batch_converter()

    def upstream(batch: int) -> Embeddings:
        outputs: Embeddings = []
        with torch.no_grad():
            for first in range(0, len(records), batch):
                part = [(record.id, record.sequence) for record in records[first : first + batch]]
                tokens = convert(part)[2]
                hidden = theirs(tokens, repr_layers=[CONFIG.layers])["representations"][CONFIG.layers]
                outputs += [row[1 : len(sequence) + 1].numpy() for row, (_, sequence) in zip(hidden, part, strict=True)]
        return outputs

    def ours(precision: str) -> Embeddings:
        runtime = Runtime.create("cpu", precision, options.threads)
        return [array for _, array in embed(records, half if precision == "bf16" else encoder, runtime)]

    runs: dict[str, Callable[[], Embeddings]] = {
        "upstream by 16": lambda: upstream(16),
        "upstream one by one": lambda: upstream(1),
        "ours fp32": lambda: ours("fp32"),
    }
    if has_fast_bf16("cpu"):
        runs["ours bf16"] = lambda: ours("bf16")
    else:
        print("ours bf16 is left out: this processor has no bfloat16 instructions")
    if options.only:
        runs = {name: runs[name] for name in options.only}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    outputs: dict[str, Embeddings] = {}
    for number in range(1, options.rounds + 1):
        for name, run in runs.items():
            start = clock()
            outputs[name] = run()
            seconds[name].append(clock() - start)
        print(f"round {number}: " + ", ".join(f"{name} {times[-1]:.1f} s" for name, times in seconds.items()))
    report(seconds, outputs, total)


def report(seconds: dict[str, list[float]], outputs: dict[str, Embeddings], total: int) -> None:
    """Throughput, ratios (median over rounds of the ratio within a round), and deviations."""
    for name, times in seconds.items():
        print(f"{name:20} {total / statistics.median(times):8.0f} nt/s")
    pairs = {
        "upstream by 16": ("upstream by 16", "ours fp32"),
        "upstream one by one": ("upstream one by one", "ours fp32"),
        "ours bf16 over ours fp32": ("ours fp32", "ours bf16"),
    }
    for name, (slow, fast) in pairs.items():
        if not {slow, fast} <= seconds.keys():
            continue
        ratios = [a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)]
        target = TARGETS[name]
        verdict = "reached" if statistics.median(ratios) >= target else "MISSED"
        print(f"speed-up against {slow}: {fast} {statistics.median(ratios):.2f}x (target {target}x {verdict})")
    reference = outputs["upstream one by one"]
    spread = np.concatenate(reference).std()
    for name in (name for name in outputs if name != "upstream one by one"):
        differences = [np.abs(a - b) for a, b in zip(outputs[name], reference, strict=True)]
        largest, mean = max(d.max() for d in differences), np.mean([d.mean() for d in differences])
        print(f"{name} - upstream one by one: largest {largest:.1e}, mean {mean:.1e} (values' deviation {spread:.2f})")
    if max(np.abs(a - b).max() for a, b in zip(outputs["ours fp32"], reference, strict=True)) > 1e-4:
        raise SystemExit("float32 outputs differ")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=256, help="RNAs")
    parser.add_argument("--rounds", type=int, default=5, help="times every way is run, in turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu with --threads 1 on a busy machine"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="WAY", help="these ways; 'upstream one by one' and 'ours fp32' have to be there"
    )
    parser.add_argument("--quick", action="store_true", help="24 RNAs, one round")
    options = parser.parse_args()
    if options.quick:
        options.count, options.rounds = 24, 1
    return options


if __name__ == "__main__":
    main()
