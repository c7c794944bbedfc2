"""Secondary structures as text: the formats of the field, tables, and what 3D modelling programs take.

forgi is optional and is imported only here. Its compiled extension writes to the process's standard
error when it meets a newer numpy, past Python's ``sys.stderr``, so that is silenced where it is made.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from rnafm_cli.errors import InputError, RnafmError, UsageError
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.names import file_stem
from rnafm_cli.io.record_output import TextFormat
from rnafm_cli.io.structures import OWN_MARK, STRUCTURE_FORMATS
from rnafm_cli.rna.pairs import are_canonical, pairs_to_partners, to_dot_bracket
from rnafm_cli.rna.records import SequenceRecord, StructureRecord

_UNSURE = re.compile("[^ACGU]")


def _plain_letters(sequence: str) -> str:
    """A sequence for programs that know A, C, G, U and N: every ambiguity code becomes N."""
    return _UNSURE.sub("N", sequence)


def check_bases(record: SequenceRecord | StructureRecord, program: str) -> None:
    """Make sure that a program can build a sequence.

    Raises:
        InputError: when it has letters other than A, C, G, U.
    """
    if odd := _UNSURE.search(record.sequence):
        raise InputError(
            f"{record.where}: '{odd[0]}' at position {odd.start() + 1}; {program} takes A, C, G and U only",
            hint="replace or cut out unknown bases first",
        )


class Confident(Protocol):
    """A prediction that tells how sure a structure is, and why: by which families, the surest first."""

    @property
    def expected_accuracy(self) -> float: ...

    @property
    def pair_confidence(self) -> float | None: ...

    @property
    def hits(self) -> Sequence[Any]: ...


def _remark(score: Confident) -> str:
    """The line that follows a structure; RNAeval, RNAplot and forgi skip it."""
    told = f"# expected_accuracy={score.expected_accuracy:.4f}"
    if score.pair_confidence is not None:
        told += f" pair_confidence={score.pair_confidence:.4f}"
    for best in score.hits[:1]:
        told += f" family={best.family.accession} name={best.family.name} evalue={best.evalue:.1e}"
    return told + "\n"


def format_dotbracket(record: StructureRecord, score: Confident | None = None) -> str:
    """The three lines that RNAeval, RNAplot, ``RNAfold -C`` and forgi read; ``&`` between strands."""
    structure, sequence = to_dot_bracket(record.pairs, len(record)), _plain_letters(record.sequence)
    for place in reversed(record.breaks):
        sequence, structure = f"{sequence[:place]}&{sequence[place:]}", f"{structure[:place]}&{structure[place:]}"
    return f">{record.header}\n{sequence}\n{structure}\n" + (_remark(score) if score else "")


def format_ct(record: StructureRecord, score: Confident | None = None) -> str:
    """A CT record: a line with length and title, then one line per base; bases count from 1."""
    length, partners = len(record), pairs_to_partners(record.pairs, len(record)) + 1
    rows = [f"{length:>5}  {record.header}"]
    for i, (base, j) in enumerate(zip(_plain_letters(record.sequence), partners.tolist(), strict=True), start=1):
        rows.append(f"{i:>5} {base} {i - 1:>7} {i + 1 if i < length else 0:>4} {j:>4} {i:>4}")
    return "\n".join(rows) + "\n"


def _format_bpseq(record: StructureRecord, score: Confident | None) -> str:
    """A comment with id and description, then ``i base j`` per base; bases count from 1, 0 is unpaired."""
    partners = pairs_to_partners(record.pairs, len(record)) + 1
    letters = _plain_letters(record.sequence)
    rows = [f"{i} {base} {j}" for i, (base, j) in enumerate(zip(letters, partners.tolist(), strict=True), start=1)]
    return "\n".join([OWN_MARK + record.header, *rows]) + "\n"


def _format_tsv(record: StructureRecord, score: Confident | None) -> str:
    """``-`` for no family, brackets and letters for pairs."""
    pairs = to_dot_bracket(record.pairs, len(record), letters=True)
    cells = [record.id, record.family or "-", record.sequence, pairs]
    if score is not None:
        confidence, best = score.pair_confidence, next(iter(score.hits), None)
        cells += [
            f"{score.expected_accuracy:.4f}",
            "" if confidence is None else f"{confidence:.4f}",
            *([best.family.accession, f"{best.evalue:.1e}"] if best else ["", ""]),
        ]
    return "\t".join(cells) + "\n"


def _format_jsonl(record: StructureRecord, score: Confident | None) -> str:
    confidence = score.pair_confidence if score else None
    row = {
        "id": record.id,
        "description": record.description,
        "length": len(record),
        "sequence": record.sequence,
        "structure": to_dot_bracket(record.pairs, len(record), letters=True),
        "pairs": (record.pairs + 1).tolist(),
        "expected_accuracy": round(score.expected_accuracy, 4) if score else None,
        "pair_confidence": None if confidence is None else round(confidence, 4),
        "families": [
            {
                "accession": hit.family.accession,
                "name": hit.family.name,
                "evalue": hit.evalue,
                "start": hit.start + 1,
                "end": hit.end,
            }
            for hit in (score.hits if score else ())
        ],
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _format_3drna(record: StructureRecord, score: Confident | None) -> str:
    """3dRNA's input: a line of A, C, G, U and a line of ``.()[]``; what needs a third kind of bracket is left out."""
    check_bases(record, "3dRNA")
    return f"{record.sequence}\n{to_dot_bracket(record.pairs, len(record), max_layers=2)}\n"


def _format_secstruct(record: StructureRecord, score: Confident | None) -> str:
    """Rosetta's ``-secstruct_file``: the structure first, in ``.()[]{}``, then the sequence, which Rosetta skips.

    Pairs that would need a fourth kind of bracket are left out, and so are non-canonical ones: Rosetta
    takes those through ``-obligate_pair``.
    """
    check_bases(record, "Rosetta")
    pairs = record.pairs[are_canonical(record.pairs, record.sequence)]
    return f"{to_dot_bracket(pairs, len(record), max_layers=3)}\n{record.sequence.lower()}\n"


def _format_rosetta_fasta(record: StructureRecord, score: Confident | None) -> str:
    return f">{file_stem(record.id)}\n{record.sequence.lower()}\n"


def _format_elements(record: StructureRecord, score: Confident | None) -> str:
    """Header, sequence, structure and element string, one line each."""
    return format_dotbracket(record) + element_string(record) + "\n" + (_remark(score) if score else "")


def element_string(record: StructureRecord) -> str:
    """A letter per base: f 5' end, s stem, h hairpin, i interior loop or bulge, m multiloop, t 3' end.

    Raises:
        RnafmError: when forgi is missing or fails on the structure.
    """
    structure, sequence = to_dot_bracket(record.pairs, len(record)), _plain_letters(record.sequence)
    with _silence():
        try:
            from forgi.graph.bulge_graph import BulgeGraph
        except Exception as error:
            raise RnafmError(
                f"loop types need the forgi package ({type(error).__name__}: {error})",
                hint="pip install forgi (Python below 3.13), or choose another format",
            ) from error
        try:
            graph = BulgeGraph.from_dotbracket(structure, seq=sequence, dissolve_length_one_stems=False)
            return str(graph.to_element_string())
        except Exception as error:
            raise RnafmError(f"{record.where}: forgi cannot annotate this structure ({error})") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep Python's warnings and whatever compiled code writes to file descriptor 2 from the terminal."""
    with contextlib.ExitStack() as restored, warnings.catch_warnings(), contextlib.redirect_stderr(None):
        warnings.simplefilter("ignore")
        # Where standard error is closed there is nothing to silence.
        with contextlib.suppress(OSError):
            saved = os.dup(2)
            restored.callback(os.close, saved)
            restored.callback(os.dup2, saved, 2)
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 2)
            os.close(sink)
        yield


def _format(
    name: str,
    suffix: str,
    write: Callable[[StructureRecord, Confident | None], str],
    *,
    table: str = "",
    strands: bool = False,
) -> TextFormat:
    """A format; unless it keeps ``strands`` apart, an RNA of several is refused."""

    def text(record: StructureRecord, score: Confident | None) -> str:
        if record.breaks and not strands:
            raise InputError(
                f"{record.where}: has {len(record.breaks) + 1} strands, and the format would join them",
                hint="strand breaks (&) are kept by --format dbn",
            )
        return write(record, score)

    also = STRUCTURE_FORMATS[name].suffixes if name in STRUCTURE_FORMATS else ()
    return TextFormat(name, suffix, text, "\t".join(TABLES[table]) + "\n" if table else "", also=also)


_TAKE_SCORES = ("dbn", "tsv", "jsonl", "elements")
OUTPUT_FORMATS: dict[str, tuple[TextFormat, ...]] = {
    "dbn": (_format("dbn", ".dbn", format_dotbracket, strands=True),),
    "ct": (_format("ct", ".ct", format_ct),),
    "bpseq": (_format("bpseq", ".bpseq", _format_bpseq),),
    "tsv": (_format("tsv", ".tsv", _format_tsv, table="fold --format tsv"),),
    "jsonl": (_format("jsonl", ".jsonl", _format_jsonl),),
    "3drna": (_format("3drna", ".3drna", _format_3drna),),
    "rosetta": (
        _format("rosetta", ".secstruct", _format_secstruct),
        _format("rosetta", ".fasta", _format_rosetta_fasta),
    ),
    "elements": (_format("elements", ".elements", _format_elements),),
}
"""What is written for a :class:`StructureRecord` and the prediction it comes from, if it is to be scored, by name."""


def structure_formats(name: str, *, scored: bool = False) -> tuple[TextFormat, ...]:
    """The format of a name; ``rosetta`` has two, for two files.

    Raises:
        UsageError: when the format has no place for scores.
    """
    if scored and name not in _TAKE_SCORES:
        hint = f"--score goes with {', '.join(_TAKE_SCORES)}"
        raise UsageError(f"the format {name} has no place for scores", hint=hint)
    if scored and name == "tsv":
        return (replace(OUTPUT_FORMATS["tsv"][0], header="\t".join(TABLES["fold --format tsv --score"]) + "\n"),)
    return OUTPUT_FORMATS[name]
