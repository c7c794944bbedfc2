"""Draw the committed folds of the project's chains: ``python benchmarks/chain_folds.py train.h5 train_contacts.h5``.

Prints how the folds turn out; with ``--write`` it replaces ``rnafm_cli/structure/chain_folds.tsv``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from rnafm_cli.io.maps import read_hdf5_chains
from rnafm_cli.structure.chain_folds import draw_folds, shipped_families

TARGET = Path(__file__).parents[1] / "rnafm_cli" / "structure" / "chain_folds.tsv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    chains = [chain for path in options.files for chain in read_hdf5_chains(path)]
    families = shipped_families()
    table = pd.DataFrame({"id": [chain.id for chain in chains]})
    table["fold"], table["group"] = draw_folds(chains, families, seed=options.seed)
    table["family"] = [families.get(chain.id, "") for chain in chains]
    table["length"] = [len(chain) for chain in chains]
    table["distances"] = ["true" if chain.distance_LL is not None else "false" for chain in chains]
    by_fold = table.assign(distances=table["distances"] == "true").groupby("fold")
    print(by_fold.agg({"id": "count", "group": "nunique", "distances": "sum", "length": "sum"}))
    print("largest groups:", table["group"].value_counts().head(5).to_dict())
    if options.write:
        table.to_csv(TARGET, sep="\t", index=False)


if __name__ == "__main__":
    main()
