"""Base-pair probabilities of given records from any HDF5 file with an (L, L) data set per id at its root."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.names import hdf5_key
from rnafm_cli.rna.records import StructureRecord

__all__ = ["read_matched_probabilities"]


def read_matched_probabilities(
    path: str | Path, records: Iterable[StructureRecord]
) -> Iterator[tuple[StructureRecord, NDArray[np.float32] | None]]:
    """Yield the records with their probabilities, None where the file holds no data set of that id.

    Raises:
        InputError: when the file is no HDF5 file, or a data set is not (L, L) with values between 0 and 1.
    """
    try:
        file = h5py.File(path)
    except OSError as error:
        reason = "no such file" if not Path(path).exists() else "is no HDF5 file"
        raise InputError(f"{path}: {reason}", hint="'rnafm fold --probs' writes one") from error
    with file:
        for record in records:
            key = hdf5_key(record.id)
            if key not in file:
                yield record, None
                continue
            stored = file[key]
            if not isinstance(stored, h5py.Dataset) or stored.shape != (len(record), len(record)):
                shape = getattr(stored, "shape", "a group")
                raise InputError(f"{path}: '{key}' is {shape}, the RNA has {len(record)} bases")
            probs_LL = np.asarray(stored, dtype=np.float32)
            # Half precision and sums in float32 leave the interval by a hair.
            if not (np.isfinite(probs_LL).all() and probs_LL.min() >= -1e-3 and probs_LL.max() <= 1.001):
                raise InputError(f"{path}: '{key}' holds values that are no probabilities")
            yield record, probs_LL
