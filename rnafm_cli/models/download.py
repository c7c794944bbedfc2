"""Fetching published weights: mirrors in turn, broken transfers resumed, everything checked before it is used."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rnafm_cli.errors import RnafmError, UsageError, WeightsError
from rnafm_cli.models.files import Card
from rnafm_cli.models.folders import target_dir
from rnafm_cli.models.imports import import_file
from rnafm_cli.models.registry import MODELS, Download, nearest_name
from rnafm_cli.models.transfer import Lost, MirrorFailed, OnBytes, PartFile, transfer
from rnafm_cli.models.upstream import MaskRow

__all__ = ["Patience", "fetch", "pull"]

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to insist on a mirror."""

    attempts: int = 4
    """Tries in a row that bring no new bytes before the next mirror is taken."""
    backoff: float = 0.5
    """Seconds before the second try, doubled for each further one."""
    timeout: float = 30.0
    """Seconds without any data before a connection counts as lost."""


def pull(
    name: str,
    *,
    weights_dir: Path | None = None,
    urls: Sequence[str] = (),
    mask_row: MaskRow = "upstream",
    force: bool = False,
    on_bytes: OnBytes | None = None,
    report: Report | None = None,
    patience: Patience | None = None,
) -> tuple[Path, Card]:
    """Fetch a registered model and convert it into the store.

    Args:
        name: a registered name.
        weights_dir: folder to put it into; else as :func:`folders.target_dir` says.
        urls: mirrors of one's own, tried before the registered ones.
        mask_row: see :mod:`rnafm_cli.models.upstream`.
        force: replace the model if it is there.
        on_bytes: told about progress.
        report: told about every mirror that fails and every lost connection.
        patience: how long to insist.

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
    if (folder / f"{name}.safetensors").exists() and not force:
        raise UsageError(f"'{name}' is in {folder} already", hint="fetch it again with --force")
    downloads = folder / "downloads"
    try:
        fetched, url = fetch(
            spec.download, downloads, urls=urls, on_bytes=on_bytes, report=report, patience=patience or Patience()
        )
    except WeightsError as error:
        raise WeightsError(error.message, hint=_by_hand(name, spec.download)) from error
    try:
        result = import_file(fetched, name=name, weights_dir=weights_dir, mask_row=mask_row, force=force, origin=url)
    except WeightsError:
        fetched.unlink(missing_ok=True)
        raise
    fetched.unlink()
    with suppress(OSError):
        downloads.rmdir()
    return result


def fetch(
    download: Download,
    folder: Path,
    *,
    urls: Sequence[str] = (),
    on_bytes: OnBytes | None = None,
    report: Report | None = None,
    patience: Patience | None = None,
) -> tuple[Path, str | None]:
    """Fetch a file into a folder. What an interrupted call leaves (``NAME.part``) is continued by the next.

    Returns:
        the complete file and the address that it came from, None if it lay there already.

    Raises:
        WeightsError: when no mirror gives it; each one's reason is told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = PartFile(folder / f"{download.file_name}.part", download)
    target = folder / download.file_name
    if target.exists():
        with suppress(MirrorFailed):
            PartFile(target, download).check()
            return target, None
    free = shutil.disk_usage(folder).free
    if download.size is not None and free < download.size - part.size:
        raise RnafmError(f"{folder}: {download.size - part.size:,} bytes are needed, {free:,} are free")
    reasons = []
    for url in [*urls, *download.urls]:
        try:
            _from_mirror(url, part, patience or Patience(), on_bytes or _silent, report or _silent)
            part.check()
        except MirrorFailed as failure:
            reasons.append(f"{urlsplit(url).hostname}: {failure}")
            if report is not None:
                report(f"{url}: {failure}")
            continue
        os.replace(part.path, target)
        part.forget()
        return target, url
    raise WeightsError(f"{download.file_name} could not be fetched ({'; '.join(reasons)})")


def _from_mirror(url: str, part: PartFile, patience: Patience, on_bytes: OnBytes, report: Report) -> None:
    """Get all bytes that the mirror has, in as many transfers as it takes."""
    fruitless, most = 0, part.resumable_from(url)[0]
    while True:
        try:
            transfer(url, part, patience.timeout, on_bytes)
            return
        except Lost as lost:
            if part.size > most:
                fruitless, most = 0, part.size
            fruitless += 1
            if fruitless >= patience.attempts:
                raise MirrorFailed(f"{lost}, {fruitless} times in a row") from lost
            report(f"{url}: {lost}; trying again")
            time.sleep(min(patience.backoff * 2 ** (fruitless - 1), 10.0))


def _silent(*_arguments: object) -> None:
    pass


def _by_hand(name: str, download: Download) -> str:
    size = f" ({download.size:,} bytes)" if download.size else ""
    places = "\n".join(f"  {url}" for url in download.urls)
    return (
        f"where there is a network, fetch {download.file_name}{size} from one of\n{places}\n"
        f"copy it here and run: rnafm weights import {download.file_name} --name {name}"
    )
