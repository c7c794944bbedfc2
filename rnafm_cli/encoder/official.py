"""Published RNA-FM weights (upstream's ``.pth``, multimolecule's safetensors): pulled or imported, and converted.

The row of ``<mask>``. Upstream's loader sets this row of the embedding table to zero, then copies the
tensors into a model whose output head shares the table, the head's copy last. So the row ends as zero
where the file holds the table once, and comes back where it holds it twice. ``mask_row="upstream"``, the
default, ends where that loader ends for the very file: zero for a trainer's checkpoint with one table, the
second table for one with two, an unchanged row for a plain state dictionary (the structure files), which
upstream copies as it is. multimolecule's files are made from upstream's and hold the table once: zero.
``mask_row="keep"`` never zeroes, as multimolecule does. Only input with ``<mask>`` sees a difference.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.layouts import MULTIMOLECULE, Parts, TensorLayout
from rnafm_cli.encoder.model import encoder_config
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.resnet import PairResNet
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.rna.alphabet import Alphabet
from rnafm_cli.weights.cards import WEIGHTS_SUFFIX, Card, file_sha256, is_model_file, read_card
from rnafm_cli.weights.download import OnBytes, fetch
from rnafm_cli.weights.files import NoInitialValues, copy_model_file, load_model_file, save_model_file
from rnafm_cli.weights.foreign import ForeignFile, read_foreign
from rnafm_cli.weights.registry import ENCODER, MODELS, ModelSpec, nearest_name
from rnafm_cli.weights.store import EMBEDDED, FOREIGN_SUFFIXES, target_dir

MaskRow = Literal["upstream", "keep"]
_STRUCTURE = "fold-resnet"
_SHOWN = 4


def convert(
    path: Path,
    *,
    name: str,
    encoder_alone: bool = False,
    mask_row: MaskRow = "upstream",
    heads: int | None = None,
) -> tuple[dict[str, Tensor], Card]:
    """Our tensors and their card from a published file.

    An encoder file gives the encoder's tensors. A structure file gives kind ``fold-resnet``: the encoder
    under ``encoder.`` and the tensors of PairResNet under ``head.``. The contact head, which upstream never
    trained, is dropped.

    Args:
        path: upstream ``.pth`` or multimolecule-layout weights.
        name: name for the card.
        encoder_alone: leave out heads and whatever else there is.
        mask_row: see the module's docstring.
        heads: attention heads, for files that do not tell.

    Raises:
        WeightsError: when the file is damaged or does not fit; missing, unexpected and misshapen tensors are named.
        UsageError: when the number of heads is needed and not given, or contradicts the file.
    """
    file = read_foreign(path)
    parts = Parts.split(file)
    shape = parts.encoder_shape(file, heads)
    row_effect = _settle_table(parts, file, mask_row, shape.alphabet)
    misfits: dict[str, list[str]] = {"missing ": [], "unexpected ": [], "": []}
    with NoInitialValues():
        tensors = _gather(Encoder(shape), parts.encoder, parts.layout, misfits)
    kind, config = ENCODER, dataclasses.asdict(shape)
    if parts.head and not encoder_alone:
        head_shape = parts.head_shape(file, shape.width)
        with NoInitialValues():
            head = _gather(PairResNet(head_shape), parts.head, parts.layout, misfits)
        tensors = {f"{EMBEDDED}{key}": value for key, value in tensors.items()}
        tensors |= {f"head.{key}": value for key, value in head.items()}
        kind, config = _STRUCTURE, {"encoder": config, "head": dataclasses.asdict(head_shape)}
        misfits["unexpected "] += parts.head
    elif parts.head:
        parts.dropped.append(f"structure head ({len(parts.head)} tensors)")
    (parts.dropped if encoder_alone else misfits["unexpected "]).extend(parts.encoder)
    if any(misfits.values()):
        told = [
            what + ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
            for what, names in misfits.items()
            if names
        ]
        only_more = not misfits["missing "] and not misfits[""]
        hint = "--kind encoder takes the encoder alone" if only_more else None
        raise WeightsError(f"{path}: its tensors do not fit: {'; '.join(told)}", hint=hint)
    source = {
        "file": path.name,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "layout": parts.layout.name,
        "mask_row": row_effect,
        "dropped": [*parts.dropped, *file.extras],
    }
    return tensors, Card(name=name, kind=kind, config=config, mask_row=mask_row, source=source)


def _gather(
    network: nn.Module, theirs: dict[str, Tensor], layout: TensorLayout, misfits: dict[str, list[str]]
) -> dict[str, Tensor]:
    """The tensors of our network from theirs, which are taken out of the dictionary."""
    ours: dict[str, Tensor] = {}
    for name, own in network.state_dict().items():
        if name.endswith(".num_batches_tracked"):
            continue
        sources = layout.sources(name)
        share = (own.shape[0] // len(sources), *own.shape[1:])
        pieces = {source: theirs.pop(source) for source in sources if source in theirs}
        wrong = {source: list(piece.shape) for source, piece in pieces.items() if piece.shape != share}
        misfits["missing "] += [source for source in sources if source not in pieces]
        misfits[""] += [f"{source} is {shape} instead of {list(share)}" for source, shape in wrong.items()]
        if len(pieces) == len(sources) and not wrong:
            # A tensor that is whole stays in the file's memory: joining one piece would copy it.
            ours[name] = torch.cat(list(pieces.values())) if len(pieces) > 1 else pieces[sources[0]]
    return ours


def _settle_table(parts: Parts, file: ForeignFile, mask_row: MaskRow, alphabet: Alphabet) -> str:
    """Bring the embedding table into our token order, one table for input and output; what became of <mask>."""
    layout = parts.layout
    table, second = parts.encoder[layout.table], parts.encoder.pop(layout.second_table, None)
    zeroed, effect = layout is MULTIMOLECULE or file.wrapped, "as in the file"
    if layout is MULTIMOLECULE:
        vocabulary = next(one for one in layout.vocabularies(alphabet) if len(one) == len(table))
        # Our unused tokens share a row there.
        rows = [vocabulary.index("<null>" if token.startswith("<null") else token) for token in alphabet.tokens]
        table = table[rows]
        if "lm_head.bias" in parts.encoder:
            parts.encoder["lm_head.bias"] = parts.encoder["lm_head.bias"][rows]
    elif second is not None and (second.data_ptr() != table.data_ptr() or second.shape != table.shape):
        table, zeroed, effect = second, False, f"as in {layout.second_table}"
    if zeroed and mask_row == "upstream":
        table, effect = table.clone(), "zeroed"
        table[alphabet.mask] = 0
    parts.encoder[layout.table] = table
    return effect


def import_file(
    path: Path,
    *,
    name: str,
    weights_dir: Path | None = None,
    encoder_alone: bool = False,
    mask_row: MaskRow = "upstream",
    heads: int | None = None,
    force: bool = False,
    origin: str | None = None,
) -> tuple[Path, Card]:
    """Convert a published file, or copy a model file of ours, into the store under a name.

    Args:
        path: upstream or multimolecule weights, or a model file with its card.
        name: the name it gets; that of a registered model if it is this model.
        encoder_alone, mask_row, heads: see :func:`convert`.
        force: replace a model of this name.
        origin: address that the file was fetched from, for the card.

    Raises:
        UsageError: when the name is taken or cannot be used.
        WeightsError: when the file is damaged, does not fit, or is another model than the name says.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name) or name.endswith((WEIGHTS_SUFFIX, *FOREIGN_SUFFIXES)):
        raise UsageError(f"'{name}' cannot be a model's name", hint="use letters, digits, '-', '_' and '.'")
    spec = MODELS.get(name)
    if spec is not None and spec.download is None:
        raise UsageError(f"'{name}' is the model that ships with rnafm", hint="choose another name")
    target = target_dir(weights_dir) / f"{name}{WEIGHTS_SUFFIX}"
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already", hint="replace it with --force, or choose another name")
    if is_model_file(path):
        card = read_card(path)
        if encoder_alone and "encoder" in card.config:
            tensors, card = load_model_file(path, prefix=EMBEDDED)
            source = {**card.source, "taken_from": card.weights_sha256}
            card = Card(name=name, kind=ENCODER, config=card.config["encoder"], mask_row=card.mask_row, source=source)
            return target, save_model_file(target, tensors, card)
        if encoder_alone and card.kind != ENCODER:
            raise WeightsError(f"{path}: is of kind {card.kind}, and holds no encoder")
        _check_registered(name, spec, card, path)
        return target, copy_model_file(path, target, name=name)
    tensors, card = convert(path, name=name, encoder_alone=encoder_alone, mask_row=mask_row, heads=heads)
    _check_registered(name, spec, card, path)
    card.source.update({"url": origin} if origin else {})
    card.source.update({"licence": spec.licence} if spec else {})
    return target, save_model_file(target, tensors, card)


def _check_registered(name: str, spec: ModelSpec | None, card: Card, path: Path) -> None:
    """A registered name stands for one published network: nothing else may take it."""
    if spec is None:
        return
    kind = ENCODER if set(spec.components) == {ENCODER} else _STRUCTURE
    found, wanted = (
        f"{kind} with {c.tokens} tokens, {c.layers} layers of {c.width} channels, {c.heads} heads, feed-forward {c.ffn}"
        for kind, c in ((card.kind, encoder_config(card, path)), (kind, ENCODER_PRESETS[spec.preset]))
    )
    if found != wanted:
        raise WeightsError(f"{path}: is not {name}: {found}, where {name} is {wanted}", hint="choose another name")


def pull_model(
    name: str,
    *,
    weights_dir: Path | None = None,
    mask_row: MaskRow = "upstream",
    force: bool = False,
    on_bytes: OnBytes = lambda done, total: None,
    report: Callable[[str], None] = lambda message: None,
) -> tuple[Path, Card]:
    """Fetch a registered model and convert it into the store.

    Args:
        name: a registered name.
        weights_dir: folder to put it into; else as :func:`~rnafm_cli.weights.store.target_dir` says.
        mask_row: see the module's docstring.
        force: replace the model if it is there.
        on_bytes, report: see :func:`~rnafm_cli.weights.download.fetch`.

    Raises:
        UsageError: when the model cannot be pulled, or is there already.
        WeightsError: when no mirror gives the file; the hint says how to bring it in by hand.
    """
    spec = MODELS.get(name)
    if spec is None:
        close = nearest_name(name, MODELS)
        raise WeightsError(
            f"there is no model '{name}' to pull",
            hint=f"did you mean {close}?" if close else f"the names are {', '.join(MODELS)}",
        )
    if spec.download is None:
        raise UsageError(f"'{name}' ships with rnafm: there is nothing to pull")
    folder = target_dir(weights_dir)
    if (folder / f"{name}{WEIGHTS_SUFFIX}").exists() and not force:
        raise UsageError(f"'{name}' is in {folder} already", hint="fetch it again with --force")
    downloads, file_name = folder / "downloads", spec.download.file_name
    try:
        fetched, url = fetch(spec.download, downloads, on_bytes=on_bytes, report=report)
    except WeightsError as error:
        size = f" ({spec.download.size:,} bytes)" if spec.download.size else ""
        places = "\n".join(f"  {url}" for url in spec.download.urls)
        by_hand = (
            f"where there is a network, fetch {file_name}{size} from one of\n{places}\n"
            f"copy it here and run: rnafm weights import {file_name} --name {name}"
        )
        raise WeightsError(error.message, hint=by_hand) from error
    try:
        result = import_file(fetched, name=name, weights_dir=weights_dir, mask_row=mask_row, force=force, origin=url)
    except WeightsError:
        fetched.unlink()
        raise
    fetched.unlink()
    with suppress(OSError):
        downloads.rmdir()
    return result
