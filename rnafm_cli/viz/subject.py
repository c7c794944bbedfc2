"""What a drawing shows: an RNA, its pairs by layer, how sure they are, and the line that explains the colours.

Shape suffix: L bases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.pairs import Pairs, as_pairs, layers, validate
from rnafm_cli.viz.canvas import Boxes, Canvas, Disc, Line, Point, Text
from rnafm_cli.viz.palette import BASE_COLOURS, INK, LAYER_COLOURS, MUTED, confidence_opacity, layer_colour

_SUPPORTED_WEIGHT = 1.8
_LETTER_WIDTH = 0.47
"""Mean width of a letter as a share of the font size, for text that cannot be measured here."""


@dataclass(frozen=True, slots=True)
class DrawnPair:
    """A pair i < j (0-based), the layer it is drawn in, and how its line is drawn."""

    i: int
    j: int
    layer: int
    opacity: float
    """Its confidence; full where that is not known."""
    title: str
    is_supported: bool
    """By a family: its line is wider."""

    def stroke(self, width: float) -> dict[str, Any]:
        """How its line is drawn."""
        width *= _SUPPORTED_WEIGHT if self.is_supported else 1.0
        return {"colour": layer_colour(self.layer), "width": width, "opacity": self.opacity, "title": self.title}


@dataclass(frozen=True, eq=False)
class Subject:
    """One RNA with its structure, ready to be drawn.

    Raises:
        InputError: when the pairs are no structure of this sequence.
        ValueError: when the probabilities are not (L, L), or there is no base.
    """

    name: str
    """The caption."""
    sequence: str
    """L letters, upper case."""
    pairs: Pairs
    """(n, 2), 0-based; crossing pairs are drawn in other colours."""
    probs_LL: NDArray[np.floating] | None = None
    """Symmetric pair probabilities; they set the opacity of pairs, and the dots of ``dots``."""
    supported: Pairs | None = None
    """Pairs that a known family has in its consensus, or None where none is known; their lines are wider."""

    def __post_init__(self) -> None:
        length = len(self.sequence)
        if length == 0:
            raise ValueError("there is nothing to draw in an empty sequence")
        validate(as_pairs(self.pairs), length)
        if self.probs_LL is not None and self.probs_LL.shape != (length, length):
            raise ValueError(f"probabilities of shape {self.probs_LL.shape} for {length} bases")

    @cached_property
    def layers(self) -> tuple[Pairs, ...]:
        """Pair lists, the nested pairs first."""
        return tuple(layers(as_pairs(self.pairs)))

    @property
    def layer_names(self) -> list[str]:
        """What the colours of a knotted structure stand for; empty where there is only one."""
        if len(self.layers) < 2:
            return []
        names = ["nested", "crossing"] + [f"crossing {k}" for k in range(2, len(self.layers))]
        return names[: len(LAYER_COLOURS)]

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def caption(self) -> str:
        """Name, length and number of pairs."""
        count = sum(map(len, self.layers))
        size = f"{len(self)} nt, {count} base pair{'' if count == 1 else 's'}"
        return f"{self.name} ({size})" if self.name else size

    @cached_property
    def drawn_pairs(self) -> list[DrawnPair]:
        """All pairs, nested ones first, so that crossing pairs come to lie on top."""
        supported = set(map(tuple, [] if self.supported is None else self.supported.tolist()))
        found = []
        for layer, part in enumerate(self.layers):
            for i, j in part.tolist():
                title, opacity = f"{self.sequence[i]}{i + 1}-{self.sequence[j]}{j + 1}", 1.0
                if self.probs_LL is not None:
                    title += f", p = {self.probs_LL[i, j]:.2f}"
                    opacity = confidence_opacity(self.probs_LL[i, j])
                title += ", in the family's consensus" if (i, j) in supported else ""
                found.append(DrawnPair(i, j, layer, opacity, title, (i, j) in supported))
        return found


def put_text(canvas: Canvas, text: str, x: float, y: float, size: float, *, gap: float = 1.4) -> float:
    """Add text and return where the next thing may start."""
    canvas.add(Text(at=(x, y), text=text, size=size, colour=MUTED, anchor="start"))
    return x + (len(text) * _LETTER_WIDTH + gap) * size


def add_caption(canvas: Canvas, subject: Subject, at: Point, *, size: float, room: float) -> None:
    """The name, cut to the room there is, and the size of the RNA."""
    caption = subject.caption
    most = max(int(room / (size * _LETTER_WIDTH)), 8)
    if len(caption) > most:
        spare = max(most - (len(caption) - len(subject.name)) - 1, 4)
        caption = subject.name[:spare] + "…" + caption[len(subject.name) :]
    canvas.add(Text(at=at, text=caption, size=size, colour=INK, anchor="start", bold=True))


def add_pair_legend(canvas: Canvas, subject: Subject, at: Point, *, size: float) -> float:
    """Colours of the layers where pairs cross, and shades of confidence where it is known; returns the width used."""
    x, y = at

    def entry(name: str, width: float, *, layer: int = 0, opacity: float = 1.0, at: float = 2.5, gap: float) -> None:
        nonlocal x
        points = [(x, y), (x + 2 * size, y)]
        canvas.add(Line(points=points, colour=layer_colour(layer), width=width, opacity=opacity))
        x = put_text(canvas, name, x + at * size, y, size, gap=gap)

    for layer, name in enumerate(subject.layer_names):
        entry(name, size / 5, layer=layer, gap=1.4)
    if subject.supported is not None and len(subject.supported):
        entry("in the family's consensus", _SUPPORTED_WEIGHT * size / 5, gap=3.0)
    if subject.probs_LL is not None and subject.layers:
        x = put_text(canvas, "pair probability", x, y, size, gap=0.6)
        for probability in (0.1, 0.5, 1.0):
            entry(f"{probability:g}", size / 5, opacity=confidence_opacity(probability), at=2.4, gap=1.0)
    return x - at[0]


def pair_legend_width(subject: Subject, *, size: float) -> float:
    """The width that :func:`add_pair_legend` will use, for drawings that are as wide as they must be."""
    return add_pair_legend(Canvas("", width=0.0, height=0.0), subject, (0.0, 0.0), size=size)


def add_base_legend(canvas: Canvas, at: Point, *, size: float, round: bool = True) -> None:
    """Colours of the four bases."""
    x, y = at
    for letter, fill in BASE_COLOURS.items():
        half = size * 0.45
        if round:
            canvas.add(Disc(centre=(x + half, y), radius=half, fill=fill))
        else:
            canvas.add(Boxes(boxes=[(x, y - half, 2 * half, 2 * half)], fill=fill))
        x = put_text(canvas, letter, x + 1.2 * size, y, size, gap=0.8)
