"""`rnafm fold` and `RNAfold -p` as whole processes on the same made-up RNAs; `fold.py` calls it."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RECORDS = 500
MOST_TIMES = 4.0
"""Of RNAfold's time, on RNAs of 50 to 500 nt."""
LEAST_RATE = 25.0
"""RNAs a second, start-up included, on RNAs of 90 to 110 nt."""

# What RNAfold -p computes: the structure of least energy, pair probabilities and the centroid.
_RNAFOLD = """
import sys, RNA
for line in open(sys.argv[1]):
    if not line.startswith(">"):
        compound = RNA.fold_compound(line.strip())
        structure, energy = compound.mfe()
        compound.exp_params_rescale(energy)
        compound.pf()
        compound.bpp()
        sys.stdout.write(f"{structure} ({energy:.2f})\\n{compound.centroid()[0]}\\n")
"""


def compare_programs(rounds: int, threads: int, *, records: int = RECORDS) -> None:
    """Wall-clock seconds of both programs in turn, from start to exit."""
    program = shutil.which("RNAfold")
    print(f"RNAfold is {program or 'ViennaRNA as a Python package, no program being installed'}, one thread")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mixed, even = folder / "mixed.fa", folder / "even.fa"
        write_rnas(mixed, records, 50, 500)
        write_rnas(even, records, 90, 110)
        ours = [sys.executable, "-m", "rnafm_cli", "fold", "-q", "-j", str(threads)]
        theirs = [program, "-p", "--noPS"] if program else [sys.executable, "-c", _RNAFOLD]
        times: dict[str, list[float]] = {"ours": [], "theirs": [], "even": []}
        for _ in range(rounds):
            times["ours"].append(seconds([*ours, str(mixed)], folder))
            times["theirs"].append(seconds([*theirs, str(mixed)], folder))
            times["even"].append(seconds([*ours, str(even)], folder))
    ratio = statistics.median(a / b for a, b in zip(times["ours"], times["theirs"], strict=True))
    print(
        f"{records} RNAs of 50-500 nt: rnafm fold {statistics.median(times['ours']):.1f} s, RNAfold -p "
        f"{statistics.median(times['theirs']):.1f} s, {ratio:.2f} times as long "
        f"(target at most {MOST_TIMES:g}: {'reached' if ratio <= MOST_TIMES else 'MISSED'})"
    )
    rate = records / statistics.median(times["even"])
    print(
        f"{records} RNAs of 90-110 nt: rnafm fold {rate:.1f} RNAs/s with start-up "
        f"(target at least {LEAST_RATE:g}: {'reached' if rate >= LEAST_RATE else 'MISSED'})"
    )


def write_rnas(path: Path, count: int, shortest: int, longest: int) -> None:
    """A FASTA file of random RNAs, lengths spread evenly and in no order."""
    rng = np.random.default_rng(longest)
    lengths = rng.permutation(np.linspace(shortest, longest, count).round().astype(int))
    path.write_text("".join(f">r{k}\n{''.join(rng.choice(list('ACGU'), n))}\n" for k, n in enumerate(lengths)))


def seconds(command: list[str], folder: Path) -> float:
    """How long a program takes; what it prints goes to a file."""
    with (folder / "out").open("w") as sink:
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=sink, cwd=folder)
        return time.perf_counter() - start
