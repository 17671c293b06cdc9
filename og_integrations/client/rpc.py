"""
Reading contracts and the gateway's key over plain JSON: one generator each, two drivers elsewhere.

A `Fetch` effect is answered with the body of the reply. web3 is not needed to read.
"""

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from og_integrations.client.transport import server_of
from og_integrations.errors import (
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    MalformedReplyError,
)
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.quoting import shown
from og_integrations.protocol.strict_json import parse_json_object

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetch:
    """POST `body` as JSON to `url`, or GET it if there is none; answer with the reply's body."""

    url: str
    body: bytes | None = None


Fetching = Generator[Fetch, bytes, T]


def eth_call(rpc_url: str, to: str, data: str) -> Fetching[bytes]:
    """Call a view of contract `to` with `data` (0x-hex); return the raw result. Raises `DiscoveryError`."""
    result = yield from rpc(rpc_url, "eth_call", [{"to": to, "data": data}, "latest"])
    return decode_hex(result, rpc_url)


def rpc(rpc_url: str, method: str, params: list[object]) -> Fetching[object]:
    """Make one JSON-RPC call and return its result. Raises `DiscoveryError`."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    reply = yield from _fetch_json(rpc_url, body)
    if "result" not in reply:
        error = reply.get("error")
        message = error.get("message") if isinstance(error, dict) else "no result"
        raise DiscoveryError(f"The node {server_of(rpc_url)} refused {method}: {shown(str(message), 200)}.")
    return reply["result"]


def fetch_signing_key(gateway_url: str) -> Fetching[JsonObject]:
    """Ask a gateway for its own signing key (development only). Raises `DiscoveryError`."""
    return (yield from _fetch_json(gateway_url.rstrip("/") + "/signing-key", None))


def decode_hex(value: object, rpc_url: str) -> bytes:
    """Read 0x-hex data from a JSON-RPC result. Raises `DiscoveryError`."""
    try:
        if not isinstance(value, str) or not value.startswith("0x"):
            raise ValueError(value)
        return bytes.fromhex(value[2:])
    except ValueError as exc:
        raise DiscoveryError(f"The node {server_of(rpc_url)} answered something else than 0x-hex data.") from exc


def _fetch_json(url: str, body: bytes | None) -> Fetching[JsonObject]:
    try:
        return parse_json_object((yield Fetch(url, body)), f"The answer of {server_of(url)}")
    except ConnectionFailedError as exc:
        # It says itself that nothing was sent.
        raise unanswered(f"{exc} Check the address and try again.") from exc
    except (ConnectionLostError, MalformedReplyError) as exc:
        raise unanswered(f"{exc} Nothing was sent to an enclave. Check the address and try again.") from exc


def unanswered(message: str) -> DiscoveryError:
    """Return the error of a node that could not be asked."""
    error = DiscoveryError(message)
    error.answered = False
    return error
