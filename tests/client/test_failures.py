"""
What a user meets when a server, the network or time misbehaves: each its own error, at most one payment.

Over real sockets, by every method. The devnet counts what was really paid.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from og_integrations import errors
from og_integrations.client import AsyncClient, Client, LocalSigner, collect_receipts
from og_integrations.devnet import Devnet
from tests.client.ways_to_ask import MODEL, WAYS, WEATHER, user

ways = pytest.mark.parametrize("way", WAYS)


@dataclass(frozen=True)
class Case:
    """A fault, the error it must become, what the message says, and how much was signed."""

    fault: str
    error: type[errors.OpenGradientError]
    says: str
    signatures: int
    prompt: str = "[[tokens=12]]"
    only: tuple[str, ...] = tuple(WAYS)


STREAMS = ("stream", "astream")
TOOL = 'use tool get_weather {"city":"Oslo"}'

CASES = [
    Case("wrong_certificate", errors.CertificateMismatchError, "another certificate than the pinned one", 0),
    Case("unknown_enclave", errors.VerificationError, "signed by '0x[0-9a-f]+', expected 0x", 1),
    Case("bad_signature", errors.VerificationError, "signature is not by the key of enclave", 1),
    Case("altered_text", errors.VerificationError, "output-hash: the enclave signed another answer", 1),
    Case("altered_tool_call", errors.VerificationError, "output-hash: the enclave signed another answer", 1, TOOL),
    Case("cut_stream", errors.StreamCutError, "signed final event", 1, only=STREAMS),
    Case("missing_final_event", errors.StreamCutError, "signed final event", 1, only=STREAMS),
    Case("error_event", errors.StreamFailedError, "reported a failure in the middle", 1, only=STREAMS),
    Case("second_402", errors.PaymentRefusedError, "did not take the signed payment", 1),
    Case("offer_over_cap", errors.BudgetExceededError, "expected at most 5 OPG", 0),
    Case("other_asset", errors.AssetRefusedError, "asks for asset 0x", 0),
    Case("other_network", errors.NetworkRefusedError, "asks for network eip155:", 0),
    Case("other_scheme", errors.SchemeRefusedError, "asks for scheme exact", 0),
    Case("garbage_offer", errors.MalformedOfferError, "payment header", 0),
    Case("stall_after_payment", errors.ReadTimeoutError, "did not answer in time", 1),
    Case("stall_mid_body", errors.ReadTimeoutError, "did not answer in time", 1),
    Case(
        "stall_in_blanks", errors.ReadTimeoutError, "did not send its whole answer in time", 1, only=("chat", "achat")
    ),
    Case("stall_in_comments", errors.ReadTimeoutError, "did not send its whole answer in time", 1, only=STREAMS),
    Case("server_error_after_payment", errors.PaymentInDoubtError, "HTTP 500 to a signed payment", 1),
    Case("replayed_answer", errors.VerificationError, "request-hash: the enclave signed another request", 1),
    Case("swapped_model", errors.VerificationError, "the answer is from model", 1),
    Case("second_choice", errors.VerificationError, "2 choices, expected exactly 1", 1),
    Case("smuggled_tool_call", errors.VerificationError, "shape", 1),
    Case("stale_timestamp", errors.VerificationError, "freshness: signed at", 1),
    Case("redirect", errors.OpenGradientError, "HTTP 30", 1),
]


def _rows() -> list[object]:
    return [pytest.param(case, way, id=f"{case.fault}-{way}") for case in CASES for way in case.only]


@pytest.mark.parametrize(("case", "way"), _rows())
def test_fault_becomes_its_own_error(net: Devnet, case: Case, way: str) -> None:
    net.inject(case.fault)
    tools = {"tools": [WEATHER]} if "get_weather" in case.prompt else {}
    with collect_receipts() as receipts, pytest.raises(case.error, match=case.says) as caught:
        WAYS[way](net, case.prompt, timeout=1.0, **tools)
    assert type(caught.value) is case.error or case.error is errors.OpenGradientError
    stats = net.stats()
    assert stats.signatures == case.signatures
    assert stats.payments <= 1
    # Nothing is lost: the failed call left a receipt, and it does not say "verified".
    (receipt,) = receipts
    assert receipt == caught.value.receipt
    assert receipt["status"] == "unverified"
    assert any(check["result"] == "fail" for check in receipt["checks"])
    # What the devnet saw signed is what the receipt reports, and the other way round.
    assert (receipt["payment"] is not None) == (case.signatures == 1)


@ways
def test_wrong_certificate_sees_no_byte_of_the_prompt(net: Devnet, way: str) -> None:
    net.inject("wrong_certificate")
    with pytest.raises(errors.CertificateMismatchError):
        WAYS[way](net, "top secret")
    assert net.journal.exchanges == []


@ways
def test_expired_session_is_renewed_with_one_signature(net: Devnet, way: str) -> None:
    net.inject("expired_session", times=1)
    ask = {"chat": _two_chats, "stream": _two_chats, "achat": _two_achats, "astream": _two_achats}[way]
    ask(net, stream="stream" in way)
    assert (net.stats().signatures, net.stats().statuses[200]) == (2, 2)


@pytest.mark.parametrize("way", STREAMS)
def test_cut_stream_keeps_the_text_so_far_apart(net: Devnet, way: str) -> None:
    net.inject("cut_stream")
    with pytest.raises(errors.StreamCutError) as caught:
        WAYS[way](net, "[[tokens=12]]")
    assert caught.value.partial_text.startswith("tok0 ")
    assert "tok0" not in str(caught.value)


def test_gateway_error_is_not_charged_and_keeps_the_session(net: Devnet, client: Client) -> None:
    with pytest.raises(errors.GatewayError, match="HTTP 400: Model 'no-such' is not supported") as caught:
        client.chat("openai/no-such", user("hi"))
    assert caught.value.status == 400
    client.chat(MODEL, user("hi"))
    assert (net.stats().payments, net.stats().charges) == (1, 1)


def test_validation_error_never_quotes_the_prompt(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 400 of a gateway that is stricter than our check quotes the whole message; ours must not."""
    monkeypatch.setattr("og_integrations.client._engine.check_chat", lambda *_request, **_model: None)
    message = {"role": "user", "content": "my medical history", "name": {"not": "text"}}
    with pytest.raises(errors.GatewayError, match="HTTP 400") as caught:
        client.chat(MODEL, [message])
    assert "medical" not in str(caught.value)


def test_read_timeout_after_payment_is_not_repeated_but_rejoined(net: Devnet, client: Client) -> None:
    """A later call sends the same authorization again, which joins the same session: no second payment."""
    net.inject("stall_after_payment", times=1)
    with pytest.raises(errors.ReadTimeoutError):
        client.chat(MODEL, user("first"), timeout=0.5)
    assert client.engine.budget.spent(0).in_doubt > 0
    assert client.chat(MODEL, user("second")).receipt["status"] == "verified"
    assert client.engine.budget.spent(0).in_doubt == 0
    assert [e.prompt for e in net.journal.exchanges].count("first") == 2  # unpaid, then paid
    assert net.stats().signatures == 1


async def test_cancellation_after_payment_passes_and_is_marked(net: Devnet, async_client: AsyncClient) -> None:
    net.inject("stall_after_payment", times=1)
    task = asyncio.create_task(async_client.chat(MODEL, user("hi")))
    while net.stats().signatures == 0:
        await asyncio.sleep(0.01)
    task.cancel()
    with collect_receipts() as receipts, pytest.raises(asyncio.CancelledError):
        await task
    assert receipts == []  # the collector was not open when the call began
    assert async_client.engine.budget.spent(0).in_doubt == async_client.engine.budget.authorized() > 0
    assert (await async_client.chat(MODEL, user("again"))).receipt["status"] == "verified"
    assert net.stats().signatures == 1


def test_dead_enclave_is_left_for_another() -> None:
    with Devnet(enclaves=2) as net, Client(private_key=net.private_key, network=net.network) as client:
        dead = net.enclaves[0]
        net.inject("wrong_certificate", enclave=dead)
        for number in range(4):
            assert client.chat(MODEL, user(f"q{number}")).receipt["tee_id"] == net.enclaves[1].tee_id
        assert net.stats().payments == 1


def test_lying_enclave_is_left_for_another() -> None:
    with Devnet(enclaves=2) as net, Client(private_key=net.private_key, network=net.network) as client:
        liar = client.chat(MODEL, user("hi")).receipt["tee_id"]
        net.inject("bad_signature", enclave=next(e for e in net.enclaves if e.tee_id == liar))
        with pytest.raises(errors.VerificationError):
            client.chat(MODEL, user("hi"))
        assert [client.chat(MODEL, user("hi")).receipt["tee_id"] == liar for _ in range(3)] == [False] * 3


def test_only_enclave_is_kept_after_a_lie(net: Devnet, client: Client) -> None:
    """There is nobody else to ask; the next answer is judged like every other."""
    net.inject("bad_signature", times=1)
    with pytest.raises(errors.VerificationError):
        client.chat(MODEL, user("hi"))
    assert client.chat(MODEL, user("hi")).receipt["status"] == "verified"


def test_no_registry_is_a_discovery_error(net: Devnet) -> None:
    net.stop()
    with (
        Client(private_key=net.private_key, network=net.network) as client,
        pytest.raises(errors.DiscoveryError, match="No connection to http://127"),
    ):
        client.chat(MODEL, user("hi"))


class OddSigner(LocalSigner):
    """Answers every question with `signature`."""

    signature: Any = None

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        return self.signature  # type: ignore[no-any-return]


@pytest.mark.parametrize("signature", [b"0x", None, "0x"])
async def test_signer_without_a_signature_is_a_signing_error(net: Devnet, signature: object) -> None:
    """Neither is it taken for asynchronous."""
    signer = OddSigner(net.private_key)
    signer.signature = signature
    says = r"no signature|failed with TypeError"
    with Client(signer=signer, network=net.network) as client, pytest.raises(errors.SigningError, match=says):
        client.chat(MODEL, user("hi"))
    async with AsyncClient(signer=signer, network=net.network) as waiting:
        with pytest.raises(errors.SigningError, match=says):
            await waiting.chat(MODEL, user("hi"))
    assert net.stats().signatures == 0


def _two_chats(net: Devnet, *, stream: bool) -> None:
    with Client(private_key=net.private_key, network=net.network) as client:
        for _ in range(2):
            list(client.stream(MODEL, user("hi"))) if stream else client.chat(MODEL, user("hi"))


def _two_achats(net: Devnet, *, stream: bool) -> None:
    async def ask() -> None:
        async with AsyncClient(private_key=net.private_key, network=net.network) as client:
            for _ in range(2):
                if stream:
                    _ = [item async for item in client.stream(MODEL, user("hi"))]
                else:
                    await client.chat(MODEL, user("hi"))

    asyncio.run(ask())
