"""Picture files of many structures: a folder with one for each, or a single named file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import UsageError
from rnafm_cli.io.names import file_stem, refuse_suffix
from rnafm_cli.rna.pairs import Pairs
from rnafm_cli.viz.arcs import draw_arcs
from rnafm_cli.viz.canvas import PICTURE_SUFFIXES, Canvas, write_picture
from rnafm_cli.viz.dots import draw_dots
from rnafm_cli.viz.radial import draw_radial
from rnafm_cli.viz.subject import Subject

Style = Literal["arc", "radial", "dots"]
STYLES: dict[str, Callable[[Subject], Canvas]] = {"arc": draw_arcs, "radial": draw_radial, "dots": draw_dots}


def draw_structure(
    name: str,
    sequence: str,
    pairs: Pairs,
    probs_LL: NDArray[np.floating] | None = None,
    *,
    style: Style = "arc",
) -> str:
    """An SVG drawing of a secondary structure; equal input gives equal bytes.

    Args:
        name, sequence, pairs, probs_LL: see :class:`~rnafm_cli.viz.subject.Subject`, which also tells what is refused.
        style: ``arc`` (the sequence on a line), ``radial`` (helices and loops in the plane) or ``dots`` (matrix).

    Raises:
        UsageError: for an unknown style.
    """
    return draw(Subject(name, sequence, pairs, probs_LL), style).svg()


def draw(subject: Subject, style: Style) -> Canvas:
    """The same drawing as shapes, for writers of other formats than SVG."""
    if style not in STYLES:
        raise UsageError(f"unknown drawing style '{style}'", hint=f"known are {', '.join(STYLES)}")
    return STYLES[style](subject)


class Gallery:
    """Writes a picture for each RNA it is given.

    Args:
        target: a file named ``.svg``, ``.png`` or ``.pdf``, for one RNA; else a folder, made if it does not
            exist, which gets ``ID.svg`` for each RNA (``ID_2.svg`` for an id that comes again).
        style: see :func:`draw_structure`.

    Raises:
        UsageError: for a folder that is a file.
    """

    def __init__(self, target: str | Path, *, style: Style = "arc") -> None:
        self._target, self._style = Path(target), style
        self._single = self._target.suffix.lower() in PICTURE_SUFFIXES and not self._target.is_dir()
        self._used: set[str] = set()
        if not self._single and not self._target.is_dir():
            kinds = f"a single picture's name ends in {', '.join(PICTURE_SUFFIXES)}"
            refuse_suffix(target, (), "a folder of pictures", kinds)
            if self._target.exists():
                raise UsageError(f"{target}: is not a folder", hint=kinds)
            self._target.mkdir(parents=True)

    def add(self, subject: Subject) -> Path:
        """Draw one RNA and return the file; see :meth:`place`."""
        path = self.place(subject.name)
        write_picture(draw(subject, self._style), path)
        return path

    def place(self, name: str) -> Path:
        """Where the picture of the next RNA goes.

        Raises:
            UsageError: for a second RNA where the target is one file.
        """
        if self._single and self._used:
            raise UsageError(f"{self._target}: holds one picture and there are more RNAs", hint="name a folder")
        free = stem = file_stem(name)
        number = 1
        # Some file systems take names that differ only in case for the same.
        while free.lower() in self._used:
            number += 1
            free = f"{stem}_{number}"
        self._used.add(free.lower())
        return self._target if self._single else self._target / f"{free}.svg"
