"""How likely each nucleotide is unpaired: computed, or read from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.io.maps import read_pair_probabilities
from rnafm_cli.rna import thermo
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.evidence import ReactivityProfiles
from rnafm_cli.structure.fold import load_fold_predictor
from rnafm_cli.structure.predict import Query, default_max_memory, plan_pairs, prior_cell_bytes

COMPUTED = ("thermo", "fold")
"""ViennaRNA's ensemble, as in training; the model's own structure head."""


class StructureSource:
    """Unpaired probabilities by record; notes which records it knows nothing of.

    Args:
        name: what to call it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.without: set[str] = set()
        """Ids of records of which it knows nothing."""

    def __call__(self, record: SequenceRecord) -> NDArray[np.floating] | None:
        """(L,) how likely each nucleotide is unpaired, 0 to 1, NaN where unknown; None if nothing is known.

        Raises:
            InputError: for what does not fit the record.
        """
        raise NotImplementedError

    def check(self, record: SequenceRecord) -> None:
        """Note what will be asked for, which may happen in another process.

        Raises:
            InputError: for what does not fit the record, or a record too long to fold in the memory there is.
        """
        if self(record) is None:
            self.without.add(record.id)

    def checked(self, records: Iterable[SequenceRecord], reject: Reject = raise_rejected) -> Iterator[SequenceRecord]:
        """The records that can be asked for."""
        for record in records:
            try:
                self.check(record)
            except InputError as error:
                reject(error)
            else:
                yield record

    def unused(self) -> list[str]:
        """Ids of which something is known and that no checked record bears."""
        return []


def structure_source(
    source: str,
    model: NamedModel,
    *,
    max_bytes: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> StructureSource:
    """What gives a record's unpaired probabilities.

    Args:
        source: one of ``COMPUTED``; a file ``.h5`` of ``rnafm fold --probs``; or a table (or folder of tables) of
            positions and scores, such as icSHAPE's, of which what exceeds 1 counts as 1.
        max_bytes: memory that folding may take; see :func:`rnafm_cli.structure.predict.default_max_memory`.
        warn: called once when the model's structure head has to do without ViennaRNA.

    Raises:
        UsageError: when the computation is not possible here.
        InputError: for an unreadable file.
    """
    if source == "thermo":
        if not thermo.available():
            raise UsageError("--structure thermo needs ViennaRNA's Python package", hint="pip install ViennaRNA")
        return _Thermodynamic(max_bytes)
    if source == "fold":
        return _Folded(model, max_bytes, warn)
    if source.endswith((".h5", ".hdf5")):
        return _Stored(source)
    return _Measured(source)


class _Thermodynamic(StructureSource):
    def __init__(self, max_bytes: int | None) -> None:
        super().__init__("thermo")
        self._max_bytes = max_bytes or default_max_memory()

    def check(self, record: SequenceRecord) -> None:
        length = len(record.sequence)
        plan = plan_pairs(
            length, self._max_bytes, cell_bytes=0, prior_cell_bytes=prior_cell_bytes(length), windows=False
        )
        plan.check(record, self._max_bytes, "folding")

    def __call__(self, record: SequenceRecord) -> NDArray[np.floating]:
        return _unpaired(thermo.prior(record.sequence, thermo.TURNER))


class _Folded(StructureSource):
    def __init__(self, model: NamedModel, max_bytes: int | None, warn: Callable[[str], None]) -> None:
        super().__init__("fold")
        self._predictor = load_fold_predictor(model, warn=warn, max_bytes=max_bytes)

    def check(self, record: SequenceRecord) -> None:
        self._predictor.plan(Query(record)).check(record, self._predictor.max_bytes, "folding")

    def __call__(self, record: SequenceRecord) -> NDArray[np.floating]:
        return _unpaired(self._predictor([Query(record)])[0].probs_LL)


class _Stored(StructureSource):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._known = {record.id: _unpaired(p_LL) for record, p_LL in read_pair_probabilities(Path(path))}
        self._waiting = set(self._known)

    def __call__(self, record: SequenceRecord) -> NDArray[np.floating] | None:
        return self._known.get(record.id)

    def check(self, record: SequenceRecord) -> None:
        super().check(record)
        self._waiting.discard(record.id)

    def unused(self) -> list[str]:
        return [name for name in self._known if name in self._waiting]


class _Measured(StructureSource):
    def __init__(self, path: str) -> None:
        self._profiles = ReactivityProfiles(path)
        super().__init__(self._profiles.name)

    def __call__(self, record: SequenceRecord) -> NDArray[np.floating] | None:
        scores_L = self._profiles.of(record)
        return None if scores_L is None else np.minimum(scores_L, 1.0)

    def unused(self) -> list[str]:
        return self._profiles.unused()


def _unpaired(p_LL: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.clip(1.0 - p_LL.sum(axis=1), 0.0, 1.0)
