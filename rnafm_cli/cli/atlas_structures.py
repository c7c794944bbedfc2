"""Predicted structures of an atlas's RNAs, kept in a file and used again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rnafm_cli.cli import console
from rnafm_cli.cli.atlas_intake import ModelChoice

if TYPE_CHECKING:
    from rnafm_cli.tasks.atlas_points import AtlasPoints

__all__ = ["structures_of"]


def structures_of(model: ModelChoice, points: AtlasPoints, path: Path) -> list[str]:
    """The dot-bracket string of each RNA, ``""`` where it cannot be folded; those in the file are not predicted again.

    The file, dot-bracket with all of them, is written anew.
    """
    from rnafm_cli.errors import InputError
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.io.structures import read_structures
    from rnafm_cli.rna.records import SequenceRecord

    known: dict[tuple[str, str], str] = {}
    if path.exists():
        try:
            known = {(record.id, record.sequence): record.dot_bracket for record in read_structures(path)}
        except InputError as error:
            console.warn(f"{error.message}: structures are predicted anew")
    plain = [sequence.translate(_OTHER_LETTERS) for sequence in points.sequences or []]
    missing = [SequenceRecord(*key) for key in zip(points.ids, plain, strict=True) if key not in known]
    refused: list[str] = []
    with console.progress(len(missing), "folding") as bar, open_output(path) as sink:
        for key, brackets in known.items():
            sink.write(f">{key[0]}\n{key[1]}\n{brackets}\n")
        folds = model.loaded.fold(
            missing,
            batch_tokens=model.batch_tokens,
            reject=lambda error: refused.append(error.message),
            warn=console.warn,
        )
        for result in folds if missing else ():
            structure = result.structure
            known[structure.id, structure.sequence] = structure.dot_bracket
            sink.write(f">{structure.id}\n{structure.sequence}\n{structure.dot_bracket}\n")
            bar.advance()
    if refused:
        console.warn(f"{len(refused)} RNAs have no structure: {refused[0]}")
    return [known.get(key, "") for key in zip(points.ids, plain, strict=True)]


_OTHER_LETTERS = {ord(letter): "N" for letter in "BDEFHIJKLMOPQRSVWXYZ"}
