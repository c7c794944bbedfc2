"""Thermodynamic prior: base-pair probabilities of the nearest-neighbour ensemble, through ViennaRNA.

The package is optional when a program runs; ``available()`` says whether it is there. Shape suffix: L nucleotides.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from rnafm_cli.errors import ConfigError, RnafmError, UsageError

Parameters = tuple[str, ...]
"""Names of energy parameter sets; probabilities are the mean over them."""

TURNER: Parameters = ("turner2004",)
"""What RNAfold uses unless told otherwise."""

PARAMETER_SETS = {
    "turner2004": "params_load_RNA_Turner2004",
    "andronescu2007": "params_load_RNA_Andronescu2007",
    "langdon2018": "params_load_RNA_Langdon2018",
}
"""Energy parameters that ViennaRNA brings along: Turner & Mathews 2010, Andronescu et al. 2007, Langdon et al. 2018."""

LONGEST_EXACT = 1600
"""Up to this length the whole ensemble is summed by default; beyond it pairs are confined to windows."""
LONGEST_SPAN = 400
"""Pairs farther apart are left out of the prior of a longer RNA."""

_LONGEST_UNSCALED = 1000
"""Up to this length hardly any RNA is so stable that its Boltzmann factors overflow."""
_OVERFLOW = 99_000.0
"""A sum that overflowed has 100,000 kcal/mol in ViennaRNA's words, one that vanished infinitely many."""

_SHAPE_SLOPE, _SHAPE_INTERCEPT = 1.8, -0.6
_MISSING_REACTIVITY = -999.0
_LEAST_LOCAL = 1e-5
_TO_ACGU = {ord(letter): "N" for letter in "RYKMSWBDHV-"} | {ord("T"): "U"}


def available() -> bool:
    """Whether ViennaRNA's Python package is installed."""
    return importlib.util.find_spec("RNA") is not None


def require(what: str, otherwise: str = "") -> None:
    """Refuse, with UsageError, what ViennaRNA's Python package is needed for where it is not installed."""
    if not available():
        raise UsageError(f"{what} needs ViennaRNA's Python package", hint=f"pip install ViennaRNA{otherwise}")


def version() -> str | None:
    """Version of ViennaRNA, or None where it is not installed."""
    return str(_library().__version__) if available() else None


def check_parameters(parameters: Parameters) -> None:
    """Make sure that there are such parameter sets.

    Raises:
        ConfigError: for an unknown name, or none at all.
    """
    unknown = [name for name in parameters if name not in PARAMETER_SETS]
    if unknown or not parameters:
        problem = f"there are no energy parameters {unknown[0]!r}" if unknown else "energy parameters are needed"
        raise ConfigError(problem, hint=f"known: {', '.join(PARAMETER_SETS)}")


def pair_probabilities(
    sequence: str,
    *,
    parameters: Parameters = TURNER,
    constraint: str | None = None,
    shape: np.ndarray | None = None,
    max_span: int | None = None,
) -> np.ndarray:
    """Equilibrium pair probabilities of one RNA (McCaskill 1990) at 37 °C, the mean over sets of energy parameters.

    Args:
        sequence: upper-case RNA of L letters; a letter other than A, C, G, U pairs with nothing.
        parameters: names of ``PARAMETER_SETS``.
        constraint: L symbols with RNAfold's meaning: ``|`` paired, ``x`` unpaired, ``<`` / ``>`` paired
            with a base downstream / upstream, ``(`` ``)`` this pair, ``.`` free.
        shape: (L,) SHAPE reactivities, NaN where there is none; turned into stacking energies by the rule of
            Deigan et al. 2009 (slope 1.8, intercept -0.6 kcal/mol).
        max_span: longest distance j - i of a pair; no limit if None.

    Returns:
        (L, L) float32, symmetric, rows sum to at most 1.

    Raises:
        RnafmError: when ViennaRNA is missing.
        ConfigError: for unknown parameters.
    """
    check_parameters(parameters)
    library, length = _library(), len(sequence)
    if length < 5:
        return np.zeros((length, length), dtype=np.float32)
    letters = sequence.translate(_TO_ACGU)
    upper_LL = np.zeros((length, length), dtype=np.float32)
    for name in parameters:
        model, energies, factors = _energies(name, max_span)
        compound = library.fold_compound(letters, model)
        if constraint is not None:
            compound.hc_add_from_db(constraint, library.CONSTRAINT_DB_DEFAULT | library.CONSTRAINT_DB_ENFORCE_BP)
        if shape is not None:
            reactivities = [_MISSING_REACTIVITY, *np.nan_to_num(shape, nan=_MISSING_REACTIVITY).tolist()]
            compound.sc_add_SHAPE_deigan(reactivities, _SHAPE_SLOPE, _SHAPE_INTERCEPT)
        # In this order: the other way round, ViennaRNA computes the factors anew from its default parameters.
        compound.exp_params_subst(factors)
        compound.params_subst(energies)
        # Scaled by the energy of the best structure, the factors of no RNA overflow; to know it takes half as much
        # time again.
        if length > _LONGEST_UNSCALED or not compound.pf()[1] < _OVERFLOW:
            compound.exp_params_rescale(compound.mfe()[1])
            compound.pf()
        upper_LL += np.asarray(compound.bpp(), dtype=np.float32)[1:, 1:]
    upper_LL /= len(parameters)
    return upper_LL + upper_LL.T


def local_pair_probabilities(
    sequence: str, *, parameters: Parameters = TURNER, window: int = 600, max_span: int = LONGEST_SPAN
) -> np.ndarray:
    """Pair probabilities of a long RNA: means over all windows that hold both bases (Bernhart et al. 2006).

    Time grows linearly with length. Probabilities below 1e-5 are zero.

    Returns:
        (L, L) float32, symmetric; zero farther than ``max_span`` from the diagonal.
    """
    check_parameters(parameters)
    length = len(sequence)
    window = min(window, length)
    p_LL = np.zeros((length, length), dtype=np.float32)
    for name in parameters:
        with _in_force(name):
            found = _library().pfl_fold(sequence.translate(_TO_ACGU), window, min(max_span, window), _LEAST_LOCAL)
        for entry in found:
            if entry.i > 0 and entry.j > 0:
                p_LL[entry.i - 1, entry.j - 1] += entry.p / len(parameters)
    return p_LL + p_LL.T


def prior(
    sequence: str, parameters: Parameters, constraint: str | None = None, reactivities: np.ndarray | None = None
) -> np.ndarray:
    """Pair probabilities to guide a head, (L, L) float32 symmetric; local ones of a long RNA that nothing is known of.

    Args:
        parameters, constraint, reactivities: see :func:`pair_probabilities`.
    """
    long = len(sequence) > LONGEST_EXACT
    if long and constraint is None and reactivities is None:
        return local_pair_probabilities(sequence, parameters=parameters)
    span = LONGEST_SPAN if long else None
    return pair_probabilities(sequence, parameters=parameters, constraint=constraint, shape=reactivities, max_span=span)


@lru_cache(maxsize=16)
def _energies(name: str, max_span: int | None) -> tuple[Any, Any, Any]:
    """ViennaRNA's model details, energies and Boltzmann factors; loading takes as long as folding 80 nt."""
    library = _library()
    with _in_force(name):
        model = library.md()
        model.uniq_ML = 0
        if max_span is not None:
            model.max_bp_span = max_span
        return model, library.param(model), library.exp_param(model)


_PARAMETERS_LOCK = threading.Lock()


@contextmanager
def _in_force(name: str) -> Iterator[None]:
    """ViennaRNA's parameters belong to the whole process: others for a moment, then the default ones again."""
    library = _library()
    with _PARAMETERS_LOCK:
        if name == TURNER[0]:
            yield
            return
        getattr(library, PARAMETER_SETS[name])()
        try:
            yield
        finally:
            getattr(library, PARAMETER_SETS[TURNER[0]])()


@cache
def _library() -> ModuleType:
    try:
        return importlib.import_module("RNA")
    except ImportError as error:
        raise RnafmError(
            "the thermodynamic prior needs ViennaRNA's Python package, which is not installed",
            hint="pip install ViennaRNA, or run without the prior",
        ) from error
