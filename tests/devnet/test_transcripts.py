"""
Every exchange of the captured transcripts (wire/09 to 20), replayed: the devnet answers as the gateway did.

Status line, headers, chunks, body and offer are compared. What differs from run to run (keys, ids, times,
signatures, whom to pay) and what was the rig's own is blanked out.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from og_integrations.devnet import Devnet, Script
from og_integrations.devnet.chain._chain import UNLIMITED
from og_integrations.networks import OPG
from tests.devnet.bare_caller import CHAT, COMPLETION, raw_caller
from tests.devnet.transcripts import Captured, Replayer, Reply, captured

EXCHANGES = list(captured())
NO_KEY = "09_errors-17"
"""The captured gateway had no key of Google's; the devnet has no provider at all."""
NO_DOCUMENT = "18_misc_endpoints-5"
"""The captured gateway ran outside of an enclave and had no attestation document; the devnet plays one."""
OTHER_ROUTE = "14_expired_exhausted_session-2"
"""Shows the session of chat at the other endpoint."""
REPLAYED = [item for item in EXCHANGES if item.id not in (NO_KEY, NO_DOCUMENT)]
VALUES = [
    (r'"(id|tee_id|tee_signature|public_key|wallet_address|timestamp)": ?"[^"]*"', r'"\1":"·"'),
    (r'"(data_settlement_transaction_hash|data_settlement_blob_id|settlement_job_id)": ?"[^"]*"', r'"\1":"·"'),
    (r'"(created|tee_timestamp|last_success)": ?[0-9.]+', r'"\1":·'),
    (r'"settlement_queue_nonce": ?"\d+"', '"settlement_queue_nonce":"·"'),
    (r'"error\\":\\"(rig|devnet): ', r'"error\":\"·: '),
]
HEADERS = {"Date", "X-Upto-Session", "PAYMENT-REQUIRED", "X-TEE-Signature", "X-TEE-ID", "X-TEE-Timestamp"}
HEADERS |= {f"X-Settlement-{name}" for name in ("Job-ID", "Queue-Nonce", "Signer-Address", "Tx-Hash", "Walrus-Blob-ID")}
CALL_IDS = "tool_calls"
"""Random, and part of what is hashed."""


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    """Use the script that the captures were made with."""

    def clock() -> float:
        # As many digits as the captures have, whatever the time: /health shows them all.
        return int(time.time()) + 0.790318

    model = Script(plain="Hello from the fake upstream.")
    with Devnet(model=model, tls=False, clock=clock) as net, raw_caller(net) as raw:
        yield Replayer(raw, {path: raw.session(path) for path in (CHAT, COMPLETION)})


@contextmanager
def circumstances(net: Devnet, seen: Captured) -> Iterator[None]:
    """Make the wallet and the facilitator what they were then."""
    poor = {"19_no_permit2_allowance": (1_000 * OPG, 0), "20_verify_rejected": (0, UNLIMITED)}
    opg, allowance = poor.get(seen.name, (1_000 * OPG, UNLIMITED))
    net._call(lambda: net.chain.fund(net.wallet, opg=opg, allowance=allowance, native=1))
    if "facilitator fails" in seen.body:
        net.inject("settlement_failure", times=1)
    yield
    net.clear_faults()
    net._call(lambda: net.chain.fund(net.wallet, opg=1_000 * OPG, allowance=UNLIMITED, native=1))


@pytest.mark.parametrize("seen", REPLAYED, ids=lambda seen: seen.id)
def test_exchange_is_answered_alike(replayer: Replayer, seen: Captured) -> None:
    with circumstances(replayer.raw.net, seen):
        reply = replayer.answer(seen, replayer.spare[CHAT] if seen.id == OTHER_ROUTE else None)
    hides_output = CALL_IDS in "".join(seen.reply.body)
    assert comparable(reply, hides_output=hides_output) == comparable(seen.reply, hides_output=hides_output)


def comparable(reply: Reply, *, hides_output: bool) -> dict[str, Any]:
    """Blank out what must differ."""
    hidden = HEADERS | ({"X-TEE-Output-Hash"} if hides_output else set())
    lines = [name + (": ·" if name in hidden else f": {value}") for name, _, value in map(_parted, reply.headers)]
    values = [*VALUES, *[(r'"tee_output_hash": ?"[^"]*"', '"tee_output_hash":"·"')] * hides_output]
    body = list(reply.body)
    for pattern, blank in values:
        body = [re.sub(pattern, blank, text) for text in body]
    return {"status": reply.status, "headers": sorted(lines), "body": body, "offer": _blank_offer(reply.offer)}


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(": ")


def _blank_offer(offer: Any) -> Any:
    if offer is None:
        return None
    url = re.sub(r":\d+/", ":·/", offer["resource"]["url"])
    ways = [way | {"payTo": "·", "extra": way["extra"] | {"facilitatorAddress": "·"}} for way in offer["accepts"]]
    # As a list, since the order of the members is part of what is sent.
    return list((offer | {"resource": offer["resource"] | {"url": url}, "accepts": ways}).items())


def test_every_transcript_is_read() -> None:
    """A block that is not understood would be passed over."""
    names = {seen.name[:2] for seen in EXCHANGES}
    assert (sorted(names), len(EXCHANGES)) == (["09", "10", "11", "12", "13", "14", "15", "17", "18", "19", "20"], 69)
    assert sum(seen.payment is not None for seen in EXCHANGES) >= 7
    assert sum(seen.reply.offer is not None for seen in EXCHANGES) >= 10
