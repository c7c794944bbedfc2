"""A folder of saliency: one table of all nucleotides, and a logo for each RNA and protein that is to be drawn.

Shape suffix: L nucleotides.
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import UsageError
from rnafm_cli.io.streams import write_error
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.viz.gallery import Gallery
from rnafm_cli.viz.logo import draw_logo

__all__ = ["SaliencyGallery"]

_COLUMNS = ("id", "protein", "position", "base", "importance", "to_A", "to_C", "to_G", "to_U")


class SaliencyGallery:
    """Writes ``saliency.tsv`` and ``ID.PROTEIN.svg`` files.

    Args:
        folder: made if it does not exist.
        force: replace what an earlier run left.

    Raises:
        UsageError: when the folder is a file, or holds a table.
    """

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        self._pictures, path = Gallery(folder), folder / "saliency.tsv"
        if path.exists() and not force:
            raise UsageError(f"{path}: exists", hint="--force replaces it")
        try:
            self._handle: TextIO = path.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise write_error(path, error) from error
        self._table = TableWriter(self._handle, _COLUMNS)

    def add(
        self,
        name: str,
        protein: str,
        sequence: str,
        importance_L: NDArray[np.floating],
        effects_L4: NDArray[np.floating],
        *,
        probability: float | None = None,
    ) -> None:
        """Add the nucleotides of one RNA for one protein; with a probability, which the title tells, a logo as well.

        Args:
            effects_L4: change of the log odds for each letter, NaN where a nucleotide was not changed.
        """
        rows = zip(sequence, importance_L, effects_L4, strict=True)
        self._table.write_all(
            [name, protein, place, base, importance, *(None if np.isnan(v) else float(v) for v in effects)]
            for place, (base, importance, effects) in enumerate(rows, start=1)
        )
        self._table.flush()
        if probability is not None:
            path = self._pictures.place(f"{name}.{protein}")
            draw_logo(sequence, importance_L, path, title=f"{name}: {protein}, probability {probability:.2f}")

    def close(self) -> None:
        """Write the last rows."""
        self._table.flush()
        self._handle.close()
