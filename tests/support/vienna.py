"""Records as ViennaRNA's own programs read them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_READ = """
import json, sys, RNA
with open(sys.argv[1]) as handle:
    while True:
        _, header, sequence, rest = RNA.file_fasta_read(handle)
        if not header:
            break
        energy = RNA.fold_compound(sequence).eval_structure(rest[0].split()[0])
        sys.stdout.write(json.dumps([header.lstrip(">"), sequence, list(rest), energy]) + "\\n")
"""


@dataclass(frozen=True)
class ViennaRecord:
    """What RNAeval would see of a record."""

    header: str
    sequence: str
    rest: list[str]
    """The lines below the sequence."""
    energy: float
    """kcal/mol of the structure."""


def vienna_records(path: Path) -> list[ViennaRecord]:
    """Read a file to its end with the reader behind RNAeval and RNAplot.

    It keeps the line it has read ahead in a static variable, so each file is read in a process of its own.
    """
    pytest.importorskip("RNA")
    result = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [ViennaRecord(*json.loads(line)) for line in result.stdout.splitlines()]
