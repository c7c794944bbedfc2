"""``rnafm contact`` and ``rnafm distance``: sequences in, probabilities of tertiary contacts and distances out."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rnafm_cli.cli import console, fold, options
from rnafm_cli.cli.options import DeviceChoice, Intake, LongChoice, OnErrorChoice, PrecisionChoice, families_of
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.io.maps import TertiaryMapWriter
    from rnafm_cli.io.record_output import RecordOutput
    from rnafm_cli.model import Model
    from rnafm_cli.rna.chains import Chain
    from rnafm_cli.rna.records import SequenceRecord
    from rnafm_cli.structure.tertiary import PairChoice, TertiaryMaps

_OUTPUT, _CHOICE = "Output", "Choice of pairs"


ContactFormatChoice = Literal["tsv", "jsonl", "casprr", "3drna", "rosetta"]
DistanceFormatChoice = Literal["tsv", "jsonl", "3drna", "rosetta"]


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

_RESTRAINTS = ("3drna", "rosetta")
_LEAST_PROBABILITY = {"tsv": 0.01, "jsonl": 0.01, "casprr": 0.01, "3drna": 0.3, "rosetta": 0.3}
_FARTHEST_RESTRAINT = 15.0
_LEAST_SEPARATION = 5
_HDF5_SUFFIXES = (".h5", ".hdf5")


def contact(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: Annotated[
        ContactFormatChoice,
        typer.Option(
            "--format",
            help="Tables; CASP's RR format; restraints for 3dRNA (DCA) or Rosetta (AtomPair).",
            rich_help_panel=_OUTPUT,
        ),
    ] = "tsv",
    out_dir: fold.OutDir = None,
    force: options.Force = False,
    with_distance: Annotated[
        bool,
        typer.Option(
            "--with-distance",
            help="Predict distances in the same run: columns, maps and Rosetta restraints get them too.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    min_prob: Annotated[
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
    ] = None,
    min_separation: MinSeparation = None,
    top: Top = None,
    h5: H5 = None,
    half: HalfMaps = False,
    plot: Plot = None,
    truth: Truth = None,
    rename_duplicates: fold.RenameDuplicates = False,
    model: options.Model = "rnafm-mini",
    prior: fold.Prior = True,
    families: options.Families = None,
    use_families: options.UseFamilies = True,
    max_memory: fold.MaxMemory = None,
    long: options.Long = "window",
    on_error: options.OnError = "fail",
    weights_dir: options.WeightsDir = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    precision: options.Precision = "fp32",
    batch_tokens: options.BatchTokens = 4096,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Predict which bases are in contact: nearest heavy atoms closer than 8 Å.

    A table of pairs i < j (from 1) with their probability, the pairs of a helix and of tertiary contacts alike. Where
    the RNA belongs to a family with known 3D structures, they count.

    Examples:

      rnafm contact seqs.fa > contacts.tsv

      rnafm contact seqs.fa --with-distance --h5 maps.h5 -o contacts.tsv

      rnafm contact one.fa --format rosetta -o one.cst --plot one.svg
    """
    _Run(task="contact", **locals())()


def distance(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: Annotated[
        DistanceFormatChoice,
        typer.Option(
            "--format", help="Tables; restraints for 3dRNA (Distances) or Rosetta (AtomPair).", rich_help_panel=_OUTPUT
        ),
    ] = "tsv",
    out_dir: fold.OutDir = None,
    force: options.Force = False,
    max_distance: Annotated[
        float | None,
        typer.Option(
            "--max-distance",
            min=0.0,
            metavar="A",
            help="Leave out pairs that are farther apart, in Å.",
            show_default="none; 15 for 3drna and rosetta",
            rich_help_panel=_CHOICE,
        ),
    ] = None,
    min_separation: MinSeparation = None,
    top: Top = None,
    h5: H5 = None,
    half: HalfMaps = False,
    plot: Plot = None,
    truth: Truth = None,
    rename_duplicates: fold.RenameDuplicates = False,
    model: options.Model = "rnafm-mini",
    prior: fold.Prior = True,
    families: options.Families = None,
    use_families: options.UseFamilies = True,
    max_memory: fold.MaxMemory = None,
    long: options.Long = "window",
    on_error: options.OnError = "fail",
    weights_dir: options.WeightsDir = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    precision: options.Precision = "fp32",
    batch_tokens: options.BatchTokens = 4096,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Predict how far bases are apart: distances of their nearest heavy atoms, from 0 to 20 Å.

    A table of all pairs i < j (from 1) with the expected distance and its standard deviation; 20 stands for all that
    is farther.

    Examples:

      rnafm distance seqs.fa --h5 maps.h5 -o distances.tsv

      rnafm distance one.fa --format rosetta --top 3L -o one.cst
    """
    _Run(task="distance", **locals())()


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run: the options of either command by their names there, and what is done with them."""

    task: str
    inputs: list[Path] | None
    output: Path
    output_format: str
    out_dir: Path | None
    force: bool
    h5: Path | None
    half: bool
    plot: Path | None
    truth: Path | None
    rename_duplicates: bool
    model: str
    prior: bool
    families: list[str] | None
    use_families: bool
    with_distance: bool = False
    min_prob: float | None = None
    max_distance: float | None = None
    min_separation: int | None
    top: str | None
    max_memory: float | None
    long: LongChoice
    on_error: OnErrorChoice
    weights_dir: Path | None
    device: DeviceChoice
    threads: int | None
    precision: PrecisionChoice
    batch_tokens: int
    quiet: bool
    verbose: bool

    def __call__(self) -> None:
        """Read, predict, choose pairs, write."""
        intake = Intake(self.inputs, self.on_error)
        libraries = families_of(self.families, self.use_families)
        self._check()
        choice = self._choice()

        from rnafm_cli.families.search import search_ahead

        search_ahead(libraries, self.weights_dir)

        from rnafm_cli.io.map_output import pair_rows
        from rnafm_cli.model import load_model
        from rnafm_cli.structure.predict import predict
        from rnafm_cli.structure.tertiary import load_tertiary_predictor

        pictures = _Pictures(self.plot, self.truth) if self.plot is not None else None
        loaded = load_model(
            self.model,
            weights_dir=self.weights_dir,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
        )
        predictor = load_tertiary_predictor(
            loaded,
            ("contact", "distance") if self.with_distance else (self.task,),
            prior=self.prior,
            families=libraries,
            warn=console.warn,
            max_bytes=round(self.max_memory * 1e9) if self.max_memory else None,
            batch_tokens=self.batch_tokens,
        )
        with ExitStack() as stack:
            maps = self._maps(stack, loaded, libraries)
            text = self._text(stack)
            results = predict(
                intake.claimed([text, maps, pictures], rename=self.rename_duplicates),
                predictor,
                long=self.long,
                reject=intake.skip if self.long == "skip" else intake.reject,
                tell=console.info,
            )
            bar = stack.enter_context(intake.progress("predicting"))
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
                    pictures.add(result, self.task)
                bar.advance()
        if pictures is not None:
            pictures.report()
        intake.finish()

    @property
    def _only_maps(self) -> bool:
        """``-o FILE.h5`` means ``--h5 FILE.h5`` and no text."""
        return self.output.suffix.lower() in _HDF5_SUFFIXES

    def _check(self) -> None:
        if self._only_maps and (self.h5 is not None or self.output_format != "tsv" or self.out_dir is not None):
            raise UsageError(f"{self.output}: is the name of an HDF5 file, not of text", hint="give it to --h5")
        if self.out_dir is not None and str(self.output) != "-":
            raise UsageError("-o and --out-dir contradict each other", hint="give one of them")
        if self.half and self.h5 is None and not self._only_maps:
            raise UsageError("--half is about --h5", hint="add --h5 FILE.h5")
        if self.truth is not None and self.plot is None:
            raise UsageError("--truth is about --plot", hint="add --plot DIR")

    def _choice(self) -> PairChoice:
        from rnafm_cli.structure.tertiary import PairChoice, parse_top

        least, farthest, separation = self.min_prob, self.max_distance, self.min_separation
        if self.task == "contact" and least is None:
            least = _LEAST_PROBABILITY[self.output_format]
        if self.task == "distance" and farthest is None and self.output_format in _RESTRAINTS:
            farthest = _FARTHEST_RESTRAINT
        if separation is None:
            plain = self.output_format in ("tsv", "jsonl") and self.top is None
            separation = 1 if plain else _LEAST_SEPARATION
        top = parse_top(self.top) if self.top is not None else None
        return PairChoice(least=least, farthest=farthest, separation=separation, top=top)

    def _text(self, stack: ExitStack) -> RecordOutput | None:
        from rnafm_cli.io.map_output import map_formats
        from rnafm_cli.io.record_output import record_output

        if self._only_maps:
            return None
        formats = map_formats(self.task, self.output_format, with_distance=self.with_distance)
        elsewhere = "--h5 FILE.h5 writes maps, --plot pictures"
        return stack.enter_context(
            record_output(self.output, self.out_dir, formats, elsewhere=elsewhere, force=self.force)
        )

    def _maps(self, stack: ExitStack, loaded: Model, libraries: list[str]) -> TertiaryMapWriter | None:
        path = self.output if self._only_maps else self.h5
        if path is None:
            return None
        from rnafm_cli.io.maps import TertiaryMapWriter
        from rnafm_cli.structure.tertiary import HEAD_KIND

        head = loaded.component(HEAD_KIND)[1]
        provenance: dict[str, str | bool] = {
            "model": loaded.name,
            "head_sha256": head.weights_sha256,
            "prior": self.prior,
            "families": " ".join(libraries),
            "command": " ".join(["rnafm", *sys.argv[1:]]),
        }
        if head.encoder_sha256 is not None:
            provenance["encoder_sha256"] = head.encoder_sha256
        writer = TertiaryMapWriter(path, provenance=provenance, half=self.half, force=self.force)
        stack.enter_context(writer)
        return writer


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
        path = self._gallery.place(name)
        draw_map(name, task, result.named()[task], path, truth=truth, relatives=result.relatives)

    def report(self) -> None:
        """Name the RNAs of which nothing is known."""
        if self._unknown:
            shown = ", ".join(self._unknown[:5]) + (" ..." if len(self._unknown) > 5 else "")
            console.warn(f"{self._truth}: has no chain with the id or the sequence of {shown}; drawn without")

    def _of(self, record: SequenceRecord) -> Chain | None:
        return self._known.get(record.id) or self._known.get(f"={record.sequence}")
