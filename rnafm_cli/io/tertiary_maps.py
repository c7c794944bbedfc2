"""HDF5 files of contact and distance maps: a group for each RNA, laid out like files of known chains.

``/<id>/contact`` probabilities of a contact, ``/<id>/distance`` and ``/<id>/sd`` in Å; each (L, L), symmetric. The
group's attribute ``sequence`` is the RNA. Shape suffix: L bases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import UsageError
from rnafm_cli.io.pair_probabilities import PairProbabilityWriter
from rnafm_cli.io.provenance import Provenance
from rnafm_cli.io.streams import STDIO, write_error
from rnafm_cli.rna.records import SequenceRecord

__all__ = ["FORMAT", "TertiaryMapWriter"]

FORMAT = "rnafm-tertiary-maps"


class TertiaryMapWriter(PairProbabilityWriter):
    """Writes maps to an HDF5 file that takes its name when it is complete; used as :class:`PairProbabilityWriter`."""

    def __init__(self, path: str | Path, *, provenance: Provenance, half: bool = False, force: bool = False) -> None:
        if str(path) == STDIO:
            raise UsageError("HDF5 cannot be written to stdout", hint="name a file, --h5 FILE.h5")
        super().__init__(path, provenance=provenance, half=half, force=force)
        self._attributes |= {"format": FORMAT, "distance_unit": "angstrom"}

    def add_maps(self, record: SequenceRecord, maps: Mapping[str, NDArray[np.floating]]) -> None:
        """Store an RNA's maps by name (``contact``, ``distance``, ``sd``), each (L, L) symmetric.

        Raises:
            InputError: when an earlier record has its name and it was not claimed.
            RnafmError: when the disk is full.
        """
        if self._file is None:
            raise ValueError("a TertiaryMapWriter is used inside its with block")
        key = self._names.name(record)
        if key not in self._names:
            self._names.claim(record)
        try:
            group = self._file.create_group(key)
            group.attrs.update({"id": record.id, "description": record.description, "length": len(record.sequence)})
            # Attributes of HDF5 end at 64 kB.
            if len(record.sequence) < 60_000:
                group.attrs["sequence"] = record.sequence
            for name, map_LL in maps.items():
                stored = np.asarray(map_LL).astype(self._dtype)
                group.create_dataset(name, data=stored, compression="gzip", compression_opts=1, shuffle=True)
        except (OSError, RuntimeError) as error:
            cause = error if isinstance(error, OSError) else OSError(str(error))
            raise write_error(self.path, cause) from error
