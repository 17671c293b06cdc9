"""
What strangers' bytes reach, as one table: where good bytes come from, and who reads them.

`make fuzz` runs a hundred thousand cases over each, `tests/protocol/test_hostile_bytes.py` a few hundred.
"""

import base64
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from og_integrations.client._call import Call, CallState, build_receipt, gateway_error
from og_integrations.client._call import Target as CallTarget
from og_integrations.client._directory import read_enclaves
from og_integrations.client._engine import Engine
from og_integrations.client._runner import drive
from og_integrations.client._settings import resolve_settings
from og_integrations.client.channels._channel import destination_of
from og_integrations.errors import OpenGradientError
from og_integrations.protocol._strict_json import parse_json_object
from og_integrations.protocol.chain._inference import (
    InferenceMode,
    decode_event,
    decode_node_result,
    decode_output,
    decode_run,
)
from og_integrations.protocol.chain._workflow import decode_history
from og_integrations.protocol.chat._answers import StreamAssembler, parse_completion
from og_integrations.protocol.chat._sse import SSEDecoder
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH
from og_integrations.protocol.payment._x402 import (
    PAYMENT_REQUIRED,
    SESSION,
    ReplyHead,
    parse_payment_required,
    parse_requirements,
    parse_session,
    parse_settlement,
)
from og_integrations.protocol.payment.schemes import authorize
from og_integrations.protocol.payment.schemes._batch_settlement import read_correction, read_terms
from og_integrations.protocol.proof._canonical import (
    RULES,
    nonce_place,
    not_hashed,
    request_hash,
    unsigned_members,
    with_nonce,
)
from og_integrations.protocol.proof._registry import decode_bool, decode_enclave, decode_enclaves, encode_enclaves
from og_integrations.protocol.proof._verification import verify_exchange
from og_integrations.protocol.sealing._ohttp import (
    ANSWER_TYPE,
    BILLING_MAGIC,
    STREAM_TYPE,
    Exchange,
    KeyConfig,
    check_signed_config,
    read_reply,
)
from og_integrations.verify import Verifier
from tests.fuzz import exchanges
from tests.fuzz.mutation import in_base64, in_document, mutated
from tests.protocol.batches import CASES as BATCHES
from tests.protocol.batches import find_damaged
from tests.protocol.captures import BATCH, CAPTURES, ENCLAVE, PAYMENTS, SIGNED, exchange
from tests.protocol.documents import SOUND, attest_damaged
from tests.protocol.flows import NOW, ROUTE, answer, paying, wallet
from tests.protocol.sealed_gateway import CONFIG, SIGNED_CONFIG, sealed, sealed_stream

OURS = (OpenGradientError,)
"""What may come out."""
Mutation = Callable[[bytes, random.Random], bytes]


LONGEST_MESSAGE = 1000
LONGEST_LIST = 2500
"""Characters of the one line that lists members: all that are known of a receipt take 700 of them."""


def check_message(message: str, longest: int = LONGEST_MESSAGE) -> None:
    """Check that an error is fit for a log: strangers do not fill it, and it can be written."""
    assert len(message) <= longest, message[:200]
    assert message.encode()


def only_ours(read: Callable[..., object], *arguments: Any) -> None:
    """Call `read`; an error of ours is fine, what else it raises passes."""
    try:
        read(*arguments)
    except OURS as exc:
        check_message(str(exc))


@dataclass(frozen=True, slots=True)
class Target:
    """`read` is given damaged `seeds`; it may return or raise one of `OURS` with a fit message."""

    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    mutation: Mutation = mutated

    def case(self, rng: random.Random) -> bytes:
        """Return the next input."""
        return self.mutation(rng.choice(self.seeds), rng)

    def survives(self, data: bytes) -> None:
        """Read `data`; what this raises is a finding."""
        only_ours(self.read, data)


def _stream(data: bytes) -> None:
    decoder, assembler = SSEDecoder(), StreamAssembler()
    half = len(data) // 2
    for piece in (data[:half], data[half:], b"\n"):
        for event in decoder.feed(piece):
            assembler.feed(event)
    verify_exchange(exchange(completion=assembler.finish()))


def _body(data: bytes) -> None:
    for path in (COMPLETION_PATH, CHAT_PATH):
        only_ours(lambda path=path: verify_exchange(exchange(path=path, completion=parse_completion(path, data))))


def _error_body(data: bytes) -> None:
    check_message(str(gateway_error(CallState(call=_call()), 400, data)))


@cache
def _call() -> Call:
    engine = Engine(network="devnet", private_key="0x" + "11" * 32)
    return engine.prepare_chat("openai/gpt-5.4-mini", [{"role": "user", "content": "What was asked"}])


def _request(data: bytes) -> None:
    request = parse_json_object(data, "The request")
    for path in (CHAT_PATH, COMPLETION_PATH):
        for rule in RULES:
            only_ours(request_hash, path, request, rule)
            only_ours(unsigned_members, path, request, rule)
            only_ours(not_hashed, path, request, rule)
        only_ours(with_nonce, path, request, "ab" * 16)
        nonce_place(path, request, "ab" * 16)


def _offer(data: bytes) -> None:
    offer = parse_payment_required(ReplyHead(402, [(PAYMENT_REQUIRED, data.decode("latin-1"))]))
    for way in offer.accepts if offer else ():
        authorization = authorize(parse_requirements(way), payer=ROUTE.payer, now=NOW, nonce=1)
        authorization.digest()
        json.dumps(authorization.payload("0x"))


def _channel_offer(data: bytes) -> None:
    offer = parse_json_object(data, "The offer")
    only_ours(lambda: read_terms(parse_requirements(offer)))
    extra: Any = offer.get("extra")
    step = BATCH["recoveries"][7]["steps"][0]
    read_correction(
        extra if isinstance(extra, dict) else {},
        config=step["channelConfig"],
        chain_id=8453,
        signer=step["channelConfig"]["payerAuthorizer"],
        highest_signed=None,
        claimed_on_chain=0,
    )


def _paid_headers(data: bytes) -> None:
    text = data.decode("latin-1")
    head = ReplyHead(200, [("PAYMENT-RESPONSE", text), ("x-processing-hash", text), (SESSION, text)])
    for read in (parse_settlement, parse_session):
        only_ours(read, head)


def _key_config(data: bytes) -> None:
    only_ours(KeyConfig.parse, data)
    check_signed_config(parse_json_object(data, "The key config"), ENCLAVE.public_key)


def _sealed(data: bytes) -> None:
    for stream, kind in ((False, ANSWER_TYPE), (True, STREAM_TYPE), (True, ANSWER_TYPE)):
        reply = read_reply(SEALED, stream=stream, status=200, content_type=kind, body=data)
        check_message(str(reply.error))
        assert reply.outcome == "refused" or reply.plaintext in ANSWERS


def _sealed_plaintext(data: bytes) -> None:
    reply = read_reply(SEALED, stream=False, status=200, content_type=ANSWER_TYPE, body=sealed(SEALED.wire, data))
    check_message(str(reply.error))


def _registry(data: bytes) -> None:
    for decode in (decode_bool, decode_enclave, decode_enclaves):
        only_ours(decode, data)


def _node(data: bytes) -> None:
    """A node's, or a gateway's, own JSON about who the enclaves are."""
    for where in ({"network": "devnet"}, {"gateway_url": "http://127.0.0.1:1"}):
        reading = read_enclaves(resolve_settings(**where, environment={}))  # type: ignore[arg-type]
        only_ours(drive, reading, lambda effect: data)


def _onchain(data: bytes) -> None:
    """What contracts write, and what the node's API says of deferred results."""
    for decode in (decode_output, decode_event, decode_history, decode_run):
        only_ours(decode, data)
    if data.startswith(b"{"):
        body = {"inference_results": [base64.b64encode(data).decode()]}
        for mode in InferenceMode:
            only_ours(decode_node_result, mode, body)


def _onchain_seeds() -> list[bytes]:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "onchain" / "tensors.json").read_text())
    seeds = [bytes.fromhex(case["run_calldata"][2:]) for case in vectors["encode_input"][:10]]
    for case in vectors["decode_output"]:
        events = {"inference_result_event", "model_inference_event"} & case.keys()
        seeds += [bytes.fromhex(case[event]["data"][2:]) for event in sorted(events)]
    seeds += [bytes.fromhex(case["returndata"][2:]) for case in vectors["workflow_history"]]
    return seeds + [base64.b64decode(case["response"]["inference_results"][0]) for case in vectors["node_result"]]


def _saved(data: bytes) -> None:
    for check in Verifier.unsafe_file_key().verify(data).checks:
        check_message(check.detail, LONGEST_LIST if check.id == "not-covered" else LONGEST_MESSAGE)


def _pem() -> str:
    key = load_der_public_key(ENCLAVE.public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _saved_exchanges() -> list[bytes]:
    pem, saved = _pem(), []
    for capture in SIGNED:
        members: dict[str, Any] = {
            "path": capture.path,
            "request": capture.wire.decode(),
            "content_type": capture.content_type,
            "response": capture.body.decode(),
            "tee_id": ENCLAVE.tee_id,
            "public_key_pem": pem,
        }
        saved.append(json.dumps(members).encode())
        saved.append(json.dumps({"receipt": _receipt(capture.name), "exchange": members}).encode())
    return saved


def _receipt(name: str) -> dict[str, Any]:
    paid = paying(wallet()).reply(answer()).paid
    assert paid is not None
    verified = verify_exchange(exchange(name))
    call = replace(_call(), model=f"openai/{verified.exchange.completion.model}")
    destination = destination_of(ENCLAVE)
    target = CallTarget(
        build="",
        enclave=ENCLAVE,
        route=ROUTE,
        url=ENCLAVE.endpoint,
        destination=destination,
        whom="the gateway",
        channel=destination.channel,
    )
    state = CallState(call=call, target=target, grant=paid.grant, head=paid.head)
    return build_receipt(state, verified=verified).to_json()


def _offers() -> list[bytes]:
    offers = [{"x402Version": 2, "error": "", "accepts": [vector["requirements"]]} for vector in PAYMENTS]
    return [json.dumps(offer).encode() for offer in offers]


SEALED = Exchange(CONFIG, b'{"model":"m"}', bytes(range(32)))
_EVENTS = [b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"]
_ENVELOPE = b'{"status": 413, "body": {"error": "too large"}}'
ANSWERS = (b"".join(_EVENTS), b'{"id":"x"}', b'{"error": "too large"}')
"""All that was ever sealed for `SEALED`: damage opens as one of these (a price in clear changed), or not at all."""

_BODIES = [capture.body for capture in CAPTURES.values() if capture.content_type != "text/event-stream"]
_STREAMS = [capture.body for capture in CAPTURES.values() if capture.content_type == "text/event-stream"]
_LISTED = replace(ENCLAVE, certificate=b"certificate" * 80, owner="0x" + "11" * 20, payment_address="0x" + "22" * 20)
_LISTING = encode_enclaves([_LISTED, _LISTED])

TARGETS: dict[str, Target] = {
    "stream": Target(_STREAMS, _stream),
    "body": Target(_BODIES, _body),
    "error-body": Target(_BODIES, _error_body),
    "request": Target([capture.wire for capture in CAPTURES.values()], _request),
    "offer": Target(_offers(), _offer, in_base64),
    "channel-offer": Target(
        [json.dumps(run["steps"][0]["corrective"]["offer"]).encode() for run in BATCH["recoveries"][7:]],
        _channel_offer,
    ),
    "paid-headers": Target(
        [json.dumps({"success": True, "transaction": "0x" + "ab" * 32, "network": "eip155:8453"}).encode()],
        _paid_headers,
        in_base64,
    ),
    "key-config": Target(
        [CONFIG.header[:3] + CONFIG.public_key + b"\0\4" + CONFIG.header[3:], json.dumps(SIGNED_CONFIG).encode()],
        _key_config,
    ),
    "sealed": Target(
        [
            sealed(SEALED.wire, ANSWERS[1]),
            sealed(SEALED.wire, _ENVELOPE),
            sealed_stream(SEALED.wire, _EVENTS, billing=BILLING_MAGIC + b"\0\0\0\2{}"),
        ],
        _sealed,
    ),
    "sealed-plaintext": Target([_ENVELOPE, ANSWERS[1]], _sealed_plaintext),
    "registry": Target([_LISTING, encode_enclaves([]), (1).to_bytes(32, "big")], _registry),
    "node": Target(
        [
            json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x" + _LISTING.hex()}).encode(),
            json.dumps({"public_key": _pem(), "wallet_address": "0x" + "22" * 20}).encode(),
            b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "execution reverted"}}',
        ],
        _node,
    ),
    "attestation": Target(SOUND, attest_damaged, in_document),
    "batch": Target([case["blob"].encode() for case in BATCHES.values()], find_damaged),
    "onchain": Target(_onchain_seeds(), _onchain),
    "exchange": Target(exchanges.ANSWERS, exchanges.carry, exchanges.damaged),
    "saved-exchange": Target(_saved_exchanges(), _saved),
}
"""Name -> target."""
