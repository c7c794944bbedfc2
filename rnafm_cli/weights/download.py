"""Fetching published weights: mirrors in turn, broken transfers resumed, everything checked before it is used.

Libraries do part of this: pooch begins a broken transfer anew, huggingface_hub knows no other mirror than its own.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rnafm_cli import __version__
from rnafm_cli.errors import RnafmError, WeightsError
from rnafm_cli.weights.cards import file_sha256
from rnafm_cli.weights.foreign import check_checkpoint
from rnafm_cli.weights.registry import Download

OnBytes = Callable[[int, int | None], None]
"""Told (bytes so far, bytes in all if known)."""

ATTEMPTS = 4
"""Tries in a row that bring no new bytes before the next mirror is taken."""
PAUSE = 0.5
"""Seconds before the second try, doubled for each further one."""
TIMEOUT = 30.0
"""Seconds without any data before a connection counts as lost."""
_CHUNK = 1 << 20
_WORTH_A_RETRY = {408, 425, 429, 500, 502, 503, 504}


class _MirrorFailed(Exception):
    """This mirror cannot give the file."""


class _Lost(Exception):
    """The transfer broke; another try may bring more."""


def fetch(
    download: Download,
    folder: Path,
    *,
    on_bytes: OnBytes = lambda done, total: None,
    report: Callable[[str], None] = lambda message: None,
) -> tuple[Path, str | None]:
    """Fetch a file into a folder. What an interrupted call leaves (``NAME.part``) is continued by the next.

    Args:
        on_bytes: told about progress.
        report: told about every mirror that fails and every lost connection.

    Returns:
        the complete file and the address that it came from, None if it lay there already.

    Raises:
        WeightsError: when no mirror gives it; each one's reason is told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / download.file_name, folder / f"{download.file_name}.part"
    if target.exists():
        with suppress(_MirrorFailed):
            _check(target, download)
            return target, None
    free, needed = shutil.disk_usage(folder).free, (download.size or 0) - _size(part)
    if free < needed:
        raise RnafmError(f"{folder}: {needed:,} bytes are needed, {free:,} are free")
    reasons: list[str] = []
    for url in download.urls:
        if reasons and not download.sha256:
            # Another mirror's bytes may be another version: a known hash will tell, nothing else would.
            part.unlink(missing_ok=True)
        try:
            _from_mirror(url, part, download, on_bytes, report)
            _check(part, download)
        except _MirrorFailed as failure:
            reasons.append(f"{urlsplit(url).hostname}: {failure}")
            report(f"{url}: {failure}")
            continue
        os.replace(part, target)
        return target, url
    raise WeightsError(f"{download.file_name} could not be fetched ({'; '.join(reasons)})")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _check(path: Path, wanted: Download) -> None:
    """Compare with what is published; a file that differs is of no use and goes."""
    size, problem = _size(path), ""
    if wanted.size not in (None, size):
        problem = f"{size} bytes instead of {wanted.size}"
    elif wanted.sha256:
        if (found := file_sha256(path)) != wanted.sha256:
            problem = f"a file with sha256 {found[:12]}... instead of {wanted.sha256[:12]}..."
    else:
        try:
            check_checkpoint(path)
        except WeightsError as error:
            problem = f"a file that {error.message.removeprefix(f'{path}: ')}"
    if problem:
        path.unlink()
        raise _MirrorFailed(f"gave {problem}")


def _from_mirror(url: str, part: Path, download: Download, on_bytes: OnBytes, report: Callable[[str], None]) -> None:
    """Get all bytes that the mirror has, in as many transfers as it takes."""
    fruitless, most = 0, _size(part)
    while True:
        try:
            return _transfer(url, part, download, on_bytes)
        except _Lost as lost:
            if _size(part) > most:
                fruitless, most = 0, _size(part)
            fruitless += 1
            if fruitless >= ATTEMPTS:
                raise _MirrorFailed(f"{lost}, {fruitless} times in a row") from lost
            report(f"{url}: {lost}; trying again")
            time.sleep(min(PAUSE * 2 ** (fruitless - 1), 10.0))


def _transfer(url: str, part: Path, download: Download, on_bytes: OnBytes) -> None:
    """One request: the bytes that are missing, or all if the server does not do parts."""
    offset = _size(part)
    if offset and offset == download.size:
        return
    headers = {"User-Agent": f"rnafm/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    response = _opened(urllib.request.Request(url, headers=headers), part)
    if response is None:
        return
    with response:
        continues = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        if response.status == 206 and not continues:
            part.unlink()
            raise _Lost("the server sent another part than asked for")
        done = offset if continues else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdigit() else None
        if download.size is not None and total not in (None, download.size):
            raise _MirrorFailed(f"offers {total} bytes instead of {download.size}")
        with part.open("ab" if continues else "wb") as handle:
            on_bytes(done, total)
            while chunk := _read(response):
                handle.write(chunk)
                done += len(chunk)
                on_bytes(done, total)
    if total is not None and done < total:
        raise _Lost(f"the connection closed after {done} of {total} bytes")


def _opened(request: urllib.request.Request, part: Path) -> Any:
    """The server's answer; None if it has no bytes beyond those that are here."""
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            if error.headers.get("Content-Range") == f"bytes */{_size(part)}":
                return None
            # What is here does not belong to what is there.
            part.unlink()
        kind = _Lost if error.code in {416, *_WORTH_A_RETRY} else _MirrorFailed
        raise kind(f"HTTP {error.code} {error.reason}".rstrip()) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, socket.gaierror):
            raise _MirrorFailed("no network, or no such host") from error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise _MirrorFailed(f"its certificate is not trusted ({reason.verify_message})") from error
        raise _Lost(f"no connection ({reason or type(error).__name__})") from error
    if response.headers.get_content_type() in {"text/html", "application/json"}:
        response.close()
        raise _MirrorFailed("answers with a web page instead of the file")
    return response


def _read(response: Any) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Lost(f"the connection broke ({type(error).__name__})") from error
