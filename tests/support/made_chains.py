"""Made-up chains: random stems that thermodynamics also finds, with the distances of two strands side by side."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from rnafm_cli.rna.chains import Chain

_PARTNER = dict(zip("ACGU", "UGCA", strict=True))


def made_chains(count: int, *, seed: int = 0, contacts_only: int = 0) -> list[Chain]:
    """Hairpins of 28 to 40 residues; of the last ``contacts_only`` only contacts are known."""
    rng = np.random.default_rng(seed)
    chains = []
    for k in range(count):
        stem = int(rng.integers(11, 16))
        strand = "".join(rng.choice(list("ACGU"), stem, p=[0.2, 0.3, 0.3, 0.2]))
        sequence = strand + "GAAA" + "".join(_PARTNER[c] for c in reversed(strand)) + "AU"
        length = len(sequence)
        place_L = np.minimum(np.arange(length), 2 * stem + 3 - np.arange(length)).astype(float)
        side_L = (np.arange(length) >= stem + 2).astype(float)
        apart_LL = np.hypot(5.0 * (place_L[:, None] - place_L), 3.0 * (side_L[:, None] - side_L))
        distance_LL = np.maximum(apart_LL - 2.0, 1.5).astype(np.float16).astype(np.float32)
        np.fill_diagonal(distance_LL, 0.0)
        distance_LL[3], distance_LL[:, 3] = np.nan, np.nan
        whole = Chain(f"made{k}", sequence, distance_LL)
        if k >= count - contacts_only:
            whole = Chain(f"made{k}", sequence, contact_LL=whole.contacts())
        chains.append(whole)
    return chains


def chain_file(path: Path, chains: list[Chain]) -> Path:
    """The chains as an HDF5 file."""
    with h5py.File(path, "w", track_order=True) as file:
        for chain in chains:
            group = file.create_group(chain.id)
            group.attrs["sequence"] = chain.sequence
            if chain.distance_LL is not None:
                group["distance"] = chain.distance_LL.astype(np.float16)
            else:
                group["contact"] = chain.contacts()
    return path
