"""The columns of the commands' tables: what the writers write, and what ``rnafm schema`` tells of them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TABLES", "Column", "types_of"]


class Column(NamedTuple):
    """Type of the values (a list is joined by commas in TSV) and what they mean."""

    type: type
    meaning: str


_ID = {"id": Column(str, "first word of the header")}
_STRUCTURE = {
    "name": Column(str, "first word of the header"),
    "family": Column(str, "family of a structure that was read, - if it has none"),
    "sequence": Column(str, "the bases"),
    "pairs": Column(str, "the structure, brackets and for more crossings letters"),
}
_SCORE = {
    "expected_accuracy": Column(float, "expected share of bases whose partner, or lack of one, is right"),
    "pair_confidence": Column(float, "mean probability of the pairs; empty without pairs"),
    "best_family": Column(str, "accession of the surest known family; empty without"),
    "evalue": Column(float, "its E-value"),
}
_PAIR = {
    **_ID,
    "i": Column(int, "position of the first base, from 1"),
    "j": Column(int, "position of the second base, i < j"),
    "base_i": Column(str, "the first base"),
    "base_j": Column(str, "the second base"),
}
_CONTACT = {"p": Column(float, "probability that the bases are closer than 8 Å")}
_DISTANCE = {
    "distance": Column(float, "expected smallest distance in Å, at most 20"),
    "sd": Column(float, "its standard deviation in Å"),
}
_WINDOW = {
    "start": Column(int, "first base of the window, from 0 as in BED"),
    "end": Column(int, "base after the last one of the window"),
}
_BINDING = {
    "protein": Column(str, "the protein, with its data set where there are several"),
    "probability": Column(float, "calibrated probability that the window, or the best one of the RNA, is bound"),
    "call": Column(str, "bound, unbound, or NA where too little of the RNA is known"),
}
_STARTS = {
    "uaug": Column(int, "number of upstream AUGs"),
    "uaug_frame": Column(list, "frame of each, 0 is that of the start codon"),
}
_LOAD = {
    "mrl": Column(float, "mean ribosome load, ribosomes per mRNA"),
    "mrl_sd": Column(float, "its standard deviation"),
}

TABLES: dict[str, dict[str, Column]] = {
    "fold --format tsv": _STRUCTURE,
    "fold --format tsv --score": {**_STRUCTURE, **_SCORE},
    "contact": {**_PAIR, **_CONTACT},
    "contact --with-distance": {**_PAIR, **_CONTACT, **_DISTANCE},
    "distance": {**_PAIR, **_DISTANCE},
    "rbp": {**_ID, **_BINDING},
    "rbp --windows": {**_ID, **_WINDOW, **_BINDING},
    "rbp --list": {
        "protein": Column(str, "the protein, with its data set where there are several"),
        "auprc": Column(float, "area under precision and recall, development rows"),
        "auroc": Column(float, "area under the ROC curve, development rows"),
        "calibration_error": Column(float, "mean gap between probability and share of bound rows"),
        "prevalence": Column(float, "share of bound rows among those that calibrate the probabilities"),
        "threshold": Column(float, "probability from which a window is called bound"),
        "reported": Column(str, "what others report on the set's test part; empty where nothing is known"),
        "reported_by": Column(str, "who"),
    },
    "mrl": {**_ID, **_LOAD, **_STARTS},
    "mrl --scan": {
        **_ID,
        "position": Column(int, "position of the variant, from 1"),
        "ref": Column(str, "the base there"),
        "alt": Column(str, "the base it becomes"),
        **_LOAD,
        "change": Column(float, "load of the variant less that of the UTR"),
        "change_sd": Column(float, "its standard deviation"),
        **_STARTS,
    },
    "annotate": {
        **_ID,
        "family": Column(str, "accession of the family"),
        "name": Column(str, "its name"),
        "type": Column(str, "its type in Rfam's words"),
        "clan": Column(str, "its clan, if any"),
        "start": Column(int, "first base of the hit, from 1, on the sequence as given"),
        "end": Column(int, "last base, start <= end on either strand"),
        "strand": Column(str, "+ or -"),
        "score": Column(float, "bits"),
        "evalue": Column(float, "number of such hits expected by chance in this RNA"),
        "model_start": Column(int, "first position of the family's consensus, from 1"),
        "model_end": Column(int, "last position"),
        "description": Column(str, "of the family"),
    },
}
"""Command with the options that decide -> its columns in their order."""


def types_of(table: str) -> dict[str, type]:
    """The columns of a table and the types of their values."""
    return {name: column.type for name, column in TABLES[table].items()}
