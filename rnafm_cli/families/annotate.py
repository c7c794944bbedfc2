"""Known families in RNAs of any length: the calls, their rows and GFF3 lines, their alignment to the consensus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.encoder.workers import read_ahead
from rnafm_cli.errors import Reject, raise_rejected
from rnafm_cli.families.alignment import aligned_hits
from rnafm_cli.families.library import SHIPPED, Family, load_libraries
from rnafm_cli.families.search import MAX_EVALUE, Hit, Search, Strands, without_rivals
from rnafm_cli.io.fasta import Records, as_records
from rnafm_cli.io.stockholm import Alignment, wuss
from rnafm_cli.io.tables import Tabular
from rnafm_cli.rna.records import SequenceRecord

_RECORDS, _BASES = 500, 1_000_000
"""RNAs, and bases, that are searched together at most (a longer RNA ends its batch)."""
_TOGETHER = 64
"""Hits that are aligned together."""

_TERMS = {
    "tRNA": "tRNA",
    "rRNA": "rRNA",
    "CD-box": "C_D_box_snoRNA",
    "HACA-box": "H_ACA_box_snoRNA",
    "scaRNA": "scaRNA",
    "snoRNA": "snoRNA",
    "snRNA": "snRNA",
    "miRNA": "pre_miRNA",
    "lncRNA": "lncRNA",
    "antisense": "antisense_RNA",
    "ribozyme": "ribozyme",
    "riboswitch": "riboswitch",
    "IRES": "internal_ribosome_entry_site",
    "Cis-reg": "regulatory_region",
    "Intron": "autocatalytically_spliced_intron",
    "Gene": "ncRNA",
}
"""Parts of Rfam's types and their terms of the Sequence Ontology, the more special ones first."""
_PLAIN = " ()[]{}<>/:+*'\"!?@#$|~^_`\\-."
"""Characters that an attribute of GFF3 may hold as they are."""


@dataclass(frozen=True, eq=False)
class Annotation(Tabular):
    """One RNA and the families it holds, best first."""

    record: SequenceRecord
    hits: list[Hit]

    def rows(self) -> list[dict[str, Any]]:
        """A row per family, as ``rnafm annotate`` writes it: positions 1-based, start <= end on either strand."""
        return [
            {
                "id": self.record.id,
                "family": hit.family.accession,
                "name": hit.family.name,
                "type": hit.family.type,
                "clan": hit.family.clan,
                "start": hit.start + 1,
                "end": hit.end,
                "strand": hit.strand,
                "score": round(hit.score, 1),
                "evalue": hit.evalue,
                "model_start": hit.model_start + 1,
                "model_end": hit.model_end,
                "description": hit.family.description,
            }
            for hit in self.hits
        ]

    def gff3(self) -> str:
        """A line of GFF3 per family: a term of the Sequence Ontology for the type, the score in bits."""
        name = quote(self.record.id, safe=".:^*$@!+_?-|")
        lines = []
        for hit in self.hits:
            family = hit.family
            parts = family.type.split(";")
            term = next((term for part, term in _TERMS.items() if part in parts), "sequence_feature")
            attributes = {
                "Name": family.name,
                "family": family.accession,
                "clan": family.clan,
                "evalue": f"{hit.evalue:.3g}",
                "Target": f"{family.accession} {hit.model_start + 1} {hit.model_end}",
                "Note": family.description,
            }
            told = ";".join(f"{key}={quote(text, safe=_PLAIN)}" for key, text in attributes.items() if text)
            cells = (name, "rnafm", term, hit.start + 1, hit.end, f"{hit.score:.1f}", hit.strand, ".", told)
            lines.append("\t".join(map(str, cells)) + "\n")
        return "".join(lines)


def annotate(
    records: Records,
    *,
    families: Sequence[str | Path] = (SHIPPED,),
    max_evalue: float = MAX_EVALUE,
    strands: Strands = "plus",
    every: bool = False,
    threads: int = 1,
    weights_dir: Path | None = None,
    reject: Reject = raise_rejected,
) -> Iterator[Annotation]:
    """Yield every RNA with its families, in input order.

    Args:
        records: a FASTA path, or records, (id, sequence) tuples or bare sequences.
        families: libraries by file or name, earlier ones first; ``shipped`` is the one that comes with the program.
        max_evalue: expected number of hits by chance in one RNA up to which a hit is told.
        strands: ``both`` for genomic DNA.
        every: tell also hits that overlap a better one of the same family or clan.
        threads: search with so many.
        reject: called with the error of a record that cannot be used; when it returns, the record is left out.

    Raises:
        WeightsError: for a library that is missing or damaged.
        InputError: for unreadable files, and what ``reject`` raises.
    """
    search = Search(load_libraries(families, weights_dir), max_evalue=max_evalue, threads=threads)
    return _annotated(as_records(records, reject=reject), search, strands, every)


def _annotated(
    records: Iterable[SequenceRecord], search: Search, strands: Strands, every: bool
) -> Iterator[Annotation]:
    for batch in read_ahead(records, lambda record: _BASES // _RECORDS + len(record), _BASES, cap=1):
        found = search.hits([record.sequence for record in batch], strands=strands)
        for record, hits in zip(batch, found, strict=True):
            yield Annotation(record, hits if every else without_rivals(hits))


def consensus_alignments(annotations: Iterable[Annotation]) -> Iterator[Alignment]:
    """The hits of each family aligned to its consensus by their posteriors, families in the order of their first hits.

    Match columns are upper case, insertions lower case. All RNAs are read before the first alignment comes.
    """
    families: dict[str, Family] = {}
    rows: dict[str, dict[str, tuple[str, NDArray[np.int16]]]] = {}
    hits = ((found.record, hit) for found in annotations for hit in found.hits)
    while part := list(islice(hits, _TOGETHER)):
        sequences = [record.sequence for record, _ in part]
        for number, hit, bases, posterior in aligned_hits(sequences, [[hit] for _, hit in part]):
            state_L = posterior.path()
            placed = np.flatnonzero(state_L >= 0)
            if not len(placed):
                continue
            first, last = int(placed[0]), int(placed[-1]) + 1
            place = f"{bases.start + first + 1}-{bases.start + last}"
            if hit.strand == "-":
                place = f"{bases.stop - first}-{bases.stop - last + 1}"
            family = families.setdefault(hit.family.accession, hit.family)
            of_family = rows.setdefault(family.accession, {})
            # RNAs of one name are told apart by a number.
            plain = f"{part[number][0].id}/{place}"
            names = (plain if number == 1 else f"{plain}#{number}" for number in count(1))
            unique = next(name for name in names if name not in of_family)
            of_family[unique] = (posterior.sequence[first:last], state_L[first:last].astype(np.int16))
    for accession, of_family in rows.items():
        yield _alignment(families[accession], of_family)


def _alignment(family: Family, rows: dict[str, tuple[str, NDArray[np.int16]]]) -> Alignment:
    cells = {name: _cells(sequence, state_L) for name, (sequence, state_L) in rows.items()}
    width = [max(len(one.get(k, "-")) for one in cells.values()) for k in range(len(family))]
    texts = ["".join(one.get(k, "-").ljust(w, ".") for k, w in enumerate(width)) for one in cells.values()]
    lines = {"SS_cons": wuss(family.pairs, len(family)), "RF": family.consensus}
    columns = {tag: "".join(text[k].ljust(w, ".") for k, w in enumerate(width)) for tag, text in lines.items()}
    tags = {"AC": family.accession, "ID": family.name, "DE": family.description, "TP": family.type, "CL": family.clan}
    return Alignment(list(rows), texts, tags, columns)


def _cells(sequence: str, state_L: NDArray[np.int16]) -> dict[int, str]:
    """Base on each match state, in lower case those inserted behind it; the first base stands on one."""
    cells: dict[int, str] = {}
    last = -1
    for letter, state in zip(sequence, state_L.tolist(), strict=True):
        last = max(last, state)
        cells[last] = cells.get(last, "") + (letter if state >= 0 else letter.lower())
    return cells
