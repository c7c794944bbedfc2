"""The ``rnafm`` program: its commands, and the one place where exceptions and warnings become messages."""

from __future__ import annotations

import copy
import errno
import gc
import io
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from rnafm_cli import __version__
from rnafm_cli.cli import console, evaluate, families, finetune, pretrain, weights
from rnafm_cli.cli.annotate import annotate
from rnafm_cli.cli.atlas import atlas
from rnafm_cli.cli.cite import cite
from rnafm_cli.cli.embed import embed
from rnafm_cli.cli.fold import fold
from rnafm_cli.cli.mrl import mrl
from rnafm_cli.cli.options import Spread
from rnafm_cli.cli.rbp import rbp
from rnafm_cli.cli.schema import schema
from rnafm_cli.cli.tertiary import contact, distance
from rnafm_cli.errors import RnafmError, RnafmWarning, UsageError

CLOSED_PIPE = 141
INTERRUPTED = 130


class ErrorBoundary(TyperGroup):
    """Turns what commands raise into one line on stderr and the exit code of its kind."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as failure:
            if _is_usage_error(failure):
                parser: Any = failure
                # The words of the validation library before those of the message.
                parser.message = parser.message.replace("Value error, ", "")
                if not console.console.as_json:
                    raise
            foreseen = isinstance(failure, (RnafmError, KeyboardInterrupt, BrokenPipeError))
            if os.environ.get("RNAFM_DEBUG") and not foreseen:
                raise
            raise typer.Exit(_tell(failure)) from failure


def _is_usage_error(failure: BaseException) -> bool:
    # Typer vendors its parser; its errors know how to show themselves.
    return hasattr(failure, "show") and hasattr(failure, "exit_code")


def _tell(failure: Any) -> int:
    """Write what a failure means to the user; the exit code of its kind."""
    if isinstance(failure, OSError) and failure.errno == errno.EPIPE:
        return CLOSED_PIPE
    if isinstance(failure, KeyboardInterrupt) and not console.console.as_json:
        console.console.line("")
        return INTERRUPTED
    message, hint, code = str(failure), None, 1
    if isinstance(failure, RnafmError):
        message, hint, code = failure.message, failure.hint, failure.exit_code
    elif isinstance(failure, KeyboardInterrupt):
        message, code = "interrupted", INTERRUPTED
    elif _is_usage_error(failure):
        message, code = failure.format_message(), failure.exit_code
    elif isinstance(failure, MemoryError) or any(sign in message for sign in _NO_MEMORY):
        message = (
            "not enough memory; --max-memory GB bounds what pair maps take, --batch-tokens what a batch takes, "
            "-j fewer threads"
        )
    elif any(sign in message for sign in ("No space left on device", "os error 28", "errno = 28")):
        message = "the disk is full; free some space and run the same command again"
    elif "no locator available" in message:
        message = "UMAP's compiler finds no folder to write to; set NUMBA_CACHE_DIR to one"
    elif isinstance(failure, OSError):
        closed = failure.errno == errno.EBADF and not failure.filename
        where = f"{failure.filename}: " if failure.filename else ""
        message = "standard output is closed" if closed else f"{where}{failure.strerror or failure}"
    else:
        place = traceback.extract_tb(failure.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}:{place.lineno}"
        message = f"internal error: {type(failure).__name__}: {failure} ({where})"
        hint = "this is a bug in rnafm, RNAFM_DEBUG=1 shows the traceback to report"
    console.error(message, hint=hint, exit_code=code)
    return code


_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Unable to allocate", "bad_alloc")
_WRITTEN = ("output", "per_record", "alignment", "plot", "report")
_PICTURES = (".svg", ".png", ".pdf")


class Careful(TyperCommand):
    """A command that overwrites no file, its own input least of all, unless ``--force`` is given.

    Numbers are finite ones.
    """

    def invoke(self, ctx: Any) -> Any:
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"--{name.replace('_', '-')} {value}: is no finite number")
        if ctx.params.get("out_dir") is not None and str(ctx.params["output"]) != "-":
            raise UsageError("-o and --out-dir contradict each other", hint="give one of them")
        if ctx.params.get("force") is False:
            for name in _WRITTEN:
                path = ctx.params.get(name)
                # What /dev/stdout and /dev/fd/N stand for was opened by the caller.
                if path is not None and os.path.isfile(path) and not str(path).startswith(("/dev/", "/proc/")):
                    raise UsageError(f"{path}: exists", hint="--force replaces it")
            folder = ctx.params.get("plot")
            if folder is not None and os.path.isdir(folder):
                if any(name.lower().endswith(_PICTURES) for name in os.listdir(folder)):
                    raise UsageError(f"{folder}: holds pictures already", hint="--force replaces those of one name")
        console.console.prints_data = str(ctx.params.get("output")) == "-" and ctx.params.get("out_dir") is None
        return super().invoke(ctx)


def _flush_or_discard_stdout() -> None:
    """What was computed before a failure still goes out; after a closed pipe the rest is dropped quietly."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())


app = typer.Typer(
    name="rnafm",
    cls=ErrorBoundary,
    help="An RNA foundation model in the shell: embeddings, structure and function from FASTA.",
    epilog="Example: rnafm fold seqs.fa > out.dbn. Each command explains itself with --help.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"rnafm {__version__}\n")
        raise typer.Exit


def _set_json(value: bool) -> None:
    console.console.as_json = value


@app.callback()
def rnafm(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
    json_errors: Annotated[
        bool,
        typer.Option(
            "--json-errors",
            help="Write each message on standard error as a line of JSON.",
            envvar="RNAFM_JSON_ERRORS",
            callback=_set_json,
            is_eager=True,
        ),
    ] = False,
) -> None:
    if ctx.invoked_subcommand:
        console.console.command = f"rnafm {ctx.invoked_subcommand}"


for _command in (embed, fold, contact, distance, rbp, mrl, annotate, atlas, cite, schema):
    app.command(_command.__name__)(_command)
_GROUPS = {"families": families, "weights": weights, "pretrain": pretrain, "finetune": finetune, "evaluate": evaluate}
for _name, _group in _GROUPS.items():
    app.add_typer(_group.app, name=_name)
for _each in (app, *(_group.app for _group in _GROUPS.values())):
    for _registered in _each.registered_commands:
        _registered.cls = Careful
        if _registered.callback is not None:
            _registered.callback = Spread(_registered.callback)


def _app_for(word: str) -> typer.Typer:
    """The program with the command of that name alone, if there is one: the options of all take a tenth of a second."""
    narrow = copy.copy(app)
    narrow.registered_commands = [command for command in app.registered_commands if command.name == word]
    narrow.registered_groups = [group for group in app.registered_groups if group.name == word]
    return narrow if narrow.registered_commands or narrow.registered_groups else app


def main() -> None:
    """Run the program; never returns."""
    # What start-up makes, hundreds of thousands of objects, is there to stay: looking for garbage among them takes a
    # tenth of a second.
    gc.set_threshold(100_000)
    _open_closed_streams()
    warnings.showwarning = _shown_on_console(warnings.showwarning)
    code: Any = 0
    try:
        _app_for(next((word for word in sys.argv[1:] if not word.startswith("-")), ""))(prog_name="rnafm")
    except SystemExit as end:
        code = end.code
    except OSError as failure:
        # Commands tell of their failures themselves: what is left is help for a closed stdout.
        if failure.errno != errno.EBADF:
            raise
    finally:
        _flush_or_discard_stdout()
    workers = sys.modules.get("rnafm_cli.encoder.workers")
    if workers is not None and workers.is_reading() and sys.stdin is sys.__stdin__:
        # A thread still waits for records from standard input. It holds the lock of the stream, at which Python, when
        # it cleans up, would abort.
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
    sys.exit(code)


def _open_closed_streams() -> None:
    """Give streams that were closed by the caller (``>&-``) a place, and their numbers to no other file.

    What goes to a closed stdout fails. Data are UTF-8 wherever they go, as in files.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            setattr(sys, name, open(number, mode, closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def _shown_on_console(others: Callable[..., None]) -> Callable[..., None]:
    """How a warning is shown: ours as a line of the command's, those of libraries as before."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, RnafmWarning):
            console.warn(str(message))
        else:
            others(message, category, *where, **more)

    return show
