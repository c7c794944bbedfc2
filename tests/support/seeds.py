"""Made-up families as Stockholm text: a consensus with its pairs, and rows that keep the pairs while letters change."""

from __future__ import annotations

import numpy as np

HAIRPIN = "<<<<<<<....<<<<<....>>>>>....<<<<<<.....>>>>>>...>>>>>>>"
KNOT = "..<<<<<<...AAAAAA..>>>>>>....<<<<<...>>>>>..aaaaaa...."
_COMPLEMENT = dict(zip("ACGU", "UGCA", strict=True))


def _pairs(structure: str) -> list[tuple[int, int]]:
    opened: dict[str, list[int]] = {}
    found = []
    for k, symbol in enumerate(structure):
        if symbol == "<" or symbol.isupper():
            opened.setdefault(symbol, []).append(k)
        elif symbol != ".":
            found.append((opened["<" if symbol == ">" else symbol.upper()].pop(), k))
    return found


def rows_of(structure: str, count: int, seed: int, change: float = 0.15) -> list[str]:
    """Sequences with one consensus; a share of the letters is drawn anew, the pairs stay."""
    rng = np.random.default_rng(seed)
    consensus = rng.choice(list("ACGU"), len(structure))
    rows = []
    for _ in range(count):
        row = np.where(rng.random(len(structure)) < change, rng.choice(list("ACGU"), len(structure)), consensus)
        for i, j in _pairs(structure):
            row[j] = _COMPLEMENT[row[i]]
        rows.append("".join(row))
    return rows


def stockholm(accession: str, rows: list[str], structure: str, **tags: str) -> str:
    """One alignment, a line a row."""
    lines = ["# STOCKHOLM 1.0", f"#=GF AC   {accession}.3", *(f"#=GF {tag}   {text}" for tag, text in tags.items())]
    lines += [f"r{k}/1-{len(row)} {row}" for k, row in enumerate(rows)]
    return "\n".join([*lines, f"#=GC SS_cons {structure}", "//"]) + "\n"


def seeds_text() -> str:
    """Three families: a hairpin and a rival of its clan, and one with a pseudoknot."""
    rows = rows_of(HAIRPIN, 12, seed=1)
    rival = rows_of(HAIRPIN, 12, seed=1, change=0.3)
    return (
        stockholm("MF00001", rows, HAIRPIN, ID="hairpin", DE="made-up tRNA", TP="Gene; tRNA;", CL="CX00001")
        + stockholm("MF00002", rival, HAIRPIN, ID="rival", DE="its cousin", TP="Gene; tRNA;", CL="CX00001")
        + stockholm("MF00003", rows_of(KNOT, 12, seed=2), KNOT, ID="knot", DE="a, b; c=d", TP="Cis-reg; riboswitch;")
    )
