"""A headless Chromium, driven over its DevTools protocol: pages from disk, with no network at all."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed, in which the report is laid out"
)
DESKTOP, PHONE = (1280, 900), (390, 844)


class Page:
    """A page in the browser."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = 0
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.requests: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; what the page says meanwhile is noted."""
        self._calls += 1
        self._connection.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            said: dict[str, Any] = json.loads(self._connection.recv(timeout=60))
            if said.get("id") == self._calls:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result
            self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        held = said.get("params", {})
        match said.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(held["exceptionDetails"])[:500])
            case "Log.entryAdded" if held["entry"]["level"] == "error":
                self.problems.append(held["entry"]["text"])
            case "Runtime.consoleAPICalled":
                self.problems.append(json.dumps(held["args"])[:500])
            case "Network.requestWillBeSent":
                self.requests.append(held["request"]["url"])

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; of a promise, what it becomes."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, file: Path, *, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
        """Open a file and wait until it has checked itself."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=file.as_uri())
        self.wait("document.body?.dataset.checked !== undefined")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Wait until `expression` is true."""
        until = time.monotonic() + seconds
        while not self.ask(expression):
            assert time.monotonic() < until, expression
            time.sleep(0.05)

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """Write a picture of the page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        """Print the page on A4."""
        return base64.b64decode(self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start a browser with one page; it resolves no name, so it reaches nothing but files."""
    command = [
        CHROMIUM or "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--no-first-run", f"--user-data-dir={profile}", "--remote-debugging-port=0",
        "--host-resolver-rules=MAP * ~NOTFOUND", "about:blank",
    ]  # fmt: skip
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file, until = profile / "DevToolsActivePort", time.monotonic() + 30
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert time.monotonic() < until, "Chromium does not start"
            time.sleep(0.05)
        port = int(port_file.read_text().split("\n")[0])
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as listed:
            target = next(each for each in json.load(listed) if each["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=2**28) as connection:
            yield Page(connection)
    finally:
        started.terminate()
        started.wait(timeout=30)
