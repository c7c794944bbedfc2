"""Thermodynamic prior: base-pair probabilities of the nearest-neighbour ensemble, through ViennaRNA.

The package is optional when a program runs; ``available()`` says whether it is there. Shape suffix: L nucleotides.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from types import ModuleType

import numpy as np

from rnafm_cli.errors import InputError, RnafmError

__all__ = ["LONGEST_EXACT", "available", "local_pair_probabilities", "pair_probabilities", "version"]

LONGEST_EXACT = 2500
"""Up to this length the whole ensemble is summed by default; beyond it pairs are confined to windows."""

LONGEST_UNSCALED = 200
"""Up to this length no energy is low enough to overflow: a pure GC hairpin folds exactly at 300 nt."""

_SHAPE_SLOPE, _SHAPE_INTERCEPT = 1.8, -0.6
_MISSING_REACTIVITY = -999.0
_TO_ACGU = {ord(letter): "N" for letter in "RYKMSWBDHV-"} | {ord("T"): "U"}


def available() -> bool:
    """Whether ViennaRNA's Python package is installed."""
    return importlib.util.find_spec("RNA") is not None


def version() -> str | None:
    """Version of ViennaRNA, or None where it is not installed."""
    return str(_library().__version__) if available() else None


def pair_probabilities(
    sequence: str,
    *,
    constraint: str | None = None,
    shape: np.ndarray | None = None,
    temperature: float = 37.0,
    max_span: int | None = None,
) -> np.ndarray:
    """Equilibrium pair probabilities of one RNA (McCaskill 1990; parameters of Turner 2004).

    Args:
        sequence: upper-case RNA; a letter other than A, C, G, U pairs with nothing.
        constraint: one symbol a base with RNAfold's meaning: ``|`` paired, ``x`` unpaired, ``<`` / ``>`` paired
            with a base downstream / upstream, ``(`` ``)`` this pair, ``.`` free.
        shape: (L,) SHAPE reactivities, NaN where there is none; turned into stacking energies by the rule of
            Deigan et al. 2009 (slope 1.8, intercept -0.6 kcal/mol).
        temperature: degrees Celsius.
        max_span: longest distance j - i of a pair; no limit if None.

    Returns:
        (L, L) float32, symmetric, rows sum to at most 1.

    Raises:
        RnafmError: when ViennaRNA is missing.
        InputError: when a constraint or SHAPE profile has another length than the sequence.
    """
    library, length = _library(), len(sequence)
    if length < 5:
        return np.zeros((length, length), dtype=np.float32)
    model = library.md()
    model.temperature = temperature
    model.uniq_ML = 0
    if max_span is not None:
        model.max_bp_span = max_span
    compound = library.fold_compound(sequence.translate(_TO_ACGU), model)
    if constraint is not None:
        _check_length("constraint", len(constraint), length)
        compound.hc_add_from_db(constraint, library.CONSTRAINT_DB_DEFAULT | library.CONSTRAINT_DB_ENFORCE_BP)
    if shape is not None:
        _check_length("SHAPE profile", len(shape), length)
        reactivity = np.where(np.isfinite(shape), shape, _MISSING_REACTIVITY)
        compound.sc_add_SHAPE_deigan([_MISSING_REACTIVITY, *map(float, reactivity)], _SHAPE_SLOPE, _SHAPE_INTERCEPT)
    # Boltzmann factors of a long RNA overflow unless they are scaled by the energy of its best structure.
    if length > LONGEST_UNSCALED or shape is not None or temperature < 37.0:
        compound.exp_params_rescale(compound.mfe()[1])
    compound.pf()
    upper_LL = np.asarray(compound.bpp(), dtype=np.float32)[1:, 1:]
    return upper_LL + upper_LL.T


def local_pair_probabilities(
    sequence: str, *, window: int = 1200, max_span: int = 800, cutoff: float = 1e-5
) -> np.ndarray:
    """Pair probabilities of a long RNA: means over all windows that hold both bases (Bernhart et al. 2006).

    Time grows linearly with length. Probabilities below ``cutoff`` are zero.

    Returns:
        (L, L) float32, symmetric; zero farther than ``max_span`` from the diagonal.
    """
    library, length = _library(), len(sequence)
    window = min(window, length)
    found = library.pfl_fold(sequence.translate(_TO_ACGU), window, min(max_span, window), cutoff)
    p_LL = np.zeros((length, length), dtype=np.float32)
    for entry in found:
        if entry.i > 0 and entry.j > 0:
            p_LL[entry.i - 1, entry.j - 1] = p_LL[entry.j - 1, entry.i - 1] = entry.p
    return p_LL


@cache
def _library() -> ModuleType:
    try:
        return importlib.import_module("RNA")
    except ImportError as error:
        raise RnafmError(
            "the thermodynamic prior needs ViennaRNA's Python package, which is not installed",
            hint="pip install ViennaRNA, or run without the prior",
        ) from error


def _check_length(what: str, given: int, length: int) -> None:
    if given != length:
        raise InputError(f"the {what} has {given} positions and the sequence {length}")
