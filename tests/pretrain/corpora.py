"""A made-up corpus for training tests: a few families of related RNAs and strangers."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def family_fasta(path: Path, *, families: int = 12, members: int = 12, strangers: int = 150, seed: int = 0) -> Path:
    """Write FASTA with ``type=`` and ``family=``; members of a family differ in a few per cent of their letters."""
    rng = np.random.default_rng(seed)
    lines = []
    for family in range(families):
        ancestor = rng.integers(0, 4, size=int(rng.integers(60, 120)))
        for member in range(members):
            letters = np.where(rng.random(len(ancestor)) < 0.03, rng.integers(0, 4, size=len(ancestor)), ancestor)
            kind = ("tRNA", "snoRNA", "riboswitch")[family % 3]
            lines.append(f">f{family}.{member} type={kind} family=RF{family:05d}\n{_text(letters)}")
    for stranger in range(strangers):
        length = int(rng.integers(20, 400))
        lines.append(f">s{stranger} type=lncRNA\n{_text(rng.integers(0, 4, size=length))}")
    path.write_text("\n".join(lines) + "\n")
    return path


def _text(codes: np.ndarray) -> str:
    return "".join("ACGU"[code] for code in codes)
