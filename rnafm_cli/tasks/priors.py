"""Priors of records that are on their way to a head."""

from __future__ import annotations

from concurrent.futures import Future
from weakref import WeakKeyDictionary

import numpy as np

from rnafm_cli.data.prior_processes import PriorProcesses, PriorRequest, prior_of
from rnafm_cli.data.thermo import Parameters
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.tasks.evidence import Evidence

__all__ = ["Priors"]

LONGEST_FORESEEN = 1000
"""Longer RNAs wait for their turn here, where their memory is accounted for."""

START_AFTER = 12
"""Records before other processes start: a few RNAs are folded before they would be ready."""


class Priors:
    """ViennaRNA's pair probabilities; those of foreseen records are computed while the networks run.

    Args:
        parameters: energy parameters, those of the head's training.
        processes: how many processes help; 0 computes everything here, when it is needed.
    """

    def __init__(self, parameters: Parameters, processes: int = 0) -> None:
        self._parameters = parameters
        self._helpers = PriorProcesses(processes) if processes else None
        self._foreseen = 0
        self._coming: WeakKeyDictionary[SequenceRecord, Future[np.ndarray]] = WeakKeyDictionary()

    def foresee(self, record: SequenceRecord, evidence: Evidence) -> None:
        """Say that a record's prior will be needed."""
        self._foreseen += 1
        short = len(record.sequence) <= LONGEST_FORESEEN
        if self._helpers is not None and short and self._foreseen > START_AFTER:
            self._coming[record] = self._helpers.submit(self._request(record, evidence))

    def of(self, record: SequenceRecord, evidence: Evidence) -> np.ndarray:
        """(L, L) float32, symmetric.

        Raises:
            RnafmError: when ViennaRNA is missing.
        """
        request, future = self._request(record, evidence), self._coming.pop(record, None)
        if future is None or self._helpers is None:
            return prior_of(request)
        return self._helpers.take(request, future)

    def _request(self, record: SequenceRecord, evidence: Evidence) -> PriorRequest:
        return record.sequence, self._parameters, evidence.nested(record.sequence), evidence.reactivities
