"""The processes of a run: one replay server, and one worker per contestant."""

import asyncio
import json
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from benchmarks.question import Place, request

POOL = 4_200
"""Signatures made ahead: more than our client remembers, so that it never sees one twice."""
STREAMS = 300


class ReplayServer:
    """`benchmarks.replay_server`, while the `async with` lasts."""

    plain = ""
    _fresh_until = 0.0

    def __init__(self, *others: dict[str, object]) -> None:
        # What else is asked, by a commit whose benchmarks asked another model.
        self._asked = [request(), *[other for other in others if other != request()]]

    async def __aenter__(self) -> Self:
        self._process = await _started(sys.executable, "benchmarks.replay_server")
        self._where: dict[str, str] = json.loads(await _line(self._process))
        self.plain = self._where["plain"]
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await _ended(self._process)

    def place(self, transport: str) -> Place:
        """Return where contestants go to for `transport` "http" or "tls"."""
        gateway = self._where["secure" if transport == "tls" else "plain"]
        rpc, registry, key = (self._where[name] for name in ("rpc", "registry", "private_key"))
        return Place(gateway=gateway, rpc=rpc, registry=registry, private_key=key)

    async def prepare(self) -> None:
        """Have answers signed, unless that was done a moment ago: they stay fresh for 300 s."""
        if time.monotonic() < self._fresh_until:
            return
        self._fresh_until = time.monotonic() + 100
        await asyncio.to_thread(self._prepare, streamed=False, size=POOL)
        await asyncio.to_thread(self._prepare, streamed=True, size=STREAMS)

    async def delay(self, seconds: float) -> None:
        """Have each answer take `seconds` from now on."""
        await asyncio.to_thread(self._post, "/delay", str(seconds))

    def _prepare(self, *, streamed: bool, size: int) -> None:
        for asked in self._asked:
            self._post("/prepare", json.dumps({"request": asked, "streamed": streamed, "size": size}))

    def _post(self, path: str, body: str) -> None:
        address = urlsplit(self.plain)
        connection = HTTPConnection(str(address.hostname), address.port, timeout=120)
        connection.request("POST", path, body)
        connection.getresponse().read()
        connection.close()


class WorkerProcess:
    """One contestant's process, started by its first measurement."""

    def __init__(self, python: str, name: str, place: Place, plain: str, folder: Path | None = None) -> None:
        self._command = (python, "benchmarks.worker", name)
        self._folder = folder  # of an older checkout, whose code and whose worker are meant then
        self._environment = place.variables() | {"BENCH_PLAIN": plain}
        self._process: asyncio.subprocess.Process | None = None

    async def measure(self, what: str, times: int) -> dict[str, Any]:
        """Return the worker's answer; with `error` if the contestant cannot do it."""
        if self._process is None:
            self._process = await _started(*self._command, environment=self._environment, folder=self._folder)
        if self._process.stdin is None:
            return {"error": "not started"}
        self._process.stdin.write(json.dumps({"what": what, "times": times}).encode() + b"\n")
        await self._process.stdin.drain()
        try:
            answer: dict[str, Any] = json.loads(await asyncio.wait_for(_line(self._process), 300))
        except (TimeoutError, ValueError) as exc:
            return {"error": f"no answer ({type(exc).__name__})"}
        return answer

    async def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            await _ended(self._process)


async def _started(
    python: str,
    module: str,
    *arguments: str,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        python,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL if environment else None,
        env=environment,
        cwd=folder,
    )


async def _line(process: asyncio.subprocess.Process) -> bytes:
    return await process.stdout.readline() if process.stdout else b""


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 5)
    except TimeoutError:
        process.kill()
