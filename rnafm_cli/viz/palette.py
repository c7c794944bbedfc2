"""Colours that stay apart for colour-blind readers and in grey print (after Okabe & Ito 2008)."""

from __future__ import annotations

INK = "#1f2430"
MUTED = "#6b7280"
PALE = "#d5d8de"

BASE_COLOURS = {"A": "#f7c46c", "C": "#9fcdf0", "G": "#f0a987", "U": "#8fd3b6"}
"""Light enough for dark letters on top."""
OTHER_BASE = "#e2e4e8"

LAYER_COLOURS = ("#3b4252", "#d55e00", "#0072b2", "#cc79a7", "#009e73")
"""Nested pairs first, then one colour for each layer of crossing pairs; the last serves all deeper ones."""

PREDICTORS = ("#0072b2", "#d55e00")


def base_colour(letter: str) -> str:
    """Fill of a base; ambiguity codes are grey."""
    return BASE_COLOURS.get(letter, OTHER_BASE)


def layer_colour(layer: int) -> str:
    """Colour of a layer of pairs, 0 for the nested ones."""
    return LAYER_COLOURS[min(layer, len(LAYER_COLOURS) - 1)]


def confidence_opacity(probability: float) -> float:
    """Opacity of a pair: even the least probable can be seen."""
    return 0.25 + 0.75 * min(max(float(probability), 0.0), 1.0)
