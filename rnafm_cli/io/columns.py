"""The columns of the commands' tables, the keys of their JSON Lines and the parts of their HDF5 files: what the writers
write, and what ``rnafm schema`` tells of them.

In HDF5, ``/NAME`` is a data set, ``/NAME:key`` an attribute of it and ``:key`` one of the file; ID is an RNA's id.
"""

from __future__ import annotations

from typing import NamedTuple


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

_RNA = {
    **_ID,
    "description": Column(str, "the rest of the header"),
    "length": Column(int, "number of bases"),
    "sequence": Column(str, "the bases"),
}
_MAP = {
    **_RNA,
    "columns": Column(list, "what the numbers of a pair are, named as in the table"),
    "pairs": Column(list, "a list of numbers for each pair"),
}
_PROVENANCE = {
    ":format": Column(str, "rnafm-embeddings"),
    ":format_version": Column(int, "1"),
    ":rnafm_version": Column(str, "version of the program"),
    ":created": Column(str, "time, UTC"),
    ":model": Column(str, "name of the model"),
    ":weights_sha256": Column(str, "hash of its weights"),
    ":layer": Column(int, "0 is the embedding"),
    ":pooling": Column(str, "none, mean, max or cls"),
    ":precision": Column(str, "fp32 or bf16, in which the network ran"),
    ":unit": Column(str, "what a row stands for, nucleotide or codon"),
    ":dim": Column(int, "D, values of a row"),
    ":command": Column(str, "the command line"),
    ":layout": Column(str, "per-record or matrix"),
    ":dtype": Column(str, "float32 or float16, in which values are stored"),
}
_INTERVAL = {
    "metric": Column(str, "name of the figure"),
    "value": Column(float, "the figure"),
    "low": Column(float, "lower end of its bootstrap interval; empty without"),
    "high": Column(float, "upper end"),
    "p_value": Column(float, "of a difference between two predictors; else empty"),
}
_PREDICTOR = {"predictor": Column(str, "name of the predictor")}
_GROUP = {
    **_PREDICTOR,
    "scope": Column(str, "what the group has in common: all, length, family, contacts, calibration"),
    "group": Column(str, "which length, family or bin"),
}
_OF_CHAINS = {**_GROUP, "chains": Column(int, "chains in the group"), **_INTERVAL}
_CHAIN = {
    **_PREDICTOR,
    **_ID,
    "length": Column(int, "number of residues"),
    "pairs": Column(int, "pairs that were scored"),
    "contacts": Column(int, "those that are contacts"),
}
_DISTANCE_SCORES = {
    "mse": Column(float, "mean squared error of distance / 20"),
    "r2": Column(float, "coefficient of determination"),
    "pa": Column(float, "share of pairs within 2 Å"),
    "pmcc": Column(float, "Pearson correlation"),
}


def _bounded(name: str, meaning: str) -> dict[str, Column]:
    """A figure and the ends of its interval."""
    return {
        name: Column(float, meaning),
        f"{name}_low": Column(float, "lower end of its bootstrap interval; empty without"),
        f"{name}_high": Column(float, "upper end"),
    }


TABLES: dict[str, dict[str, Column]] = {
    "embed": {
        "/ID": Column(list, "one row of D values per nucleotide (codon), or D values pooled"),
        "/ID:id": Column(str, "first word of the header; in the data set's name '/' is '_'"),
        "/ID:original_id": Column(str, "the same, for readers of bio_embeddings"),
        "/ID:description": Column(str, "the rest of the header"),
        "/ID:length": Column(int, "number of bases"),
        "/ID:sequence_sha256": Column(str, "hash of the sequence"),
        **_PROVENANCE,
    },
    "embed --layout matrix": {
        "/embeddings": Column(list, "D pooled values per RNA"),
        "/ids": Column(str, "first word of each header"),
        "/lengths": Column(int, "bases of each"),
        "/sequence_sha256": Column(str, "hash of each sequence"),
        **_PROVENANCE,
    },
    "fold --format tsv": _STRUCTURE,
    "fold --format tsv --score": {**_STRUCTURE, **_SCORE},
    "fold --format jsonl": {
        **_RNA,
        "structure": Column(str, "brackets and for more crossings letters"),
        "pairs": Column(list, "positions of both bases of each pair, from 1"),
        "expected_accuracy": _SCORE["expected_accuracy"],
        "pair_confidence": Column(float, "mean probability of the pairs; null without pairs"),
        "families": Column(list, "known families, the surest first: accession, name, evalue, start (from 1), end"),
    },
    "contact": {**_PAIR, **_CONTACT},
    "contact --with-distance": {**_PAIR, **_CONTACT, **_DISTANCE},
    "contact --format jsonl": _MAP,
    "distance": {**_PAIR, **_DISTANCE},
    "distance --format jsonl": _MAP,
    "rbp": {**_ID, **_BINDING},
    "rbp --windows": {**_ID, **_WINDOW, **_BINDING},
    "rbp --saliency": {
        **_ID,
        "protein": Column(str, "the protein, with its data set where there are several"),
        "position": Column(int, "position of the nucleotide, from 1"),
        "base": Column(str, "the base there"),
        "importance": Column(float, "log odds lost, on average, when it becomes one of the three others"),
        **{
            f"to_{base}": Column(float, f"change of the log odds when it becomes {base}; 0 if it is") for base in "ACGU"
        },
    },
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
    "atlas": {
        "id": Column(str, "first word of the header; the table is atlas.tsv in the folder, a row per RNA"),
        "x": Column(float, "place on the map"),
        "y": Column(float, "place on the map"),
        "label": Column(str, "what it is labelled by, the type if nothing else was asked for; empty without"),
        "cluster": Column(int, "its cluster, 1 the largest"),
        "pseudotime": Column(float, "0 to 1 from the root; empty without --trajectory or a path to the root"),
        "length": Column(int, "number of bases; empty where unknown"),
    },
    "atlas --compare": {
        "vectors": Column(str, "the model, or the other vectors; the table is comparison.tsv"),
        "view": Column(str, "the division of the RNAs: type, role or length"),
        "labels": Column(int, "how many labels it has"),
        "points": Column(int, "RNAs with a label"),
        "accuracy": Column(float, "share called right by 10 neighbours, mean over labels; empty without sequences"),
        "purity": Column(float, "share of 10 neighbours with the same label, mean over labels"),
        "silhouette": Column(float, "mean silhouette, -1 to 1"),
        "adjusted_rand": Column(float, "adjusted Rand index of clusters and labels"),
    },
    "atlas --trajectory": {
        "cluster": Column(int, "a cluster of atlas.tsv; the table is trajectory.tsv"),
        "sequences": Column(int, "RNAs in it"),
        "label": Column(str, "their most frequent label"),
        "label_share": Column(float, "share of them that have it"),
        "pseudotime": Column(float, "their mean; empty out of reach"),
        "before": Column(int, "the cluster before it on the way from the root; empty for the root"),
        "state": Column(str, "root, terminal or empty"),
        "to ...": Column(float, "chance to end in a terminal cluster, a column for each of them"),
    },
    "atlas --trajectory --times": {
        "label": Column(str, "a label; the table is trajectory_labels.tsv"),
        "sequences": Column(int, "its RNAs with a pseudotime"),
        "mean_pseudotime": Column(float, "their mean"),
        "time": Column(float, "the time given with --times; empty without"),
    },
    "atlas --map-onto": {
        **_ID,
        "label": Column(str, "the type by the votes of its neighbours"),
        "confidence": Column(float, "chance that it is right; empty on a map without sequences"),
        "runner_up": Column(str, "the label with the second most votes"),
        "far": Column(bool, "true where the type may not be on the map"),
        "x": Column(float, "place on the map"),
        "y": Column(float, "place on the map"),
        "length": Column(int, "number of bases; empty where unknown"),
        "neighbours": Column(str, "id=label:distance of the nearest labelled RNAs, joined by semicolons"),
    },
    "evaluate fold": {**_GROUP, "records": Column(int, "RNAs in the group"), **_INTERVAL},
    "evaluate fold --per-record": {
        **_PREDICTOR,
        **_ID,
        "family": Column(str, "family in the truth, - if it names none"),
        "length": Column(int, "number of bases"),
        "true": Column(int, "pairs of the truth"),
        "predicted": Column(int, "pairs that were predicted"),
        "hits": Column(int, "pairs of both"),
        "precision": Column(float, "hits / predicted"),
        "recall": Column(float, "hits / true"),
        "f1": Column(float, "their harmonic mean"),
        "relaxed_precision": Column(float, "precision where one base of a pair may be off by one"),
        "relaxed_recall": Column(float, "recall in the same way"),
        "relaxed_f1": Column(float, "their harmonic mean"),
        "knot_true": Column(int, "pseudoknotted pairs of the truth"),
        "knot_predicted": Column(int, "pseudoknotted pairs that were predicted"),
        "knot_found": Column(int, "pseudoknotted pairs of the truth that were predicted at all"),
        "knot_right": Column(int, "predicted pseudoknotted pairs that are in the truth"),
    },
    "evaluate fold --probs --plot": {
        "from": Column(float, "lower end of the bin of probabilities; the table is calibration.tsv in the folder"),
        "to": Column(float, "upper end"),
        "pairs": Column(int, "pairs of bases in the bin"),
        "predicted": Column(float, "their mean probability; empty without pairs"),
        "observed": Column(float, "share of them that pair; empty without pairs"),
        "low": Column(float, "lower end of its bootstrap interval"),
        "high": Column(float, "upper end"),
    },
    "evaluate contact": _OF_CHAINS,
    "evaluate contact --per-record": {
        **_CHAIN,
        **{
            f"top_l{share}": Column(float, f"share of the best L{f'/{share}' * (share > 1)} pairs that are contacts")
            for share in (10, 5, 2, 1)
        },
    },
    "evaluate distance": _OF_CHAINS,
    "evaluate distance --per-record": {**_CHAIN, **_DISTANCE_SCORES},
    "evaluate distance --embed3d --per-record": {
        **_CHAIN,
        **_DISTANCE_SCORES,
        "trace_correlation": Column(float, "of distances in the layout with known ones"),
        "trace_rmsd": Column(float, "of the superposed traces, in Å"),
    },
    "evaluate rbp": {
        **_PREDICTOR,
        "set": Column(str, "name of the table, a protein, or which mean it is"),
        "rows": Column(int, "rows that were scored"),
        "positives": Column(int, "those that are bound"),
        **_bounded("auprc", "area under the precision-recall curve"),
        **_bounded("auroc", "area under the ROC curve"),
        "calibration_error": Column(float, "expected calibration error; empty for scores that are no probabilities"),
    },
    "evaluate mrl": {
        **_PREDICTOR,
        "assay": Column(str, "name of the table"),
        "context": Column(str, "upstream start codons of the UTRs; all for all of them"),
        "rows": Column(int, "UTRs that were scored"),
        **_bounded("r2", "squared Pearson correlation"),
        "determination": Column(float, "coefficient of determination"),
        "mae": Column(float, "mean absolute error, ribosomes per mRNA"),
        "mse": Column(float, "mean squared error"),
    },
    "evaluate encoder": {
        "model": Column(str, "name of the encoder"),
        "sha256": Column(str, "hash of its weights"),
        "held_out": Column(dict, "masked-token loss on held-out parts, with --corpus"),
        "knn_transfer": Column(dict, "how types carry over to nearest neighbours, with --atlas"),
        "linear_probe": Column(dict, "a linear classifier on vectors, with --probe"),
    },
}
"""Command with the options that decide -> its columns in their order."""


def types_of(table: str) -> dict[str, type]:
    """The columns of a table and the types of their values."""
    return {name: column.type for name, column in TABLES[table].items()}
