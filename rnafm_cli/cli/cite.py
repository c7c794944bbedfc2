"""``rnafm cite``: what to cite for a command's results."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from rnafm_cli import __version__
from rnafm_cli.errors import UsageError

__all__ = ["cite"]


@dataclass(frozen=True)
class _Work:
    """A publication, and the commands that rest on it."""

    used_for: str
    authors: str
    year: int
    title: str
    where: str
    commands: tuple[str, ...]


_PREDICTING = ("fold", "contact", "distance", "rbp")
_NETWORK = ("embed", *_PREDICTING, "mrl", "atlas", "pretrain", "finetune")
_FAMILIES = ("fold", "contact", "distance", "annotate", "families")

_WORKS = (
    _Work(
        "the model that rnafm implements",
        "Chen J, Hu Z, Sun S, Tan Q, Wang Y, Yu Q, Zong L, Hong L, Xiao J, Shen T, King I, Li Y",
        2022,
        "Interpretable RNA foundation model from unannotated data for highly accurate RNA structure and function "
        "predictions",
        "arXiv:2204.00300",
        _NETWORK,
    ),
    _Work(
        "ViennaRNA, the thermodynamic prior (without --no-prior)",
        "Lorenz R, Bernhart SH, Höner zu Siederdissen C, Tafer H, Flamm C, Stadler PF, Hofacker IL",
        2011,
        "ViennaRNA Package 2.0",
        "Algorithms for Molecular Biology 6:26, doi:10.1186/1748-7188-6-26",
        _PREDICTING,
    ),
    _Work(
        "energy parameters turner2004, of unpaired probabilities (--structure thermo)",
        "Turner DH, Mathews DH",
        2010,
        "NNDB: the nearest neighbor parameter database for predicting stability of nucleic acid secondary structure",
        "Nucleic Acids Research 38:D280-D282, doi:10.1093/nar/gkp892",
        ("rbp",),
    ),
    _Work(
        "energy parameters andronescu2007, those of the shipped heads",
        "Andronescu M, Condon A, Hoos HH, Mathews DH, Murphy KP",
        2007,
        "Efficient parameter estimation for RNA secondary structure prediction",
        "Bioinformatics 23:i19-i28, doi:10.1093/bioinformatics/btm223",
        _PREDICTING,
    ),
    _Work(
        "energy parameters langdon2018, those of the shipped heads",
        "Langdon WB, Petke J, Lorenz R",
        2018,
        "Evolving better RNAfold structure prediction",
        "EuroGP 2018, LNCS 10781:220-236, doi:10.1007/978-3-319-77553-1_14",
        _PREDICTING,
    ),
    _Work(
        "Rfam, the known families (without --no-families)",
        "Kalvari I, Nawrocki EP, Ontiveros-Palacios N, Argasinska J, Lamkiewicz K, Marz M, Griffiths-Jones S, "
        "Toffano-Nioche C, Gautheret D, Weinberg Z, Rivas E, Eddy SR, Finn RD, Bateman A, Petrov AI",
        2021,
        "Rfam 14: expanded coverage of metagenomic, viral and microRNA families",
        "Nucleic Acids Research 49:D192-D200, doi:10.1093/nar/gkaa1047",
        _FAMILIES,
    ),
    _Work(
        "HMMER, the search for families",
        "Eddy SR",
        2011,
        "Accelerated profile HMM searches",
        "PLoS Computational Biology 7:e1002195, doi:10.1371/journal.pcbi.1002195",
        _FAMILIES,
    ),
    _Work(
        "PyHMMER, by which HMMER is called",
        "Larralde M, Zeller G",
        2023,
        "PyHMMER: a Python library binding to HMMER for efficient sequence analysis",
        "Bioinformatics 39:btad214, doi:10.1093/bioinformatics/btad214",
        _FAMILIES,
    ),
    _Work(
        "RNApuzzler, the layout of radial drawings (--plot-style radial, --report)",
        "Wiegreffe D, Alexander D, Stadler PF, Zeckzer D",
        2019,
        "RNApuzzler: efficient outerplanar drawing of RNA-secondary structures",
        "Bioinformatics 35:1342-1349, doi:10.1093/bioinformatics/bty817",
        ("fold",),
    ),
    _Work(
        "UMAP, the layout of maps",
        "McInnes L, Healy J, Melville J",
        2018,
        "UMAP: uniform manifold approximation and projection for dimension reduction",
        "arXiv:1802.03426",
        ("atlas",),
    ),
)


def cite(
    command: Annotated[
        str | None,
        typer.Argument(metavar="[COMMAND]", help="What was run; everything if left out.", show_default=False),
    ] = None,
) -> None:
    """Print what to cite for the results of a command.

    Energy parameters are those of the shipped heads; the card of another head tells which it used.

    Example: rnafm cite fold
    """
    known = sorted({name for work in _WORKS for name in work.commands})
    if command is not None and command not in known:
        raise UsageError(f"nothing is known to cite for '{command}'", hint=f"commands are {', '.join(known)}")
    sys.stdout.write(f"rnafm {__version__} (CITATION.cff in its source)\n")
    for work in _WORKS:
        if command is None or command in work.commands:
            sys.stdout.write(f"\n{work.used_for}:\n  {work.authors} ({work.year}). {work.title}. {work.where}\n")
