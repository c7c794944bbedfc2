"""Memory and speed of ``rnafm pretrain prepare`` on made-up records: python benchmarks/prepare.py 1 2 4 (millions).

Lengths are log-normal around 100 nt, one record in ten is a copy of an earlier one. Each size runs in a process of its
own; the memory is the peak of that process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write_fasta(path: Path, records: int, *, seed: int = 0) -> None:
    """Write ``records`` records, a tenth of them copies."""
    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    with open(path, "wb") as handle:
        for start in range(0, records, 100_000):
            count = min(100_000, records - start)
            lengths = np.clip(rng.lognormal(np.log(100), 0.6, size=count), 20, 2000).astype(int)
            block = letters[rng.integers(0, 4, size=int(lengths.sum()))].tobytes()
            ends = np.cumsum(lengths)
            sequences = [block[end - length : end] for end, length in zip(ends, lengths, strict=True)]
            for k in range(0, count, 10):
                sequences[k] = sequences[k - 1]
            lines = [
                b">r%d type=t%d\n%s" % (start + k, (start + k) % 30, sequence) for k, sequence in enumerate(sequences)
            ]
            handle.write(b"\n".join(lines) + b"\n")


def measure(fasta: Path, holdout: int) -> dict[str, float]:
    """Prepare a corpus and report time and memory of its two phases."""
    from rnafm_cli.pretrain.holdout import HoldoutRules
    from rnafm_cli.pretrain.prepare import prepare_corpus

    started = time.perf_counter()
    marks: dict[str, float] = {}

    def note(what: str, done: int, total: int) -> None:
        if what.startswith("MB"):
            marks["shards_s"] = time.perf_counter() - started
            marks["shards_mb"] = peak_mb()

    with tempfile.TemporaryDirectory(dir=fasta.parent) as folder:
        rules = HoldoutRules(sequences=holdout, groups=0, filter_near=holdout > 0)
        manifest = prepare_corpus([fasta], Path(folder), rules, progress=note)
    return {
        "records": manifest["records_read"],
        "kept": manifest["sequences"],
        "nucleotides": manifest["tokens"],
        **marks,
        "total_s": time.perf_counter() - started,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("millions", nargs="*", type=float, default=[1, 2, 4])
    parser.add_argument("--holdout", type=int, default=2500)
    parser.add_argument("--fasta", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fasta:
        print(json.dumps(measure(options.fasta, options.holdout)))
        return
    print("records     kept  shards: records/s  peak MB   hold-outs: s  peak MB")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for millions in options.millions:
            fasta = Path(folder) / "in.fa"
            write_fasta(fasta, int(millions * 1e6))
            command = [sys.executable, __file__, "--fasta", str(fasta), "--holdout", str(options.holdout)]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rows.append(row)
            search, rate = row["total_s"] - row["shards_s"], row["records"] / row["shards_s"]
            print(
                f"{row['records']:9,} {row['kept']:9,} {rate:12,.0f} {row['shards_mb']:12,.0f}"
                f" {search:13.0f} {row['peak_mb']:9,.0f}",
                flush=True,
            )
    if len(rows) > 1:
        slope = (rows[-1]["shards_mb"] - rows[0]["shards_mb"]) / (rows[-1]["records"] - rows[0]["records"])
        print(f"{slope * 1e6:.0f} bytes a record; 27 million records: about {27e6 * slope + 300:,.0f} MB")


if __name__ == "__main__":
    main()
