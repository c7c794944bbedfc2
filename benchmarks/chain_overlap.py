"""What share of 3D chains a fold head has seen: ``chain_overlap.py --chains a.h5 b.h5 --trained *.tsv.gz``.

A chain counts as seen when a training sequence of the fold head equals it, or shares more 8-mers with it than the
project's rule of closeness allows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from rnafm_cli.io.maps import read_hdf5_chains
from rnafm_cli.rna.kmers import close_to_any
from rnafm_cli.structure.chain_folds import FOLDS, folds_of
from rnafm_cli.structure.fold_data import load_structures, shipped_dev_families


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", nargs="+", type=Path, required=True)
    parser.add_argument("--trained", nargs="+", type=Path, required=True)
    parser.add_argument("--max-length", type=int, default=500)
    options = parser.parse_args()
    chains = [chain for path in options.chains for chain in read_hdf5_chains(path)]
    records, held_out = load_structures(options.trained, max_length=options.max_length), shipped_dev_families()
    known = sorted({record.sequence for record in records if record.family not in held_out})
    same = np.isin([chain.sequence for chain in chains], known)
    close = close_to_any([chain.sequence for chain in chains], known)
    measured = np.array([chain.distance_LL is not None for chain in chains])
    folds, _ = folds_of(chains)
    print(f"{len(known)} sequences of {len(options.trained)} files")
    for name, part in (("with distances", measured), ("contacts only", ~measured), ("all", measured | True)):
        print(f"{name}: {part.sum()} chains, {same[part].mean():.3f} equal, {close[part].mean():.3f} close")
    for fold in range(FOLDS):
        part = measured & (folds == fold)
        print(f"fold {fold}, with distances: {part.sum()} chains, {close[part].mean():.3f} close")


if __name__ == "__main__":
    main()
