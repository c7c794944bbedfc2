"""How many RNAs `rnafm fold` folds in a second, by length, beside ViennaRNA's partition function on the same RNAs.

Usage: python benchmarks/fold.py [--lengths 50 100 ...] [--letters 20000] [--rounds 5] [--busy 1]

Both take all CPUs, one process for each, start-up excluded and families on; a round is one after the other, and figures
are medians over rounds. The shares are of the processor time of one process: partition functions, network, families,
decoding and the rest. `--busy` processes compete while all of it runs. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rnafm_cli.encoder.workers import usable_cpus
from rnafm_cli.model import load_model
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.fold import load_fold_predictor
from rnafm_cli.structure.predict import predict

LENGTHS = (50, 100, 200, 500, 1000)
PARTS = {"partition functions": "_prior", "network": "probabilities", "families": "_templates", "decoding": "_decoded"}


def main() -> None:
    options = parse_options()
    if options.one:
        print(json.dumps(measured(options.one, options.letters, options.rounds)))
        return
    print(f"{usable_cpus()} CPUs, {options.busy} busy processes\n")
    print("| nt | rnafm | ViennaRNA's pf | times as long | peak memory | " + " | ".join([*PARTS, "rest"]) + " |")
    print("|---" * (6 + len(PARTS)) + "|")
    with busy(options.busy):
        for length in options.lengths:
            command = [sys.executable, __file__, "--one", str(length)]
            command += ["--letters", str(options.letters), "--rounds", str(options.rounds)]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            shares = " | ".join(f"{share:.0%}" for share in row["shares"])
            print(
                f"| {length} | {row['ours']:.1f}/s | {row['theirs']:.1f}/s | {row['ratio']:.1f} | "
                f"{row['peak'] / 1024:.0f} MiB | {shares} |",
                flush=True,
            )


def measured(length: int, letters: int, rounds: int) -> dict[str, Any]:
    """RNAs/s of both, the median ratio of a round, KiB of the largest process, and shares of time."""
    rng = np.random.default_rng(length)
    count = max(4, letters // length)
    records = [SequenceRecord(f"r{k}", "".join(rng.choice(list("ACGU"), length))) for k in range(count)]
    predictor = load_fold_predictor(load_model(device="cpu"), families=("shipped",))
    list(predict(records[:2], predictor))
    with multiprocessing.get_context("fork").Pool(usable_cpus()) as pool:
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(seconds(lambda: list(predict(records, predictor))))
            theirs.append(seconds(lambda: pool.map(partition, [record.sequence for record in records], 1)))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "ours": count / statistics.median(ours),
        "theirs": count / statistics.median(theirs),
        "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        "peak": peak,
        "shares": shares(records, length),
    }


def partition(sequence: str) -> None:
    """ViennaRNA's best structure, which scales the sums as RNAfold does, and partition function."""
    import RNA

    compound = RNA.fold_compound(sequence)
    compound.exp_params_rescale(compound.mfe()[1])
    compound.pf()


def shares(records: list[SequenceRecord], length: int) -> list[float]:
    """Of the processor time that one process takes, by part."""
    predictor = load_fold_predictor(load_model(device="cpu", threads=1), families=("shipped",))
    list(predict(records[:1], predictor))
    spent = dict.fromkeys(PARTS, 0.0)
    for part, method in PARTS.items():
        setattr(predictor, method, timed(getattr(predictor, method), part, spent))
    started = time.process_time()
    list(predict(records[: max(2, 4000 // length)], predictor))
    whole = time.process_time() - started
    found = [spent[part] / whole for part in PARTS]
    return [*found, 1.0 - sum(found)]


def timed(method: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        started = time.process_time()
        result = method(*arguments)
        spent[part] += time.process_time() - started
        return result

    return run


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--letters", type=int, default=20_000, help="of all RNAs of one length")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0, help="processes that compete")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
