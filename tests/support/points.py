"""Points whose order, groups and branches are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Branching:
    """A trunk that splits into three branches."""

    points: np.ndarray
    time: np.ndarray
    branch: np.ndarray
    """0 on the trunk, else 1 to 3."""


def branching(seed: int = 0, count: int = 600, *, width: int = 30, noise: float = 0.25) -> Branching:
    """Points around four stretches at right angles: time runs to 10 on the trunk and on to 20 on the branches."""
    rng = np.random.default_rng(seed)
    ways = np.linalg.qr(rng.normal(size=(width, 4)))[0].T
    time = rng.uniform(0, 20, size=count)
    branch = np.where(time < 10, 0, rng.integers(1, 4, size=count))
    points = np.minimum(time, 10)[:, None] * ways[0] + np.maximum(time - 10, 0)[:, None] * ways[branch]
    return Branching((points + rng.normal(size=points.shape) * noise).astype(np.float32), time, branch)


def blobs(seed: int = 0, groups: int = 4, members: int = 30, *, width: int = 12, apart: float = 6.0) -> np.ndarray:
    """(groups * members, width) float32, group after group, each around a place of its own."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(groups, width))
    centre *= apart / np.linalg.norm(centre, axis=1, keepdims=True)
    return (np.repeat(centre, members, axis=0) + rng.normal(size=(groups * members, width))).astype(np.float32)
