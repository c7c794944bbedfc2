"""``rnafm weights``: what there is, where it lies, and how to get more."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from rnafm_cli.weights.cards import Card


_MEGABYTE = 1_000_000

app = options.command_group("List, fetch, import and check weight files.")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the commands look."""

    weights_dir: options.WeightsDir = None


@dataclass(frozen=True, kw_only=True)
class Storing(Place):
    """Where and how the commands store a model."""

    mask_row: Annotated[
        Literal["upstream", "keep"],
        typer.Option(help="Embedding of <mask>: as upstream's loader leaves it (zero, mostly), or as in the file."),
    ] = "upstream"
    force: options.Force = False


@app.command("list")
def list_models(place: Place) -> None:
    """Print every known model and every model file found, a component a line.

    Columns: name, component, kind, state (shipped, installed, missing, damaged), size in bytes, path.
    'missing' models can be fetched with 'pull' or 'import'.
    """
    from rnafm_cli.weights.store import components

    _row("name", "component", "kind", "state", "size", "path")
    for one in components(place.weights_dir):
        _row(one.name, one.component, one.kind, one.state, one.size, one.path)


@app.command()
def where(place: Place) -> None:
    """Print the folders that are searched, in order. New files go to the first one."""
    from rnafm_cli.weights.store import search_dirs

    for folder in search_dirs(place.weights_dir):
        _row(folder, "there" if folder.is_dir() else "not there")


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME|FILE]...", help="Models; all if left out.")
    ] = None,
    *,
    place: Place,
) -> None:
    """Compare the SHA-256 of model files with their cards; exit 4 if one differs.

    Columns: path, state (ok or damaged), SHA-256 by the card.
    """
    from rnafm_cli.weights.cards import verify_model_file
    from rnafm_cli.weights.store import components, find

    present = [(one.name, one.path) for one in components(place.weights_dir) if one.path is not None]
    found = [path for _, path in present]
    if names:
        found = []
        for name in names:
            found += [path for of, path in present if of == name] or [find(name, weights_dir=place.weights_dir)]
    paths = list(dict.fromkeys(found))
    damaged = 0
    for path in paths:
        try:
            _row(path, "ok", verify_model_file(path).weights_sha256)
        except WeightsError as error:
            damaged += 1
            _row(path, "damaged", None)
            console.warn(str(error))
    if damaged:
        raise WeightsError(f"{damaged} of {len(paths)} model files cannot be used")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that 'list' shows as missing.")],
    *,
    store: Storing,
) -> None:
    """Fetch a published model, check it and convert it; a broken transfer goes on where it stopped.

    Examples:

      rnafm weights pull rna-fm

      rnafm weights pull rna-fm-ss-pdb --weights-dir /shared/weights
    """
    from rnafm_cli.encoder.official import pull_model
    from rnafm_cli.weights.registry import MODELS

    download = MODELS[name].download if name in MODELS else None
    total = round(download.size / _MEGABYTE) if download is not None and download.size else None
    with console.progress(total, f"fetching {name}", unit="MB") as bar:
        path, card = pull_model(
            name,
            weights_dir=store.weights_dir,
            mask_row=store.mask_row,
            force=store.force,
            on_bytes=lambda done, _: bar.advance(done // _MEGABYTE - bar.done),
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
        ),
    ] = None,
    kind: Annotated[
        Literal["encoder"] | None, typer.Option(help="Take the encoder alone out of a file with heads.")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Attention heads, if FILE does not tell.")
    ] = None,
    *,
    store: Storing,
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
        weights_dir=store.weights_dir,
        encoder_alone=kind == "encoder",
        mask_row=store.mask_row,
        heads=heads,
        force=store.force,
    )
    _tell(path, card)


@app.command("export")
def export_model(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="The model whose encoder is written.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE|DIR", help="File to write; a folder for multimolecule.")
    ],
    layout: Annotated[
        Literal["upstream", "multimolecule", "onnx"],
        typer.Option(help="Upstream's .pth, a folder for multimolecule's RnaFmModel, or ONNX of the last layer."),
    ],
    force: options.Force = False,
    *,
    place: Place,
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

    from rnafm_cli.encoder.export import EXPORTS
    from rnafm_cli.encoder.model import load_encoder

    encoder, card = load_encoder(name, weights_dir=place.weights_dir)
    EXPORTS[layout](encoder, output)
    console.info(f"{card.name}: encoder written in the layout {layout}")
    _row(output)


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
    _row(output)


def _tell(path: Path, card: Card) -> None:
    if dropped := card.source.get("dropped"):
        console.info(f"left out: {', '.join(dropped)}")
    if card.mask_row is not None:
        console.info(f"row of <mask>: {card.source['mask_row']} (--mask-row {card.mask_row})")
    console.info(f"{card.name} ({card.kind}) is ready: --model {card.name}")
    _row(path)


def _row(*cells: object) -> None:
    sys.stdout.write("\t".join("-" if cell is None else str(cell) for cell in cells) + "\n")
