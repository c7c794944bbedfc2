"""HTML pages that need nothing else: each is one file that opens from disk and acts by its own script alone."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnafm_cli.io.streams import open_output


@contextmanager
def html_page(
    path: str | Path, template: Path, *, title: str, caption: str = "", force: bool = True
) -> Iterator[Callable[[str], object]]:
    """A page for the time of a ``with`` block, and the function that writes text into its data element.

    Args:
        template: the page's ``.html``, with a style and a script of the same name beside it.
        caption: a line below the title.
        force: replace a file that exists.

    Raises:
        UsageError: for a folder, or a file that exists and ``force`` is off.
    """
    texts = [template.with_suffix(f".{kind}").read_text(encoding="utf-8").strip() for kind in ("html", "css", "js")]
    before, after = texts[0].split("@DATA@")
    parts = {
        "@TITLE@": html.escape(title),
        "@CAPTION@": html.escape(caption),
        # Only these two texts may act: whatever an id or a header holds stays text.
        "@STYLE_HASH@": _hash_of(texts[1]),
        "@SCRIPT_HASH@": _hash_of(texts[2]),
        "@STYLE@": texts[1],
        "@SCRIPT@": texts[2],
    }
    for mark, text in parts.items():
        before, after = before.replace(mark, text), after.replace(mark, text)
    with open_output(path, force=force) as sink:
        sink.write(before)
        # "<" could end the script element from within an id.
        yield lambda text: sink.write(text.replace("<", "\\u003c"))
        sink.write(after + "\n")


def _hash_of(text: str) -> str:
    """The source expression of a Content Security Policy that lets an inline text through."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def json_text(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def packed(value: Any) -> str:
    """JSON compressed, as letters; the page unpacks it when it is needed."""
    return base64.b64encode(zlib.compress(json_text(value).encode(), 9)).decode()
