"""Draw the committed folds of the project's chains: ``python benchmarks/chain_folds.py train.h5 train_contacts.h5``.

Prints how the folds turn out; with ``--write`` it replaces ``rnafm_cli/structure/chain_folds.tsv``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import astuple
from pathlib import Path

from rnafm_cli.io.maps import read_hdf5_chains
from rnafm_cli.io.streams import open_output
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.structure.chain_folds import FOLDS, FoldRow, draw_folds, shipped_families

TARGET = Path(__file__).parents[1] / "rnafm_cli" / "structure" / "chain_folds.tsv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    chains = [chain for path in options.files for chain in read_hdf5_chains(path)]
    rows = draw_folds(chains, shipped_families(), seed=options.seed)
    for fold in range(FOLDS):
        mine = [row for row in rows if row.fold == fold]
        measured, groups = sum(row.distances for row in mine), len({row.group for row in mine})
        residues = sum(row.length for row in mine)
        print(f"fold {fold}: {len(mine)} chains in {groups} groups, {measured} with distances, {residues} residues")
    print("largest groups:", Counter(row.group for row in rows).most_common(5))
    if options.write:
        with open_output(TARGET) as sink:
            table = TableWriter(sink, FoldRow.__slots__)
            table.write_all(map(astuple, rows))
            table.flush()


if __name__ == "__main__":
    main()
