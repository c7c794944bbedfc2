"""``rnafm contact`` and ``rnafm distance``: sequences in, probabilities of tertiary contacts and distances out."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Intake
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.rna.chains import Chain
    from rnafm_cli.rna.records import SequenceRecord
    from rnafm_cli.structure.tertiary import TertiaryMaps


ContactFormatChoice = Literal["tsv", "jsonl", "casprr", "3drna", "rosetta"]
DistanceFormatChoice = Literal["tsv", "jsonl", "3drna", "rosetta"]


_RESTRAINTS = ("3drna", "rosetta")
_FARTHEST_RESTRAINT = 15.0
_LEAST_SEPARATION = 5
_HDF5_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True)
class Asked(options.Pairing):
    """What both commands are given."""

    min_separation: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Leave out pairs with j - i below this.",
            show_default="1; 5 with --top and for casprr, 3drna and rosetta",
        ),
    ] = None
    top: Annotated[
        str | None, typer.Option(metavar="L/2", help="Only the best pairs of each RNA: L/2, L, 2L or a number.")
    ] = None
    h5: Annotated[
        Path | None,
        typer.Option(metavar="FILE.h5", help="Write the whole maps as well: a group with (L, L) data sets per RNA."),
    ] = None
    half: Annotated[bool, typer.Option("--half", help="Store --h5 in float16 instead of float32.")] = False
    plot: options.Plot = None
    truth: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Known chains (HDF5, PDB, mmCIF), drawn below the diagonal of --plot."),
    ] = None

    def target(self, output_format: str) -> Path | None:
        """Where whole maps go: ``-o FILE.h5`` means ``--h5 FILE.h5`` and no text; options must go together."""
        only_maps = self.output.suffix.lower() in _HDF5_SUFFIXES
        if only_maps and (self.h5 is not None or output_format != "tsv"):
            raise UsageError(f"{self.output}: is the name of an HDF5 file, not of text", hint="give it to --h5")
        if self.half and self.h5 is None and not only_maps:
            raise UsageError("--half is about --h5", hint="add --h5 FILE.h5")
        if self.truth is not None and self.plot is None:
            raise UsageError("--truth is about --plot", hint="add --plot DIR")
        return self.output if only_maps else self.h5


def contact(
    inputs: options.Inputs = None,
    *,
    output_format: Annotated[
        ContactFormatChoice,
        typer.Option("--format", help="Tables; CASP's RR format; restraints for 3dRNA (DCA) or Rosetta (AtomPair)."),
    ] = "tsv",
    with_distance: Annotated[
        bool, typer.Option("--with-distance", help="Distances too, in columns, maps and Rosetta restraints.")
    ] = False,
    min_prob: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="P",
            help="Leave out less probable pairs; 0 writes all i < j.",
            show_default="0.01; 0.3 for 3drna and rosetta",
        ),
    ] = None,
    given: Asked,
    run: options.Running,
) -> None:
    """Predict which bases are in contact: nearest heavy atoms closer than 8 Å.

    A table of pairs i < j (from 1) with their probability, the pairs of a helix and of tertiary contacts alike. Where
    the RNA belongs to a family with known 3D structures, they count.

    Examples:

      rnafm contact seqs.fa > contacts.tsv

      rnafm contact seqs.fa --with-distance --h5 maps.h5 -o contacts.tsv

      rnafm contact one.fa --format rosetta -o one.cst --plot one.svg
    """
    usual = 0.3 if output_format in _RESTRAINTS else 0.01
    least = usual if min_prob is None else min_prob
    _predict("contact", inputs, output_format, given, run, least=least, with_distance=with_distance)


def distance(
    inputs: options.Inputs = None,
    *,
    output_format: Annotated[
        DistanceFormatChoice,
        typer.Option("--format", help="Tables; restraints for 3dRNA (Distances) or Rosetta (AtomPair)."),
    ] = "tsv",
    max_distance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="A",
            help="Leave out pairs that are farther apart, in Å.",
            show_default="none; 15 for 3drna and rosetta",
        ),
    ] = None,
    given: Asked,
    run: options.Running,
) -> None:
    """Predict how far bases are apart: distances of their nearest heavy atoms, from 0 to 20 Å.

    A table of all pairs i < j (from 1) with the expected distance and its standard deviation; 20 stands for all that
    is farther.

    Examples:

      rnafm distance seqs.fa --h5 maps.h5 -o distances.tsv

      rnafm distance one.fa --format rosetta --top 3L -o one.cst
    """
    farthest = _FARTHEST_RESTRAINT if max_distance is None and output_format in _RESTRAINTS else max_distance
    _predict("distance", inputs, output_format, given, run, farthest=farthest)


def _predict(
    task: str,
    inputs: list[Path] | None,
    output_format: str,
    given: Asked,
    run: options.Running,
    *,
    least: float | None = None,
    farthest: float | None = None,
    with_distance: bool = False,
) -> None:
    """Read, predict, choose pairs, write."""
    intake = Intake(inputs, given.on_error, given.long)
    settings, h5 = given.settings(run), given.target(output_format)

    from rnafm_cli.families.search import search_ahead

    search_ahead(given.libraries, run.weights_dir)

    from rnafm_cli.io.map_output import map_format, pair_rows
    from rnafm_cli.io.maps import TERTIARY, map_writer
    from rnafm_cli.io.record_output import record_output
    from rnafm_cli.structure.predict import predict
    from rnafm_cli.structure.tertiary import HEAD_KIND, best_pairs, load_tertiary_predictor, parse_top

    top = None if given.top is None else parse_top(given.top)
    plain = output_format in ("tsv", "jsonl") and top is None
    separation = given.min_separation or (1 if plain else _LEAST_SEPARATION)
    pictures = _Pictures(given.plot, given.truth) if given.plot is not None else None
    loaded = run.load()
    predictor = load_tertiary_predictor(loaded, ("contact", "distance") if with_distance else (task,), **settings)
    maps = text = None
    with ExitStack() as stack:
        if h5 is not None:
            head = loaded.component(HEAD_KIND)[1]
            provenance: dict[str, str | bool | None] = {
                "model": loaded.name,
                "head_sha256": head.weights_sha256,
                "encoder_sha256": head.encoder_sha256,
                "prior": given.prior,
                "families": " ".join(given.libraries),
                "command": options.command_line(),
            }
            writing = map_writer(h5, TERTIARY, provenance=provenance, half=given.half, force=run.force)
            maps = stack.enter_context(writing)
        if h5 != given.output:
            formats = [map_format(task, output_format, with_distance=with_distance)]
            elsewhere = "--h5 FILE.h5 writes maps, --plot pictures"
            text = stack.enter_context(
                record_output(given.output, given.out_dir, formats, elsewhere=elsewhere, force=run.force)
            )
        results = predict(
            intake.claimed([text, maps, pictures], rename=given.rename_duplicates),
            predictor,
            long=given.long,
            reject=intake.reject_predicted,
            tell=console.info,
        )
        bar = stack.enter_context(intake.progress("predicting"))
        for result in results:
            record, named = result.record, result.named()
            try:
                if text is not None:
                    pairs = best_pairs(named, least=least, farthest=farthest, separation=separation, top=top)
                    text.add(record, pair_rows(record, pairs, named))
            except InputError as error:
                intake.reject(error)
                continue
            if maps is not None:
                maps.add(record, named)
            if pictures is not None:
                pictures.add(result, task)
            bar.advance()
    if pictures is not None:
        pictures.report()
    intake.finish()


class _Pictures:
    """Heat maps, with the known chains of a file below the diagonal."""

    def __init__(self, target: Path, truth: Path | None) -> None:
        from rnafm_cli.viz.structure import Gallery

        self._gallery, self._truth = Gallery(target), truth
        self._known: dict[str, Chain] = {}
        self._unknown: list[str] = []
        if truth is not None:
            from rnafm_cli.io.maps import read_chains

            for chain in read_chains(truth):
                self._known[chain.id] = chain
                self._known.setdefault(f"={chain.sequence}", chain)

    def claim(self, record: SequenceRecord) -> None:
        """Make sure that what is known of a record fits it, before anything is predicted.

        Raises:
            InputError: when the known chain has another length.
        """
        truth = self._of(record)
        if truth is not None and len(truth) != len(record):
            raise InputError(
                f"{truth.where}: has {len(truth)} residues, and {record.where} {len(record)}",
                hint="predict the whole chain, unobserved residues included",
            )
        if truth is None and self._truth is not None:
            self._unknown.append(record.id)

    def add(self, result: TertiaryMaps, task: str) -> None:
        """Draw one RNA."""
        from rnafm_cli.structure.figures import draw_map

        name, truth = result.record.id, self._of(result.record)
        draw_map(name, task, result.named()[task], self._gallery.place(name), truth=truth, relatives=result.relatives)

    def report(self) -> None:
        """Name the RNAs of which nothing is known."""
        if self._unknown:
            shown = ", ".join(self._unknown[:5]) + (" ..." if len(self._unknown) > 5 else "")
            console.warn(f"{self._truth}: has no chain with the id or the sequence of {shown}; drawn without")

    def _of(self, record: SequenceRecord) -> Chain | None:
        return self._known.get(record.id) or self._known.get(f"={record.sequence}")
