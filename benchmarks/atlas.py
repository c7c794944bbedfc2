"""Memory and time of the steps of ``rnafm atlas`` on made-up vectors: python benchmarks/atlas.py 10000 40000 100000.

The vectors lie around 36 places, as pooled embeddings of 36 types would. Each size runs in a process of its own; the
memory is the peak of that process, the time that of the processor.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def vectors(count: int, width: int, *, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Made-up embeddings and labels."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(36, width)).astype(np.float32)
    group = rng.integers(0, 36, size=count)
    noise = rng.standard_normal((count, width), dtype=np.float32)
    return centre[group] + noise, [f"type_{k}" for k in group]


def measure(count: int, width: int, method: str) -> None:
    """Print the seconds of each step and the peak memory."""
    from rnafm_cli.atlas.figures import draw_groups
    from rnafm_cli.atlas.layout import lay_out
    from rnafm_cli.atlas.page import write_page

    points, labels = vectors(count, width)
    marks: list[tuple[str, float]] = []

    def tell(step: str) -> None:
        marks.append((step.split(" of ")[0], time.process_time()))

    layout = lay_out(points, method=method, tell=tell)  # type: ignore[arg-type]
    tell("figure")
    with tempfile.TemporaryDirectory() as folder:
        draw_groups(layout.place_N2, labels, Path(folder) / "atlas")
        tell("page")
        ids, lengths = [f"r{k}" for k in range(count)], np.full(count, 100)
        starts = ["ACGU" * 12] * count
        write_page(Path(folder) / "atlas.html", ids, layout.place_N2, lengths, starts, {"type": labels})
    tell("end")
    steps = ", ".join(f"{name} {b - a:.1f} s" for (name, a), (_, b) in zip(marks, marks[1:], strict=False))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{count:,} points, {width} wide, {method}: {steps}; peak memory {peak:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--method", default="umap", choices=("umap", "pca", "tsne"))
    parser.add_argument("--here", action="store_true", help="in this process")
    arguments = parser.parse_args()
    for count in arguments.counts:
        if arguments.here:
            measure(count, arguments.width, arguments.method)
        else:
            more = ["--width", str(arguments.width), "--method", arguments.method, "--here"]
            subprocess.run([sys.executable, __file__, str(count), *more], check=True)


if __name__ == "__main__":
    main()
