"""Headless Chromium that a test drives by keyboard, over the pipe of its debugging protocol."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe"),
)
WAIT_S = 900
CODES = {"Enter": 13, "Backspace": 8, "ArrowLeft": 37, "ArrowRight": 39, "Delete": 46}
CODES |= {",": 188, ".": 190, "Home": 36, "End": 35, "Tab": 9}
MODIFIERS = {"Alt": 1, "Control": 2, "Shift": 8}


class Tab:
    """One open page.

    Args:
        send: a method of the protocol with its parameters, in this page's session.
    """

    def __init__(self, send: Callable[..., dict[str, Any]]) -> None:
        self._send = send

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON knows it."""
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, as a person does; ``Alt+Shift+ArrowLeft`` holds two."""
        for word in keys:
            *held, key = word.split("+")
            more = {"text": key} if len(key) == 1 and not held else {}
            code = CODES.get(key) or ord(key.upper())
            modifiers = sum(MODIFIERS[one] for one in held)
            common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self._send("Input.dispatchKeyEvent", type="keyDown", **common, **more)
            self._send("Input.dispatchKeyEvent", type="keyUp", **common)

    def drag(self, *points: tuple[float, float]) -> None:
        """Press the mouse at the first point, move it over the others, and let it go."""
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        for place, (x, y) in enumerate(points):
            kind = "mouseMoved" if place else "mousePressed"
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)
        x, y = points[-1]
        self._send("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left")

    def load(self, page: Path) -> None:
        """Open a local page and wait until it is drawn."""
        self._send("Page.navigate", url=page.as_uri())
        until(lambda: self.evaluate("document.readyState") == "complete")


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextmanager
def open_tab(chromium: str, folder: Path) -> Iterator[Tab]:
    """A tab of a fresh profile; what it downloads lands in ``folder``."""
    from_us, to_us = os.pipe(), os.pipe()

    def connect() -> None:  # Chromium reads descriptor 3 and writes descriptor 4
        read, write = os.dup(from_us[0]), os.dup(to_us[1])
        os.dup2(read, 3)
        os.dup2(write, 4)

    words = [chromium, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(words, preexec_fn=connect, close_fds=False, **quiet)
    os.close(from_us[0])
    os.close(to_us[1])
    try:
        call = _caller(from_us[1], to_us[0])
        call("Browser.setDownloadBehavior", None, behavior="allow", downloadPath=str(folder))
        target = call("Target.createTarget", None, url="about:blank")["targetId"]
        session = call("Target.attachToTarget", None, targetId=target, flatten=True)["sessionId"]
        yield Tab(lambda method, **more: call(method, session, **more))
    finally:
        process.terminate()
        process.wait(WAIT_S)
        os.close(from_us[1])
        os.close(to_us[0])


def _caller(write: int, read: int) -> Callable[..., dict[str, Any]]:
    """Send a method and wait for its answer; events in between are passed over."""
    pending, count = b"", 0

    def call(method: str, session: str | None, **parameters: Any) -> dict[str, Any]:
        nonlocal pending, count
        count += 1
        body: dict[str, Any] = {"id": count, "method": method, "params": parameters}
        os.write(write, json.dumps(body | ({"sessionId": session} if session else {})).encode())
        os.write(write, b"\0")
        while True:
            while b"\0" not in pending:
                ready, _, _ = select.select([read], [], [], WAIT_S)
                assert ready, f"no answer to {method}"
                chunk = os.read(read, 1 << 16)
                assert chunk, f"the browser ended before it answered {method}"
                pending += chunk
            message, _, pending = pending.partition(b"\0")
            answer = json.loads(message)
            if answer.get("id") == count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    return call
