"""``rnafm families``: libraries of known RNA families, made from alignments and looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Rejections
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.families.library import Family, Library
    from rnafm_cli.io.stockholm import Alignment
    from rnafm_cli.rna.chains import Chain
    from rnafm_cli.weights.cards import Card

app = typer.Typer(
    help="Make and look at libraries of known RNA families.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

OfLibrary = Annotated[
    str, typer.Argument(metavar="[LIB]", help="A library file, or 'shipped' for that of Rfam.", show_default=False)
]


@app.command()
def build(
    seeds: Annotated[
        list[Path], typer.Argument(metavar="SEEDS.sto...", help="Stockholm alignments, plain or compressed.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="LIB", help="Library to write; NAME.safetensors gets a card too.")
    ],
    without: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Leave out rows close (8-mers) to the RNAs of a FASTA or structure file; repeatable.",
            show_default=False,
        ),
    ] = None,
    without_families: Annotated[
        Path | None, typer.Option(metavar="LIST", help="Leave out the families of this list, an accession a line.")
    ] = None,
    chains: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.h5|DIR",
            help="Chains with known 3D structure (HDF5, PDB, mmCIF, folders): maps of the families they belong to; "
            "repeatable.",
            show_default=False,
        ),
    ] = None,
    on_error: options.OnError = "fail",
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a library: a profile, the consensus pairs and their letters for each alignment.

    With --chains also what is in contact, and how far apart bases are, in the known 3D structures of each family.

    Examples:

      rnafm families build Rfam.seed.gz -o rfam.safetensors --on-error skip

      rnafm families build ours.sto -o ours.lib

      rnafm families build Rfam.seed.gz --chains structures/ -o rfam3d.lib --on-error skip
    """
    from rnafm_cli.families.library import build_library

    rejections = Rejections(on_error)
    held_out = [sequence for path in without or () for sequence in _sequences(path)]
    unused = Rejections(on_error)
    known = _chains(chains or (), unused)
    dropped = _accessions(without_families) if without_families else set()
    with console.progress(description="building", unit="families") as bar:
        alignments = _kept(seeds, dropped, held_out, rejections, bar)
        library = build_library(alignments, str(output), reject=rejections.reject)
    if known:
        from rnafm_cli.families.known_chains import with_shapes

        library = with_shapes(library, known)
    sources = [*seeds, *(chains or ())]
    card = _card(library, output, sources, rejections.skipped) if output.suffix == ".safetensors" else None
    library.save(output, card)
    rows = sum(family.rows for family in library.families)
    console.info(f"{output}: {len(library)} families, {rows} rows, {output.stat().st_size / 1e6:.3g} MB")
    if known:
        shaped = [family.known_chains for family in library.families if family.packed_shape is not None]
        console.info(
            f"{len(shaped)} families have known 3D structures: of {len(known)} chains {sum(shaped)} unlike ones"
        )
    if rejections.skipped:
        console.warn(f"{rejections.skipped} famil{'ies' if rejections.skipped > 1 else 'y'} left out")
    if unused.skipped:
        console.warn(f"{unused.skipped} structure{'s' if unused.skipped > 1 else ''} left out")
    if rejections.skipped or unused.skipped:
        raise typer.Exit(InputError.exit_code)


def _chains(paths: Iterable[Path], rejections: Rejections) -> list[Chain]:
    """Chains of files and folders; those of which only contacts are known give way to like ones with distances."""
    if not paths:
        return []
    from rnafm_cli.io.maps import read_chains
    from rnafm_cli.rna.chains import without_repeats

    return without_repeats([chain for path in paths for chain in read_chains(path, reject=rejections.reject)])


def _kept(
    seeds: Iterable[Path], dropped: set[str], held_out: list[str], rejections: Rejections, bar: console.Bar
) -> Iterator[Alignment]:
    from rnafm_cli.families.library import far_rows
    from rnafm_cli.io.stockholm import read_stockholm

    for path in seeds:
        for alignment in read_stockholm(path, rejections.reject):
            far = None if alignment.accession in dropped else far_rows(alignment, held_out)
            if far is None:
                console.debug(f"{alignment.where}: no row is left")
            else:
                yield far
            bar.advance()


def _sequences(path: Path) -> list[str]:
    """The RNAs of a FASTA or structure file."""
    from rnafm_cli.io.fasta import read_fasta
    from rnafm_cli.io.streams import open_text
    from rnafm_cli.io.structures import read_structures

    if not path.is_dir():
        with open_text(path) as handle:
            lines = [line for _, line in zip(range(1000), handle, strict=False)]
        if lines and lines[0].startswith(">") and not any(line[:1] and line[0] in ".([{<" for line in lines):
            return [record.sequence for record in read_fasta([path])]
    return [record.sequence for record in read_structures(path)]


def _accessions(path: Path) -> set[str]:
    from rnafm_cli.io.streams import open_text

    with open_text(path) as handle:
        return {line.split()[0] for line in handle if line.split() and not line.startswith("#")}


def _card(library: Library, output: Path, sources: list[Path], skipped: int) -> Card:
    from rnafm_cli.weights.cards import Card, file_sha256

    pairs = sum(len(family.pairs) > 0 for family in library.families)
    return Card(
        name=output.stem,
        kind="families",
        config={
            "families": len(library),
            "with consensus pairs": pairs,
            "with known 3D structures": sum(family.packed_shape is not None for family in library.families),
        },
        dtype="uint8",
        source={
            "files": {path.name: file_sha256(path) for path in sources if path.is_file()},
            "rows": sum(family.rows for family in library.families),
            "left out": skipped,
            "command": options.command_line(),
        },
    )


@app.command("list")
def list_families(
    library: OfLibrary = "shipped", weights_dir: options.WeightsDir = None, quiet: options.Quiet = False
) -> None:
    """Print the families of a library.

    Columns: accession, name, type, clan, rows of the alignment, length, consensus pairs, unlike chains with known 3D
    structure, description.
    """
    from rnafm_cli.families.library import load_libraries

    lines = ["accession\tname\ttype\tclan\trows\tlength\tpairs\tchains\tdescription"]
    for family in load_libraries([library], weights_dir)[0].families:
        cells = [family.accession, family.name, family.type, family.clan, family.rows, len(family), len(family.pairs)]
        lines.append("\t".join(map(str, [*cells, family.known_chains, family.description])))
    sys.stdout.write("\n".join(lines) + "\n")


@app.command()
def show(
    family: Annotated[str, typer.Argument(metavar="ACC", help="Accession or name of a family, as RF00005 or tRNA.")],
    library: OfLibrary = "shipped",
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
) -> None:
    """Print a family: what it is, its consensus and the pairs, pseudoknots in brackets of their own.

    Upper-case letters have at least half of the probability.
    """
    from rnafm_cli.families.library import load_libraries

    found = _family(family, load_libraries([library], weights_dir)[0])
    told = {
        "accession": found.accession,
        "name": found.name,
        "description": found.description,
        "type": found.type,
        "clan": found.clan,
        "rows": found.rows,
        "length": len(found),
        "pairs": len(found.pairs),
        "chains": found.known_chains,
    }
    lines = [f"{key:<12} {value}".rstrip() for key, value in told.items()]
    sys.stdout.write("\n".join([*lines, "", found.consensus, found.dot_bracket]) + "\n")


def _family(wanted: str, library: Library) -> Family:
    from rnafm_cli.weights.registry import nearest_name

    for family in library.families:
        if wanted in (family.accession, family.name):
            return family
    close = nearest_name(wanted, [name for one in library.families for name in (one.accession, one.name)])
    raise UsageError(
        f"{library.name} has no family '{wanted}'",
        hint=f"did you mean {close}?" if close else "see 'rnafm families list'",
    )
