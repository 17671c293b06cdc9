"""
An EVM node of one's own: a process of anvil on a free port of 127.0.0.1, and JSON-RPC to it.
"""

import os
import subprocess
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from og_integrations.devnet.server import listen
from og_integrations.errors import ConfigurationError

_READY_SECONDS = 20.0
_MINED_SECONDS = 10.0


class NodeRefusedError(Exception):
    """The node answered with an error; `data` is what a reverted call returned (empty if none)."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


class Anvil:
    """
    A running node; `url` is where it listens. Ended by `stop`, at the latest with this process.

    Unlocks every account: it signs for whomever a transaction is from.
    """

    def __init__(self, binary: Path, *, chain_id: int, port: int = 0) -> None:
        (socket,) = listen(port)
        port = socket.getsockname()[1]
        socket.close()
        self.url = f"http://127.0.0.1:{port}"
        # Not a pipe: anvil blocks when nobody reads what it prints.
        self._process = subprocess.Popen(  # noqa: S603 - found by devnet.npm
            [binary, "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id), "--silent",
             "--auto-impersonate"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            # Ctrl-C in a terminal is for the devnet, which settles what is open before it ends the node.
            start_new_session=True,
        )  # fmt: skip
        self._http = httpx.Client(trust_env=False, timeout=_MINED_SECONDS)
        self._finalizer = weakref.finalize(self, _end, self._process, self._http)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process; nothing happens the second time."""
        self._finalizer()

    def rpc(self, method: str, *params: object) -> Any:
        """Return the result of one JSON-RPC call. Raises `NodeRefusedError`."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        reply = self._http.post(self.url, json=body).json()
        if error := reply.get("error"):
            data = error.get("data")
            raw = data.removeprefix("0x") if isinstance(data, str) else ""
            raise NodeRefusedError(str(error.get("message")), bytes.fromhex(raw))
        return reply["result"]

    def read(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        """Return what a view answers; of any other function, what it would. Raises `NodeRefusedError`."""
        call = {"to": to, "data": "0x" + data.hex()} | ({"from": sender} if sender else {})
        return bytes.fromhex(self.rpc("eth_call", call, "latest")[2:])

    def transact(self, sender: str, to: str, data: bytes) -> dict[str, Any]:
        """Send a transaction from `sender`, paid for by nobody, and return its receipt once it is mined."""
        self.rpc("anvil_setBalance", sender, hex(10**20))
        transaction = {"from": sender, "to": to, "data": "0x" + data.hex()}
        tx_hash = self.rpc("eth_sendTransaction", transaction)
        until = time.monotonic() + _MINED_SECONDS
        while time.monotonic() < until:
            # Mining is asynchronous: a receipt may be null right after sending.
            receipt: dict[str, Any] | None = self.rpc("eth_getTransactionReceipt", tx_hash)
            if receipt is not None:
                return receipt
            time.sleep(0.002)
        raise NodeRefusedError(f"{tx_hash} was not mined within {_MINED_SECONDS:.0f} s", b"")

    def put_code(self, places: Sequence[tuple[str, bytes]]) -> None:
        """Put runtime bytecode at addresses, as if it had been deployed there."""
        for address, code in places:
            self.rpc("anvil_setCode", address, "0x" + code.hex())

    def _wait(self) -> None:
        until = time.monotonic() + _READY_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.rpc("eth_chainId")
                return
            except httpx.TransportError:
                time.sleep(0.01)
        raise ConfigurationError(f"anvil did not start on {self.url} (exit code {self._process.poll()}).")


def _end(process: "subprocess.Popen[bytes]", http: httpx.Client) -> None:
    http.close()
    process.kill()
    process.wait()
