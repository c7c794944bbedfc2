"""How likely each nucleotide is unpaired: computed, or read from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.io.maps import read_pair_probabilities
from rnafm_cli.rna import thermo
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.evidence import ReactivityProfiles
from rnafm_cli.structure.fold import load_fold_predictor
from rnafm_cli.structure.predict import Query, default_max_memory, plan_pairs, prior_cell_bytes

_Unpaired = NDArray[np.floating]


class StructureSource:
    """Unpaired probabilities by record; notes which records it knows nothing of.

    Args:
        name: what to call it.
        look_up: (L,) how likely each nucleotide of a record is unpaired, 0 to 1, NaN where unknown; None if nothing is
            known. It raises InputError for what does not fit the record.
        admit: raises InputError for a record too long to fold; None where nothing is computed.
        unused: ids of which something is known and that no checked record bears.
    """

    def __init__(
        self,
        name: str,
        look_up: Callable[[SequenceRecord], _Unpaired | None],
        *,
        admit: Callable[[SequenceRecord], None] | None = None,
        unused: Callable[[], list[str]] = list,
    ) -> None:
        self.name, self.unused = name, unused
        self._look_up, self._admit = look_up, admit
        self.without: set[str] = set()
        """Ids of records of which it knows nothing."""

    def __call__(self, record: SequenceRecord) -> _Unpaired | None:
        """What ``look_up`` gives."""
        return self._look_up(record)

    def check(self, record: SequenceRecord) -> None:
        """Note, or refuse, what will be asked for: that may happen in another process."""
        if self._admit is not None:
            self._admit(record)
        elif self._look_up(record) is None:
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


def structure_source(
    source: str,
    model: NamedModel,
    *,
    max_bytes: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> StructureSource:
    """What gives a record's unpaired probabilities.

    Args:
        source: ``thermo``, ViennaRNA's ensemble, as in training; ``fold``, the model's own structure head; a file
            ``.h5`` of ``rnafm fold --probs``; or a table (or folder of tables) of positions and scores, such as
            icSHAPE's, of which what exceeds 1 counts as 1.
        max_bytes: memory that folding may take; see :func:`rnafm_cli.structure.predict.default_max_memory`.
        warn: called once when the model's structure head has to do without ViennaRNA.

    Raises:
        UsageError: when the computation is not possible here.
        InputError: for an unreadable file.
    """
    if source == "thermo":
        return _thermodynamic(max_bytes or default_max_memory())
    if source == "fold":
        predictor = load_fold_predictor(model, warn=warn, max_bytes=max_bytes)
        return StructureSource(
            source,
            lambda record: _unpaired(predictor([Query(record)])[0].probs_LL),
            admit=lambda record: predictor.admit(Query(record)),
        )
    if source.endswith((".h5", ".hdf5")):
        return _stored(source)
    profiles = ReactivityProfiles(source)

    def measured(record: SequenceRecord) -> _Unpaired | None:
        scores_L = profiles.of(record)
        return None if scores_L is None else np.minimum(scores_L, 1.0)

    return StructureSource(profiles.name, measured, unused=profiles.unused)


def _thermodynamic(max_bytes: int) -> StructureSource:
    thermo.require("--structure thermo")

    def admit(record: SequenceRecord) -> None:
        prior = prior_cell_bytes(len(record))
        plan = plan_pairs(len(record), max_bytes, cell_bytes=0, prior_cell_bytes=prior, windows=False)
        plan.check(record, max_bytes, "folding")

    return StructureSource(
        "thermo", lambda record: _unpaired(thermo.prior(record.sequence, thermo.TURNER)), admit=admit
    )


def _stored(path: str) -> StructureSource:
    known = {record.id: _unpaired(p_LL) for record, p_LL in read_pair_probabilities(Path(path))}
    waiting = set(known)

    def look_up(record: SequenceRecord) -> _Unpaired | None:
        waiting.discard(record.id)
        return known.get(record.id)

    return StructureSource(path, look_up, unused=lambda: [name for name in known if name in waiting])


def _unpaired(p_LL: _Unpaired) -> _Unpaired:
    return np.clip(1.0 - p_LL.sum(axis=1), 0.0, 1.0)
