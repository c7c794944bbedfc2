"""rnafm: an RNA foundation model in the shell and in Python.

>>> import rnafm_cli as rnafm
>>> model = rnafm.load_model("rnafm-mini")        # doctest: +SKIP
>>> for record, vectors in model.embed("rnas.fa"):  # doctest: +SKIP
...     print(record.id, vectors.shape)

Names load on first use, so importing the package costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Read by OpenMP when torch is loaded: threads that wait for others leave the core to whoever has work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["Model", "RnafmError", "SequenceRecord", "__version__", "annotate", "load_model", "read_fasta", "to_frame"]

_HOMES = {
    "annotate": "rnafm_cli.families.annotate",
    "Model": "rnafm_cli.model",
    "load_model": "rnafm_cli.model",
    "to_frame": "rnafm_cli.model",
    "SequenceRecord": "rnafm_cli.rna.records",
    "read_fasta": "rnafm_cli.io.fasta",
    "RnafmError": "rnafm_cli.errors",
}

if TYPE_CHECKING:
    from rnafm_cli.errors import RnafmError
    from rnafm_cli.families.annotate import annotate
    from rnafm_cli.io.fasta import read_fasta
    from rnafm_cli.model import Model, load_model, to_frame
    from rnafm_cli.rna.records import SequenceRecord


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
