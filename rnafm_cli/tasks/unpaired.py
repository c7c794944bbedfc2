"""How likely each nucleotide is unpaired: computed, or read from what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.data import thermo
from rnafm_cli.errors import UsageError
from rnafm_cli.io.pair_probabilities import read_pair_probabilities
from rnafm_cli.io.shape import ReactivityProfiles
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.tasks.encode import encode
from rnafm_cli.tasks.evidence import Evidence
from rnafm_cli.tasks.model import Model
from rnafm_cli.tasks.predictors import load_pair_predictor
from rnafm_cli.tasks.priors import Priors
from rnafm_cli.tasks.rbp import StructureOf

__all__ = ["COMPUTED", "structure_source"]

COMPUTED = ("thermo", "fold")
"""ViennaRNA's ensemble, as in training; the model's own structure head."""


def structure_source(source: str, model: Model) -> StructureOf:
    """What gives a record's unpaired probabilities.

    Args:
        source: one of ``COMPUTED``; a file ``.h5`` of ``rnafm fold --probs``; or a table (or folder of tables) of
            positions and scores, such as icSHAPE's, of which what exceeds 1 counts as 1.

    Raises:
        UsageError: when the computation is not possible here.
        InputError: for an unreadable file.
    """
    if source == "thermo":
        if not thermo.available():
            raise UsageError("--structure thermo needs ViennaRNA's Python package", hint="pip install ViennaRNA")
        return lambda record: _unpaired(Priors(thermo.TURNER).of(record, Evidence()))
    if source == "fold":
        return _Folded(model)
    if source.endswith((".h5", ".hdf5")):
        return _Stored(Path(source))
    return _Measured(ReactivityProfiles(source))


class _Folded:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._predictor = load_pair_predictor(model, prior=thermo.available(), warn=lambda message: None)

    def __call__(self, record: SequenceRecord) -> NDArray[np.floating]:
        encoded = list(encode([record], self._model.encoder_for("fold"), self._model.runtime))
        return _unpaired(self._predictor(encoded, [Evidence()])[0])


class _Stored:
    def __init__(self, path: Path) -> None:
        self._known = {record.id: _unpaired(p_LL) for record, p_LL in read_pair_probabilities(path)}

    def __call__(self, record: SequenceRecord) -> NDArray[np.floating] | None:
        return self._known.get(record.id)


class _Measured:
    def __init__(self, profiles: ReactivityProfiles) -> None:
        self._profiles = profiles

    def __call__(self, record: SequenceRecord) -> NDArray[np.floating] | None:
        scores_L = self._profiles.of(record)
        return None if scores_L is None else np.minimum(scores_L, 1.0)


def _unpaired(p_LL: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.clip(1.0 - p_LL.sum(axis=1), 0.0, 1.0)
