"""``rnafm weights``: what there is, where it lies, and how to get more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from rnafm_cli.weights.cards import Card


_MEGABYTE = 1_000_000

app = typer.Typer(
    help="List, fetch, import and check weight files.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


MaskRowChoice = Literal["upstream", "keep"]
KindChoice = Literal["encoder", "fold-resnet"]
LayoutChoice = Literal["upstream", "multimolecule", "onnx"]


MaskRow = Annotated[
    MaskRowChoice,
    typer.Option(
        "--mask-row",
        help="Embedding of <mask>: as upstream's loader leaves it (zero, mostly), or kept as it is in the file.",
    ),
]


@app.command("list")
def list_models(weights_dir: options.WeightsDir = None, quiet: options.Quiet = False) -> None:
    """Print every known model and every model file found, a component a line.

    Columns: name, component, kind, state (shipped, installed, missing, damaged), size in bytes, path.
    'missing' models can be fetched with 'pull' or 'import'.
    """
    from rnafm_cli.weights.store import entries

    _row("name", "component", "kind", "state", "size", "path")
    for entry in entries(weights_dir):
        _row(entry.name, entry.component, entry.kind, entry.state, _or_dash(entry.size), _or_dash(entry.path))


@app.command()
def where(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE]", help="A model; the folders if left out.", show_default=False)
    ] = None,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
) -> None:
    """Print the folders that are searched, in order, or the files of a model.

    New files go to the first folder.
    """
    from rnafm_cli.weights.store import find, search_dirs

    if name is None:
        for folder in search_dirs(weights_dir):
            _row(str(folder), "there" if folder.is_dir() else "not there")
        return
    for path in _files_of(name, weights_dir) or [find(name, weights_dir=weights_dir)]:
        _row(str(path))


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME|FILE]...", help="Models; all if left out.", show_default=False)
    ] = None,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
) -> None:
    """Compare the SHA-256 of model files with their cards; exit 4 if one differs.

    Columns: path, state (ok or damaged), SHA-256 by the card.
    """
    from rnafm_cli.weights.cards import verify_model_file
    from rnafm_cli.weights.store import entries, find

    if names:
        paths = [
            path for name in names for path in _files_of(name, weights_dir) or [find(name, weights_dir=weights_dir)]
        ]
    else:
        paths = [entry.path for entry in entries(weights_dir) if entry.path is not None]
    damaged = 0
    for path in dict.fromkeys(paths):
        try:
            _row(str(path), "ok", verify_model_file(path).weights_sha256)
        except WeightsError as error:
            damaged += 1
            _row(str(path), "damaged", "-")
            console.warn(str(error))
    if damaged:
        raise WeightsError(f"{damaged} of {len(dict.fromkeys(paths))} model files cannot be used")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that 'list' shows as missing.")],
    url: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A mirror of one's own, tried first; may be repeated.")
    ] = None,
    mask_row: MaskRow = "upstream",
    force: options.Force = False,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
) -> None:
    """Fetch a published model, check it and convert it; a broken transfer goes on where it stopped.

    Examples:

      rnafm weights pull rna-fm

      rnafm weights pull rna-fm-ss-pdb --weights-dir /shared/weights
    """
    for mirror in url or ():
        if not mirror.startswith(("http://", "https://", "file://")):
            raise UsageError(f"--url {mirror}: is no address", hint="begin it with https://")

    from rnafm_cli.encoder.official import pull as pull_model
    from rnafm_cli.weights.registry import MODELS

    download = MODELS[name].download if name in MODELS else None
    total = round(download.size / _MEGABYTE) if download is not None and download.size else None
    with console.progress(total, f"fetching {name}", unit="MB") as bar:
        shown = 0

        def show(done: int, _total: int | None) -> None:
            nonlocal shown
            bar.advance(done // _MEGABYTE - shown)
            shown = done // _MEGABYTE

        path, card = pull_model(
            name,
            weights_dir=weights_dir,
            urls=url or (),
            mask_row=mask_row,
            force=force,
            on_bytes=show,
            report=console.warn,
        )
    _tell(path, card)


@app.command("import")
def import_model(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Upstream .pth, multimolecule .safetensors or a model file of rnafm.")
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name that it gets; files called as upstream publishes them, and those with a card, know theirs.",
            show_default=False,
        ),
    ] = None,
    mask_row: MaskRow = "upstream",
    kind: Annotated[
        KindChoice | None,
        typer.Option(
            help="What FILE has to be; 'encoder' takes the encoder alone out of a file with heads.", show_default=False
        ),
    ] = None,
    heads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Attention heads, if FILE does not tell.", show_default=False)
    ] = None,
    force: options.Force = False,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
) -> None:
    """Convert a weight file into the store; nothing is run that it may contain.

    Prints the path of the model file.

    Examples:

      rnafm weights import RNA-FM-ResNet_bpRNA.pth

      rnafm weights import mine.pth --name lab-fm
    """
    from rnafm_cli.encoder.official import import_file
    from rnafm_cli.weights.cards import is_model_file, read_card
    from rnafm_cli.weights.registry import published_name

    if not file.is_file():
        raise WeightsError(f"{file}: no such file")
    name = name or published_name(file.name)
    if name is None and is_model_file(file):
        name = read_card(file).name
    if name is None:
        raise UsageError(f"{file.name} is not a file that upstream publishes", hint="give it a name: --name NAME")
    path, card = import_file(
        file,
        name=name,
        weights_dir=weights_dir,
        kind=kind,
        mask_row=mask_row,
        heads=heads,
        force=force,
    )
    _tell(path, card)


@app.command("export")
def export_model(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="The model whose encoder is written.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE|DIR", help="File to write; a folder for multimolecule.")
    ],
    layout: Annotated[
        LayoutChoice,
        typer.Option(
            help="Upstream's .pth, a folder for multimolecule's RnaFmModel, or an ONNX graph of the last layer."
        ),
    ],
    force: options.Force = False,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
) -> None:
    """Write an encoder in the form that another program reads, in float32. Heads have no other form than ours.

    Upstream's and multimolecule's networks have learned positions: rna-fm and what was trained in its shape fit,
    rnafm-mini does not. Prints the path.

    Examples:

      rnafm weights export rna-fm --layout multimolecule -o rna-fm-hf

      rnafm weights export rnafm-mini --layout onnx -o mini.onnx
    """
    if output.exists() and not force:
        raise UsageError(f"{output}: exists", hint="--force overwrites it")

    from rnafm_cli.encoder import export
    from rnafm_cli.encoder.model import load_encoder

    encoder, card = load_encoder(name, weights_dir=weights_dir)
    write = {
        "upstream": export.export_upstream,
        "multimolecule": export.export_multimolecule,
        "onnx": export.export_onnx,
    }[layout]
    write(encoder, output)
    console.info(f"{card.name}: encoder written in the layout {layout}")
    _row(str(output))


@app.command()
def average(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Model files of one kind and shape.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Model file to write: NAME.safetensors.")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name in the card.", show_default="that of the file")
    ] = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the mean of several weight files of one run, which is often better than each of them.

    Recipe, training data and settings are those of the first. Prints the path of the model file.

    Example: rnafm weights average run/best.safetensors run/last.safetensors -o mean.safetensors
    """
    from rnafm_cli.weights.files import average_models

    if len(files) < 2:
        raise UsageError("one file is its own mean", hint="give two or more")
    card = average_models(files, output, name=name or output.stem)
    console.info(f"{card.name} ({card.kind}): mean of {len(files)} files, sha256 {card.weights_sha256}")
    _row(str(output))


def _files_of(name: str, weights_dir: Path | None) -> list[Path]:
    from rnafm_cli.weights.store import entries

    found = [entry.path for entry in entries(weights_dir) if entry.name == name and entry.path is not None]
    return list(dict.fromkeys(found))


def _tell(path: Path, card: Card) -> None:
    dropped = card.source.get("dropped", [])
    if dropped:
        console.info(f"left out: {', '.join(dropped)}")
    if card.mask_row is not None:
        console.info(f"row of <mask>: {card.source['mask_row']} (--mask-row {card.mask_row})")
    console.info(f"{card.name} ({card.kind}) is ready: --model {card.name}")
    _row(str(path))


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _row(*cells: str) -> None:
    sys.stdout.write("\t".join(cells) + "\n")
