"""What ``rnafm contact`` and ``rnafm distance`` share: their options, and one run: read, predict, choose pairs,
write.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from rnafm_cli.cli import console
from rnafm_cli.cli.options import Intake, LongChoice
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.io.maps import TertiaryMapWriter
    from rnafm_cli.io.record_output import RecordOutput
    from rnafm_cli.model import Model
    from rnafm_cli.rna.chains import Chain
    from rnafm_cli.rna.records import SequenceRecord
    from rnafm_cli.structure.tertiary import PairChoice, TertiaryMaps
    from rnafm_cli.viz.structure import Gallery

__all__ = [
    "ContactFormat",
    "ContactFormatChoice",
    "DistanceFormat",
    "DistanceFormatChoice",
    "H5",
    "HalfMaps",
    "MaxDistance",
    "MinProb",
    "MinSeparation",
    "Plot",
    "Request",
    "Top",
    "Truth",
    "WithDistance",
    "run",
]


_OUTPUT, _CHOICE = "Output", "Choice of pairs"


class ContactFormatChoice(StrEnum):
    tsv = "tsv"
    jsonl = "jsonl"
    casprr = "casprr"
    threedrna = "3drna"
    rosetta = "rosetta"


class DistanceFormatChoice(StrEnum):
    tsv = "tsv"
    jsonl = "jsonl"
    threedrna = "3drna"
    rosetta = "rosetta"


ContactFormat = Annotated[
    ContactFormatChoice,
    typer.Option(
        "--format",
        help="Tables; CASP's RR format; restraints for 3dRNA (DCA) or Rosetta (AtomPair).",
        rich_help_panel=_OUTPUT,
    ),
]
DistanceFormat = Annotated[
    DistanceFormatChoice,
    typer.Option(
        "--format", help="Tables; restraints for 3dRNA (Distances) or Rosetta (AtomPair).", rich_help_panel=_OUTPUT
    ),
]
H5 = Annotated[
    Path | None,
    typer.Option(
        "--h5",
        metavar="FILE.h5",
        help="Write the whole maps as well: a group with (L, L) data sets per RNA.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
HalfMaps = Annotated[
    bool, typer.Option("--half", help="Store --h5 in float16 instead of float32.", rich_help_panel=_OUTPUT)
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="DIR|FILE.svg",
        help="Draw a heat map of each RNA: ID.svg in a folder, or one file (.svg, .png, .pdf) for a single RNA.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(
        "--truth",
        metavar="FILE",
        help="Known chains (HDF5, PDB, mmCIF): drawn below the diagonal of --plot, matched by id or sequence.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
WithDistance = Annotated[
    bool,
    typer.Option(
        "--with-distance",
        help="Predict distances in the same run: columns, maps and Rosetta restraints get them too.",
        rich_help_panel=_OUTPUT,
    ),
]
MinProb = Annotated[
    float | None,
    typer.Option(
        "--min-prob",
        min=0.0,
        max=1.0,
        metavar="P",
        help="Leave out less probable pairs; 0 writes all i < j.",
        show_default="0.01; 0.3 for 3drna and rosetta",
        rich_help_panel=_CHOICE,
    ),
]
MaxDistance = Annotated[
    float | None,
    typer.Option(
        "--max-distance",
        min=0.0,
        metavar="A",
        help="Leave out pairs that are farther apart, in Å.",
        show_default="none; 15 for 3drna and rosetta",
        rich_help_panel=_CHOICE,
    ),
]
MinSeparation = Annotated[
    int | None,
    typer.Option(
        "--min-separation",
        min=1,
        metavar="N",
        help="Leave out pairs with j - i below this.",
        show_default="1; 5 with --top and for casprr, 3drna and rosetta",
        rich_help_panel=_CHOICE,
    ),
]
Top = Annotated[
    str | None,
    typer.Option(
        "--top",
        metavar="L/2",
        help="Only the best pairs of each RNA: L/2, L, 2L or a number.",
        show_default=False,
        rich_help_panel=_CHOICE,
    ),
]

_RESTRAINTS = ("3drna", "rosetta")
_LEAST_PROBABILITY = {"tsv": 0.01, "jsonl": 0.01, "casprr": 0.01, "3drna": 0.3, "rosetta": 0.3}
_FARTHEST_RESTRAINT = 15.0
_LEAST_SEPARATION = 5
_HDF5_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of a run."""

    task: str
    output: Path
    format: str
    out_dir: Path | None
    force: bool
    h5: Path | None
    half: bool
    plot: Path | None
    truth: Path | None
    rename_duplicates: bool
    model: str
    prior: bool
    families: list[str]
    with_distance: bool = False
    min_prob: float | None = None
    max_distance: float | None = None
    min_separation: int | None = None
    top: str | None = None
    max_memory: float | None
    long: LongChoice
    weights_dir: Path | None
    device: str
    threads: int | None
    precision: str
    batch_tokens: int

    @property
    def tasks(self) -> tuple[str, ...]:
        """The heads that are needed."""
        return ("contact", "distance") if self.with_distance else (self.task,)


class _Claims(Protocol):
    """An output that may refuse a record before anything is computed for it."""

    def claim(self, record: SequenceRecord) -> None: ...


def run(request: Request, intake: Intake) -> None:
    """Predict and write."""
    request = _with_maps(request)
    _check(request)
    choice = _choice(request)

    from rnafm_cli.io.names import rename_duplicates as renamed
    from rnafm_cli.model import load_model
    from rnafm_cli.structure.predict import predict
    from rnafm_cli.structure.tertiary import load_tertiary_predictor

    pictures = _Pictures(request) if request.plot is not None else None
    loaded = load_model(
        request.model,
        weights_dir=request.weights_dir,
        device=request.device,
        precision=request.precision,
        threads=request.threads,
    )
    predictor = load_tertiary_predictor(
        loaded,
        request.tasks,
        prior=request.prior,
        families=request.families,
        warn=console.warn,
        max_bytes=round(request.max_memory * 1e9) if request.max_memory else None,
        batch_tokens=request.batch_tokens,
    )
    with ExitStack() as stack:
        maps = _map_output(stack, request, loaded)
        text = None if request.output == request.h5 else _text_output(stack, request)
        records: Iterable[SequenceRecord] = intake.records()
        if request.rename_duplicates:
            records = renamed(records)
        results = predict(
            _claimed(records, [out for out in (text, maps, pictures) if out is not None], intake),
            predictor,
            long=request.long.value,
            reject=intake.skip if request.long is LongChoice.skip else intake.reject,
            tell=console.info,
        )
        bar = stack.enter_context(intake.progress("predicting"))
        _write(results, choice, text, maps, pictures, intake, bar)
    if pictures is not None:
        pictures.report()
    intake.finish()


def _with_maps(request: Request) -> Request:
    """``-o FILE.h5`` means ``--h5 FILE.h5`` and no text."""
    if request.output.suffix.lower() not in _HDF5_SUFFIXES:
        return request
    if request.h5 is not None or request.format != "tsv" or request.out_dir is not None:
        raise UsageError(f"{request.output}: is the name of an HDF5 file, not of text", hint="give it to --h5")
    return replace(request, h5=request.output)


def _check(request: Request) -> None:
    if request.out_dir is not None and str(request.output) != "-":
        raise UsageError("-o and --out-dir contradict each other", hint="give one of them")
    if request.half and request.h5 is None:
        raise UsageError("--half is about --h5", hint="add --h5 FILE.h5")
    if request.truth is not None and request.plot is None:
        raise UsageError("--truth is about --plot", hint="add --plot DIR")


def _choice(request: Request) -> PairChoice:
    from rnafm_cli.structure.tertiary import PairChoice, parse_top

    least, farthest, separation = request.min_prob, request.max_distance, request.min_separation
    if request.task == "contact" and least is None:
        least = _LEAST_PROBABILITY[request.format]
    if request.task == "distance" and farthest is None and request.format in _RESTRAINTS:
        farthest = _FARTHEST_RESTRAINT
    if separation is None:
        plain = request.format in ("tsv", "jsonl") and request.top is None
        separation = 1 if plain else _LEAST_SEPARATION
    top = parse_top(request.top) if request.top is not None else None
    return PairChoice(least=least, farthest=farthest, separation=separation, top=top)


def _text_output(stack: ExitStack, request: Request) -> RecordOutput:
    from rnafm_cli.io.map_output import map_formats
    from rnafm_cli.io.record_output import record_output

    formats = map_formats(request.task, request.format, with_distance=request.with_distance)
    elsewhere = "--h5 FILE.h5 writes maps, --plot pictures"
    return stack.enter_context(
        record_output(request.output, request.out_dir, formats, elsewhere=elsewhere, force=request.force)
    )


def _map_output(stack: ExitStack, request: Request, loaded: Model) -> TertiaryMapWriter | None:
    if request.h5 is None:
        return None
    from rnafm_cli.io.maps import TertiaryMapWriter
    from rnafm_cli.structure.tertiary import HEAD_KIND

    head = loaded.component(HEAD_KIND)[1]
    provenance: dict[str, str | bool] = {
        "model": loaded.name,
        "head_sha256": head.weights_sha256,
        "prior": request.prior,
        "families": " ".join(request.families),
        "command": " ".join(["rnafm", *sys.argv[1:]]),
    }
    if head.encoder_sha256 is not None:
        provenance["encoder_sha256"] = head.encoder_sha256
    writer = TertiaryMapWriter(request.h5, provenance=provenance, half=request.half, force=request.force)
    stack.enter_context(writer)
    return writer


def _claimed(records: Iterable[SequenceRecord], outputs: Sequence[_Claims], intake: Intake) -> Iterator[SequenceRecord]:
    """The records that every output can take."""
    for record in records:
        try:
            for output in outputs:
                output.claim(record)
        except InputError as error:
            intake.reject(error)
        else:
            yield record


def _write(
    results: Iterator[TertiaryMaps],
    choice: PairChoice,
    text: RecordOutput | None,
    maps: TertiaryMapWriter | None,
    pictures: _Pictures | None,
    intake: Intake,
    bar: console.Progress,
) -> None:
    from rnafm_cli.io.map_output import pair_rows

    for result in results:
        try:
            if text is not None:
                pairs = choice.pairs(result.contact_LL, result.distance_LL)
                text.add(result.record, pair_rows(result.record, pairs, result.named()))
        except InputError as error:
            intake.reject(error)
            continue
        if maps is not None:
            maps.add_maps(result.record, result.named())
        if pictures is not None:
            pictures.add(result)
        bar.advance()


class _Pictures:
    """Heat maps, with the known chains of a file below the diagonal."""

    def __init__(self, request: Request) -> None:
        from rnafm_cli.viz.structure import Gallery

        assert request.plot is not None
        self._task = request.task
        self._gallery: Gallery = Gallery(request.plot)
        self._truth = request.truth
        self._known: dict[str, Chain] = {}
        self._unknown: list[str] = []
        if request.truth is not None:
            from rnafm_cli.io.maps import read_chains

            for chain in read_chains(request.truth):
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

    def add(self, result: TertiaryMaps) -> None:
        """Draw one RNA."""
        from rnafm_cli.structure.figures import draw_contacts, draw_distances

        name, truth = result.record.id, self._of(result.record)
        path = self._gallery.place(name)
        if self._task == "contact":
            assert result.contact_LL is not None
            draw_contacts(name, result.contact_LL, path, truth=truth, relatives=result.relatives)
        else:
            assert result.distance_LL is not None
            draw_distances(name, result.distance_LL, path, truth=truth, relatives=result.relatives)

    def report(self) -> None:
        """Name the RNAs of which nothing is known."""
        if self._unknown:
            shown = ", ".join(self._unknown[:5]) + (" ..." if len(self._unknown) > 5 else "")
            console.warn(f"{self._truth}: has no chain with the id or the sequence of {shown}; drawn without")

    def _of(self, record: SequenceRecord) -> Chain | None:
        return self._known.get(record.id) or self._known.get(f"={record.sequence}")
