"""``rnafm families``: libraries of known RNA families, made from alignments and looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Rejections
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.io.stockholm import Alignment

app = options.command_group("Make and look at libraries of known RNA families.")

_LIBRARY = "A library file, or 'shipped' for that of Rfam."
OfLibrary = Annotated[str, typer.Argument(metavar="[LIB]", help=_LIBRARY, show_default=False)]
_WITHOUT = "Leave out rows close (8-mers) to the RNAs of a FASTA or structure file; repeatable."
_CHAINS = "Known 3D structures (HDF5, PDB, mmCIF, folders): maps of the families they belong to; repeatable."


@app.command()
def build(
    seeds: Annotated[list[Path], typer.Argument(metavar="SEEDS.sto...", help="Stockholm files, plain or compressed.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="LIB", help="Library to write; NAME.safetensors gets a card too.")
    ],
    without: Annotated[list[Path] | None, typer.Option(metavar="FILE", help=_WITHOUT)] = None,
    without_families: Annotated[
        Path | None, typer.Option(metavar="LIST", help="Leave out the families of this list, an accession a line.")
    ] = None,
    chains: Annotated[list[Path] | None, typer.Option(metavar="FILE.h5|DIR", help=_CHAINS)] = None,
    on_error: options.OnError = "fail",
    force: options.Force = False,
) -> None:
    """Make a library: a profile, the consensus pairs and their letters for each alignment.

    With --chains also what is in contact, and how far apart bases are, in the known 3D structures of each family.

    Examples:

      rnafm families build Rfam.seed.gz -o rfam.safetensors --on-error skip

      rnafm families build ours.sto -o ours.lib

      rnafm families build Rfam.seed.gz --chains structures/ -o rfam3d.lib --on-error skip
    """
    from rnafm_cli.families.library import build_library
    from rnafm_cli.io.maps import read_chains
    from rnafm_cli.rna.chains import without_repeats
    from rnafm_cli.weights.cards import Card, file_sha256

    rejections, unused = Rejections(on_error), Rejections(on_error)
    held_out = [sequence for path in without or () for sequence in _sequences(path)]
    # Chains of which only contacts are known give way to like ones with distances.
    known = [chain for path in chains or () for chain in read_chains(path, reject=unused.reject)]
    known = without_repeats(known) if known else []
    dropped = _accessions(without_families) if without_families else set()
    with console.progress(description="building", unit="families") as bar:
        alignments = _kept(seeds, dropped, held_out, rejections, bar)
        library = build_library(alignments, str(output), reject=rejections.reject)
    if known:
        from rnafm_cli.families.known_chains import with_shapes

        library = with_shapes(library, known)
    families, rows = library.families, sum(family.rows for family in library.families)
    shaped = [family.known_chains for family in families if family.packed_shape is not None]
    card = None
    if output.suffix == ".safetensors":
        counts = {
            "families": len(families),
            "with consensus pairs": sum(len(family.pairs) > 0 for family in families),
            "with known 3D structures": len(shaped),
        }
        files = {path.name: file_sha256(path) for path in (*seeds, *(chains or ())) if path.is_file()}
        source = {"files": files, "rows": rows, "left out": rejections.skipped, "command": options.command_line()}
        card = Card(name=output.stem, kind="families", config=counts, dtype="uint8", source=source)
    library.save(output, card)
    console.info(f"{output}: {len(families)} families, {rows} rows, {output.stat().st_size / 1e6:.3g} MB")
    if known:
        console.info(
            f"{len(shaped)} families have known 3D structures: of {len(known)} chains {sum(shaped)} unlike ones"
        )
    if rejections.skipped:
        console.warn(f"{rejections.skipped} famil{'ies' if rejections.skipped > 1 else 'y'} left out")
    if unused.skipped:
        console.warn(f"{unused.skipped} structure{'s' if unused.skipped > 1 else ''} left out")
    if rejections.skipped or unused.skipped:
        raise typer.Exit(InputError.exit_code)


def _kept(
    seeds: Iterable[Path], dropped: set[str], held_out: list[str], rejections: Rejections, bar: console.Bar
) -> Iterator[Alignment]:
    """The alignments of all files, less the families and the rows that are to be left out."""
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
            lines = list(islice(handle, 1000))
        if lines and lines[0].startswith(">") and not any(line[0] in ".([{<" for line in lines):
            return [record.sequence for record in read_fasta([path])]
    return [record.sequence for record in read_structures(path)]


def _accessions(path: Path) -> set[str]:
    from rnafm_cli.io.streams import open_text

    with open_text(path) as handle:
        return {line.split()[0] for line in handle if line.strip() and not line.startswith("#")}


@app.command("list")
def list_families(library: OfLibrary = "shipped", weights_dir: options.WeightsDir = None) -> None:
    """Print the families of a library.

    Columns: accession, name, type, clan, rows of the alignment, length, consensus pairs, unlike chains with known 3D
    structure, description.
    """
    from rnafm_cli.families.library import load_libraries

    (known,) = load_libraries([library], weights_dir)
    sys.stdout.write("accession\tname\ttype\tclan\trows\tlength\tpairs\tchains\tdescription\n")
    for family in known.families:
        cells = [family.accession, family.name, family.type, family.clan, family.rows, len(family), len(family.pairs)]
        sys.stdout.write("\t".join(map(str, [*cells, family.known_chains, family.description])) + "\n")


@app.command()
def show(
    family: Annotated[str, typer.Argument(metavar="ACC", help="Accession or name of a family, as RF00005 or tRNA.")],
    library: OfLibrary = "shipped",
    weights_dir: options.WeightsDir = None,
) -> None:
    """Print a family: what it is, its consensus and the pairs, pseudoknots in brackets of their own.

    Upper-case letters have at least half of the probability.
    """
    from rnafm_cli.families.library import load_libraries
    from rnafm_cli.weights.registry import nearest_name

    (known,) = load_libraries([library], weights_dir)
    found = next((one for one in known.families if family in (one.accession, one.name)), None)
    if found is None:
        close = nearest_name(family, [name for one in known.families for name in (one.accession, one.name)])
        raise UsageError(
            f"{known.name} has no family '{family}'",
            hint=f"did you mean {close}?" if close else "see 'rnafm families list'",
        )
    told = {key: getattr(found, key) for key in ("accession", "name", "description", "type", "clan", "rows")}
    told |= {"length": len(found), "pairs": len(found.pairs), "chains": found.known_chains}
    for key, value in told.items():
        sys.stdout.write(f"{key:<12} {value}".rstrip() + "\n")
    sys.stdout.write(f"\n{found.consensus}\n{found.dot_bracket}\n")
