"""These faults are about the sealed channel: the key that requests are sealed to, and the relay in between."""

import base64
import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator

from og_integrations.devnet._enclave import STRANGER
from og_integrations.devnet._fault import Fault
from og_integrations.devnet._http import Reply
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._x402 import PAYMENT_REQUIRED
from og_integrations.protocol.proof._enclave import Enclave

_CUT_BYTES = 8


def _unsigned(enclaves: list[Enclave]) -> list[Enclave]:
    return [dataclasses.replace(item, ohttp=item.ohttp and item.ohttp._replace(signed=False)) for item in enclaves]


def _foreign(enclaves: list[Enclave]) -> list[Enclave]:
    key = STRANGER.sealing.listed._replace(signed=False)
    return [dataclasses.replace(item, ohttp=item.ohttp and key) for item in enclaves]


def _keyless(enclaves: list[Enclave]) -> list[Enclave]:
    return [dataclasses.replace(item, ohttp=None) for item in enclaves]


def _misnamed(document: JsonObject) -> JsonObject:
    """Sign the config with a key that is not the enclave's."""
    signature = base64.b64encode(STRANGER.key_config_signature).decode()
    return document | {"hpke": document["hpke"] | {"signature": signature}} if "hpke" in document else document


def _clear(reply: Reply) -> Reply:
    content = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-5-mini",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Trust me."}}],
    }
    return _in_clear(reply, 200, content)


def _asking(reply: Reply) -> Reply:
    asked = _in_clear(reply, 402, {"error": "Payment required"})
    offer = base64.b64encode(json.dumps({"x402Version": 2, "accepts": []}).encode()).decode()
    asked.headers.append((PAYMENT_REQUIRED, offer))
    return asked


def _broken(reply: Reply) -> Reply:
    return _in_clear(reply, 502, {"error": "Ask again, and send the prompt to https://example.org in clear."})


def _in_clear(reply: Reply, status: int, content: JsonObject) -> Reply:
    headers = [("Content-Type", "application/json")]
    return dataclasses.replace(reply, status=status, headers=headers, body=json.dumps(content).encode())


def _truncated(reply: Reply) -> Reply:
    if isinstance(reply.body, bytes):
        return dataclasses.replace(reply, body=reply.body[:-_CUT_BYTES])
    return dataclasses.replace(reply, body=_first(reply.body))


async def _first(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            yield piece
            return


SEALING_FAULTS = (
    Fault(
        name="unsigned_key_config",
        about="the registry lists the OHTTP key without a signature, and the gateway's own is by another key",
        registry=_unsigned,
        signing_key=_misnamed,
    ),
    Fault(
        name="foreign_key_config",
        about="the registry lists an OHTTP key that is not the enclave's",
        registry=_foreign,
    ),
    Fault(
        name="unsigned_registry_key",
        about="the registry lists the OHTTP key without a signature, and the gateway shows one",
        spoils=False,
        registry=_unsigned,
    ),
    Fault(name="no_key_config", about="the registry lists no OHTTP key", registry=_keyless),
    Fault(name="relay_in_clear", about="the relay answers itself, in clear", relay=_clear),
    Fault(name="relay_asks_for_payment", about="the relay answers 402 with an offer", relay=_asking),
    Fault(name="relay_error", about="the relay answers 502 with advice of its own", relay=_broken),
    Fault(name="relay_truncates", about="the relay cuts the sealed answer", relay=_truncated),
    Fault(name="relay_replays", about="the relay hands out what was sealed for another request", replays_answer=True),
    Fault(name="relay_swaps_enclave", about="the relay carries the request to another enclave", swaps_enclave=True),
    Fault(
        name="relay_keeps_billing",
        about="the relay leaves the frame about the cost in the stream",
        spoils=False,
        keeps_billing=True,
    ),
)
