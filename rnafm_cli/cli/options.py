"""Options that several commands share, each defined once, and the reading of sequences for a command."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer

from rnafm_cli.cli import console
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli import model as models
    from rnafm_cli.rna.records import SequenceRecord

LongChoice = Literal["window", "error", "skip"]
OnErrorChoice = Literal["fail", "skip"]


def _set_quiet(value: bool) -> bool:
    console.console.quiet = console.console.quiet or value
    return value


def _set_verbose(value: bool) -> bool:
    console.console.verbose = console.console.verbose or value
    return value


def complete_model(incomplete: str) -> list[str]:
    from rnafm_cli.weights.registry import MODELS

    return [name for name in MODELS if name.startswith(incomplete)]


Inputs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FASTA", help="FASTA files, plain or gz/bz2/xz; '-' or nothing reads standard input."),
]
Output = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FILE", help="Where to write; '-' is standard output, '.gz' compresses."),
]
ModelName = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME|FILE",
        help="A model's name (see 'rnafm weights list') or a weight file.",
        autocompletion=complete_model,
    ),
]
WeightsDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="RNAFM_WEIGHTS_DIR",
        help="Folder searched first for weights (then $RNAFM_HOME, the user cache and the shipped folder).",
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option(envvar="RNAFM_DEVICE", help="Where the networks run.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        "-j", "--threads", min=1, max=1024, envvar="RNAFM_THREADS", help="CPU threads; all cores when not given."
    ),
]
Precision = Annotated[
    Literal["fp32", "bf16"],
    typer.Option(help="Arithmetic of the networks; bf16 is faster, less exact, and fp32 on a CPU without it."),
]
BatchTokens = Annotated[int, typer.Option(min=1, metavar="N", help="Tokens per batch; results do not depend on it.")]
Long = Annotated[
    LongChoice,
    typer.Option(help="RNAs beyond the model's limit: overlapping windows, an error, or left out with a warning."),
]
OnError = Annotated[
    OnErrorChoice, typer.Option(help="A bad record stops the run, or is skipped with a warning (exit 3 at the end).")
]
Families = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LIB",
        help="Family library, 'shipped' for Rfam's; repeatable, earlier ones first.",
        show_default="shipped",
    ),
]
RenameDuplicates = Annotated[bool, typer.Option("--rename-duplicates", help="Add _2, _3 ... to repeated ids.")]
Plot = Annotated[
    Path | None,
    typer.Option(metavar="DIR|FILE.svg", help="Draw: ID.svg in a folder, or one file (.svg, .png, .pdf) for one RNA."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in optim.rate=2e-4; may be repeated."),
]
MaxMinutes = Annotated[
    float | None, typer.Option(min=0, metavar="M", help="Save and stop after this time; the same command goes on.")
]
MaxMemory = Annotated[
    float | None,
    typer.Option(
        metavar="GB",
        min=0.1,
        help="Memory to stay within: longer RNAs are folded in windows, too long ones refused.",
        show_default="4, or less where less is free",
    ),
]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite existing output.")]


@dataclass(frozen=True, kw_only=True)
class Messages:
    """What every command takes, and the console alone reads."""

    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Only errors on standard error.", callback=_set_quiet, is_eager=True)
    ] = False
    verbose: Annotated[
        bool,
        typer.Option("-v", "--verbose", help="More detail on standard error.", callback=_set_verbose, is_eager=True),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Running:
    """How the networks run, the same for all commands that predict."""

    model: ModelName = "rnafm-mini"
    weights_dir: WeightsDir = None
    device: Device = "auto"
    threads: Threads = None
    precision: Precision = "fp32"
    batch_tokens: BatchTokens = 4096
    force: Force = False

    def load(self, name: str | None = None) -> models.Model:
        """The model of that name, the one asked for without."""
        from rnafm_cli.model import load_model

        return load_model(
            name or self.model,
            weights_dir=self.weights_dir,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
        )


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """What commands are given that predict pairs of bases: where they write, what they know, what they take."""

    output: Output = Path("-")
    out_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="One file per RNA, named by its id.")] = None
    rename_duplicates: RenameDuplicates = False
    prior: Annotated[bool, typer.Option(help="Let ViennaRNA's pair probabilities guide the network.")] = True
    families: Families = None
    use_families: Annotated[
        bool, typer.Option(" /--no-families", help="Read each RNA alone: look for no known family.", show_default=False)
    ] = True
    max_memory: MaxMemory = None
    long: Long = "window"
    on_error: OnError = "fail"

    @property
    def libraries(self) -> list[str]:
        """The family libraries that are asked for, the shipped one by default."""
        if self.families and not self.use_families:
            raise UsageError("--families and --no-families contradict each other")
        return (self.families or ["shipped"]) if self.use_families else []

    def settings(self, run: Running) -> dict[str, Any]:
        """How to predict, see :func:`rnafm_cli.structure.predict.surroundings`."""
        return {
            "prior": self.prior,
            "families": self.libraries,
            "warn": console.warn,
            "max_bytes": bytes_of(self.max_memory),
            "batch_tokens": run.batch_tokens,
        }


def bytes_of(gigabytes: float | None) -> int | None:
    """Memory as the rooms count it."""
    return round(gigabytes * 1e9) if gigabytes else None


class Spread:
    """A command as typer reads it: a parameter that is a dataclass stands for its fields, an option each.

    Several commands share options by one such class, and a subclass has defaults of its own; every command has
    :class:`Messages`. They are put together when typer asks for them, which it does for the command that runs alone.
    """

    def __init__(self, command: Callable[..., None]) -> None:
        update_wrapper(self, command)
        # They are evaluated in the signature, and need not be again.
        self.__annotations__ = {}
        self._command = command

    def __call__(self, **given: Any) -> None:
        for option in fields(Messages):
            given.pop(option.name)
        for name, group in self._groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        self._command(**given)

    @cached_property
    def __signature__(self) -> inspect.Signature:
        found: list[inspect.Parameter] = []
        for name, parameter in self._parameters.items():
            found += _options_in(self._groups[name]) if name in self._groups else [parameter]
        found += _options_in(Messages)
        # The order is that of --help: what has no default may stand anywhere.
        return inspect.Signature([option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in found])

    @property
    def _groups(self) -> dict[str, Any]:
        return {name: given.annotation for name, given in self._parameters.items() if is_dataclass(given.annotation)}

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self._command, eval_str=True).parameters


@cache
def _options_in(group: Any) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group, include_extras=True)
    return [option.replace(annotation=hints[name]) for name, option in inspect.signature(group).parameters.items()]


def command_group(purpose: str) -> typer.Typer:
    """A command that has commands of its own."""
    return typer.Typer(
        help=purpose,
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command_line() -> str:
    """The command as it was given, for what files say of their origin."""
    return " ".join(["rnafm", *sys.argv[1:]])


class Rejections:
    """What happens to input that cannot be used: it stops the run, or is reported, counted and left out."""

    def __init__(self, on_error: OnErrorChoice) -> None:
        self._on_error = on_error
        self.skipped = 0

    @property
    def skips(self) -> bool:
        """Whether it is left out."""
        return self._on_error == "skip"

    def reject(self, error: InputError) -> None:
        """What tasks and readers call for input that cannot be used."""
        if self._on_error == "fail":
            raise error
        self.skip(error)

    def skip(self, error: InputError) -> None:
        """Report it and leave it out."""
        self.skipped += 1
        console.warn(f"{error.message}; left out")

    def finish(self) -> None:
        """End the run: exit code 3 if records were left out."""
        if self.skipped:
            console.warn(f"{self.skipped} record{'s' if self.skipped > 1 else ''} left out")
            raise typer.Exit(InputError.exit_code)


class Claims(Protocol):
    """An output that may refuse a record before anything is computed for it."""

    def claim(self, record: SequenceRecord) -> object: ...


class Intake(Rejections):
    """The records of one run; counts what is left out, and sets the exit code by it."""

    def __init__(self, paths: list[Path] | None, on_error: OnErrorChoice, long: LongChoice = "window") -> None:
        if not paths and sys.stdin.isatty():
            raise UsageError("no input", hint="give FASTA files, or pipe sequences in")
        super().__init__(on_error)
        self._long = long
        self._paths = paths or [Path("-")]

    @property
    def reject_predicted(self) -> Callable[[InputError], None]:
        """What models call for an RNA that they cannot take; one beyond their limit may be left out alone."""
        return self.skip if self._long == "skip" else self.reject

    def records(self) -> Iterator[SequenceRecord]:
        """Clean records in input order; a bad one stops the run or is reported and left out."""
        from rnafm_cli.io.fasta import IntakeReport, read_fasta

        report = IntakeReport(console.warn)
        yield from read_fasta(self._paths, reject=self.reject, report=report)
        if told := report.summary():
            console.info(told)

    def claimed(self, outputs: Iterable[Claims | None], *, rename: bool = False) -> Iterator[SequenceRecord]:
        """The records that every output can take; where ids come again they get numbers, if wanted."""
        from rnafm_cli.io.names import rename_duplicates

        wanted = [output for output in outputs if output is not None]
        records = self.records()
        for record in rename_duplicates(records) if rename else records:
            try:
                for output in wanted:
                    output.claim(record)
            except InputError as error:
                self.reject(error)
            else:
                yield record

    def progress(self, description: str, unit: str = "records") -> AbstractContextManager[console.Bar]:
        """Counts finished records of as many as there are; of an unknown number where the input is no file."""
        return console.progress(self._count, description, unit)

    def _count(self) -> int | None:
        from rnafm_cli.io.fasta import count_records

        return count_records(self._paths)
