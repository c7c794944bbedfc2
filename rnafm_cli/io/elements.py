"""Structural elements (stems, hairpins, interior loops ...) as forgi names them.

forgi is optional and is imported only here. Its compiled extension writes to the process's standard
error when it meets a newer numpy, past Python's ``sys.stderr``, so that is silenced where it is made.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

from rnafm_cli.errors import RnafmError
from rnafm_cli.io.assembly import plain_letters
from rnafm_cli.rna.pseudoknots import to_dot_bracket
from rnafm_cli.rna.records import StructureRecord

__all__ = ["ELEMENT_LETTERS", "element_string", "format_elements"]

ELEMENT_LETTERS = {
    "f": "5' end",
    "s": "stem",
    "h": "hairpin loop",
    "i": "interior loop or bulge",
    "m": "multiloop segment",
    "t": "3' end",
}
STDERR = 2


def element_string(record: StructureRecord) -> str:
    """One letter per base, see :data:`ELEMENT_LETTERS`; stems of a single pair count as stems.

    Raises:
        RnafmError: when forgi is missing or fails on the structure.
    """
    graphs = _bulge_graph()
    structure = to_dot_bracket(record.pairs, len(record))
    with _silence():
        try:
            graph = graphs.from_dotbracket(
                structure, seq=plain_letters(record.sequence), dissolve_length_one_stems=False
            )
            elements = str(graph.to_element_string())
        except Exception as error:
            raise RnafmError(f"{record.where}: forgi cannot annotate this structure ({error})") from error
    return elements


def format_elements(record: StructureRecord) -> str:
    """Header, sequence, structure and element string, one line each."""
    structure = to_dot_bracket(record.pairs, len(record))
    return f">{record.header}\n{plain_letters(record.sequence)}\n{structure}\n{element_string(record)}\n"


@cache
def _bulge_graph() -> Any:
    try:
        with _silence():
            from forgi.graph.bulge_graph import BulgeGraph
    except Exception as error:
        raise RnafmError(
            f"loop types need the forgi package ({type(error).__name__}: {error})",
            hint="pip install forgi (Python below 3.13), or choose another format",
        ) from error
    return BulgeGraph


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep Python's warnings and whatever compiled code writes to file descriptor 2 from the terminal."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
    try:
        saved = os.dup(STDERR)
    except OSError:
        saved = None
    sink = os.open(os.devnull, os.O_WRONLY)
    if sink != STDERR:
        os.dup2(sink, STDERR)
        os.close(sink)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        if saved is None:
            os.close(STDERR)
        else:
            os.dup2(saved, STDERR)
            os.close(saved)
