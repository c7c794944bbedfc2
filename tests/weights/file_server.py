"""A local HTTP server that misbehaves as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler", int | None], None]
"""Answers a request; told the first byte asked for, None without a Range header."""


class FileServer(ThreadingHTTPServer):
    """Serves one content; keeps the first byte asked for of every request."""

    daemon_threads = True

    def __init__(self, content: bytes, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.behaviour = behaviour
        self.asked: list[int | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/download?filename=weights.pth"


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else None
        self.server.asked.append(start)
        self.server.behaviour(self, start)

    def refuse(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give(
        self,
        content: bytes,
        start: int | None,
        *,
        stop: int | None = None,
        kind: str = "application/octet-stream",
    ) -> None:
        """Announce everything from ``start`` on, send it only up to byte ``stop``."""
        first = start or 0
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) - first))
        if start is not None:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[first:stop])

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def running(content: bytes, behaviour: Behaviour) -> Iterator[FileServer]:
    """A server for the time of a ``with`` block."""
    server = FileServer(content, behaviour)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
