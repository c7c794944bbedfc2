"""Headless Chromium driven over its debugging pipe; no further package is needed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium_path() -> str | None:
    """The browser on this machine, if there is one."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a running browser."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, *, timeout: float = 120.0, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while True:
            found = self._receive(end)
            if found.get("id") == self._number:
                assert "error" not in found, found
                return dict(found["result"])
            self.events.append(found)

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            self._buffer += os.read(self._read, 1 << 16)
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))

    def open(self, path: Path) -> None:
        """Load a file and wait until its body says that it is ready."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.body && document.body.dataset.ready")

    def js(self, code: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, code: str, *, seconds: float = 60.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(f"!!({code})"):
            assert time.monotonic() < end, f"never true: {code}"
            time.sleep(0.05)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event: ``Moved``, ``Pressed``, ``Released`` or ``Wheel``, at a place of the window."""
        if kind in ("Pressed", "Released"):
            more = {"button": "left", "clickCount": 1, **more}
        held = {"buttons": 1} if more.pop("held", False) else {}
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **held, **more)

    def click(self, x: float, y: float) -> None:
        """Press and release."""
        self.mouse("Moved", x, y)
        self.mouse("Pressed", x, y)
        self.mouse("Released", x, y)

    def screenshot(self, path: Path) -> None:
        """Write what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def named(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all events of a kind so far."""
        return [event["params"] for event in self.events if event.get("method") == method]


@contextlib.contextmanager
def browser(folder: Path, *, width: int = 1300, height: int = 860) -> Iterator[Browser]:
    """A running browser with an empty profile in ``folder``."""
    command = [
        chromium_path() or "chromium",
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--hide-scrollbars",
        f"--window-size={width},{height}",
        f"--user-data-dir={folder / 'profile'}",
        "--remote-debugging-pipe",
    ]
    to_browser, ours_write = os.pipe()
    ours_read, from_browser = os.pipe()
    # The browser reads commands from descriptor 3 and answers on 4.
    high_in, high_out = os.dup2(to_browser, 203), os.dup2(from_browser, 204)
    os.close(to_browser)
    os.close(from_browser)
    shell = ["/bin/sh", "-c", 'exec "$@" 3<&203 4>&204', "sh", *command] if os.name == "posix" else command
    # sh knows descriptors of one digit only; bash knows all.
    shell[0] = shutil.which("bash") or shell[0]
    process = subprocess.Popen(
        shell,
        pass_fds=(high_in, high_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    os.close(high_in)
    os.close(high_out)
    try:
        yield Browser(ours_read, ours_write)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
        os.close(ours_read)
        os.close(ours_write)
