"""Cluster files (two columns, representative and member, as MMseqs2 and many CD-HIT converters write)."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np

from rnafm_cli.errors import InputError

__all__ = ["ClusterTable", "name_hashes"]


class ClusterTable:
    """Looks up the cluster of a sequence id; 16 bytes a member, so 27 million take 0.4 GB.

    Args:
        path: TSV with representative (or cluster name) and member in the first two columns, plain or gzip.

    Raises:
        InputError: on a line without two columns.
    """

    def __init__(self, path: Path) -> None:
        members: list[np.ndarray] = []
        clusters: list[np.ndarray] = []
        names: list[bytes] = []
        owners: list[bytes] = []
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as handle:
            for number, line in enumerate(handle, start=1):
                columns = line.split()
                if len(columns) < 2:
                    raise InputError(
                        f"{path}:{number}: a cluster line needs two columns, representative and member",
                        hint="write it with 'mmseqs createtsv' or convert the .clstr file",
                    )
                owners.append(columns[0])
                names.append(columns[1])
                if len(names) == 1 << 16:
                    members.append(name_hashes(names))
                    clusters.append(name_hashes(owners))
                    names, owners = [], []
        members.append(name_hashes(names))
        clusters.append(name_hashes(owners))
        keys = np.concatenate(members)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._clusters = np.concatenate(clusters)[order]
        self.missing = 0

    def lookup(self, ids: list[bytes]) -> np.ndarray:
        """(n,) uint64 cluster of each id; an id that the file lacks is a cluster of its own and counted."""
        hashes = name_hashes(ids)
        if not len(self._keys):
            self.missing += len(ids)
            return hashes
        place = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        known = self._keys[place] == hashes
        self.missing += int((~known).sum())
        return np.where(known, self._clusters[place], hashes)


def name_hashes(names: list[bytes]) -> np.ndarray:
    """(n,) uint64 hash of each name."""
    joined = b"".join(hashlib.blake2b(name, digest_size=8).digest() for name in names)
    return np.frombuffer(joined, dtype=np.uint64)
