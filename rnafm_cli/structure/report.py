"""Folded RNAs as one HTML page that needs nothing else: drawings, probabilities, families, text to copy and files.

All an RNA's texts and drawings are those of the other outputs. They lie packed in the page and are unpacked when the
RNA is chosen, so a page of many RNAs opens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnafm_cli.families.annotate import Annotation, consensus_alignments
from rnafm_cli.io.stockholm import Alignment
from rnafm_cli.io.structure_output import format_ct, format_dotbracket
from rnafm_cli.rna.pairs import layers, to_dot_bracket
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.fold import Fold
from rnafm_cli.structure.tertiary import TertiaryMaps
from rnafm_cli.viz.dots import contacts_above, distances_above, draw_dots
from rnafm_cli.viz.page import html_page, json_text, packed
from rnafm_cli.viz.structure import STYLES

_TEMPLATE = Path(__file__).with_name("html") / "report.html"


@contextmanager
def fold_report(
    path: str | Path,
    *,
    title: str = "RNA structures",
    caption: str = "",
    maps_of: Callable[[SequenceRecord], TertiaryMaps | None] | None = None,
    force: bool = True,
) -> Iterator[Callable[[Fold], None]]:
    """A page for the time of a ``with`` block, and the function that adds an RNA to it; equal folds give equal bytes.

    >>> with fold_report("report.html") as add:  # doctest: +SKIP
    ...     for fold in model.fold("rnas.fa"):
    ...         add(fold)

    Args:
        caption: a line below the title.
        maps_of: gives contacts and distances of an RNA, for the page to show as well.
        force: replace a file that exists.

    Raises:
        UsageError: for a folder, or a file that exists and ``force`` is off.
    """
    divider = ""
    with html_page(path, _TEMPLATE, title=title, caption=caption, force=force) as write:

        def add(fold: Fold) -> None:
            nonlocal divider
            write(f"{divider}\n{json_text(_row(fold, maps_of(fold.record) if maps_of else None))}")
            divider = ","

        write("[")
        yield add
        write("]")


def _row(fold: Fold, maps: TertiaryMaps | None) -> dict[str, Any]:
    """What the list shows of an RNA, and the rest of it packed."""
    best = fold.hits[0] if fold.hits else None
    confidence, structure, subject = fold.pair_confidence, fold.structure, fold.subject
    drawings = {style: draw(subject) for style, draw in STYLES.items()}
    if maps is not None and maps.contact_LL is not None:
        drawings["contact"] = draw_dots(subject, contacts_above(maps.contact_LL))
    if maps is not None and maps.distance_LL is not None:
        drawings["distance"] = draw_dots(subject, distances_above(maps.distance_LL))
    details = {
        "dbn": format_dotbracket(structure),
        "ct": format_ct(structure),
        "drawings": {style: canvas.svg() for style, canvas in drawings.items()},
        "relatives": None if maps is None else maps.relatives,
        "families": _families(fold),
    }
    return {
        "id": fold.record.id,
        "description": fold.record.description,
        "length": len(fold.record),
        "pairs": len(fold.pairs),
        "supported": int(fold.is_supported.sum()),
        "crossing": sum(map(len, layers(fold.pairs)[1:])),
        "accuracy": round(fold.expected_accuracy, 4),
        "confidence": None if confidence is None else round(confidence, 4),
        "family": best.family.name if best else "",
        "accession": best.family.accession if best else "",
        "packed": packed(details),
    }


def _families(fold: Fold) -> list[dict[str, Any]]:
    """Each family found, its consensus and the RNA aligned to it, the structure below."""
    aligned = consensus_alignments([Annotation(fold.record, list(fold.hits))])
    alignment_of = {one.tags["AC"]: one for one in aligned}
    brackets = to_dot_bracket(fold.pairs, len(fold.record), letters=True)
    return [
        {
            "accession": hit.family.accession,
            "name": hit.family.name,
            "type": hit.family.type,
            "description": hit.family.description,
            "evalue": f"{hit.evalue:.1e}",
            "bases": f"{hit.start + 1} to {hit.end}",
            "alignment": _shown(alignment_of.pop(hit.family.accession, None), brackets),
        }
        for hit in fold.hits
    ]


def _shown(alignment: Alignment | None, brackets: str) -> str:
    """An alignment as lines of text; empty where a better hit of the family shows it already."""
    if alignment is None:
        return ""
    lines = [("consensus pairs", alignment.columns["SS_cons"]), ("consensus", alignment.columns["RF"])]
    for name, row in zip(alignment.names, alignment.rows, strict=True):
        place = name.rsplit("/", 1)[1]
        rest = iter(brackets[int(place.split("-")[0]) - 1 :])
        lines += [(place, row), ("predicted pairs", "".join(next(rest) if c.isalpha() else " " for c in row))]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:{width}}  {text}" for name, text in lines)
