"""One verified, paid answer, by every method."""

from collections.abc import Callable
from typing import Any

import pytest

from og_integrations.client import Answer, AsyncClient, Client, LocalSigner, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.errors import InvalidRequestError, VerificationError
from og_integrations.models import TEE_LLM
from og_integrations.protocol._receipt import rebuild_authorization
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.payment._x402 import SettlementMode
from og_integrations.protocol.proof import _verification as verification
from og_integrations.receipt import Receipt
from tests.client.ways_to_ask import MODEL, WAYS, WEATHER, user

ways = pytest.mark.parametrize("way", WAYS)


@ways
def test_call_is_verified_and_paid_once(net: Devnet, way: str) -> None:
    answer = WAYS[way](net, "hello there")
    assert "hello there" in answer.text
    assert answer.receipt["status"] == "verified"
    assert {check["id"] for check in answer.receipt["checks"] if check["result"] != "pass"} == {"attestation"}
    stats = net.stats()
    assert (stats.payments, stats.signatures, stats.statuses) == (1, 1, {402: 1, 200: 1})


@ways
def test_payment_hash_is_recomputed_from_receipt_alone(net: Devnet, way: str) -> None:
    receipt = WAYS[way](net, "hi").receipt
    assert receipt["payment"]["payment_hash_source"] == "eip712"
    payment = Receipt.payment_of(receipt)
    assert payment is not None
    assert "0x" + rebuild_authorization(payment).digest().hex() == payment.payment_hash
    (seen,) = net.journal.authorizations.values()
    assert seen.digest == receipt["payment"]["payment_hash"]


@ways
def test_tool_call_comes_verified_with_its_arguments_untouched(net: Devnet, way: str) -> None:
    answer = WAYS[way](net, 'use tool get_weather {"city":"Oslo"}', tools=[WEATHER])
    (call,) = answer.tool_calls
    assert (call.name, call.arguments.replace(" ", "")) == ("get_weather", '{"city":"Oslo"}')
    assert answer.finish_reason == "tool_calls"


@ways
def test_individual_settlement_brings_transaction_hash(net: Devnet, way: str) -> None:
    payment = WAYS[way](net, "hi", settlement_mode="individual").receipt["payment"]
    assert payment["settlement_mode"] == "individual"
    assert payment["transaction_hash"].startswith("0x")
    assert payment["blob_id"]


@ways
def test_stop_sequence_is_cut_here_and_said_in_receipt(net: Devnet, way: str) -> None:
    """The gateway ignores `stop`: the signed text goes on, the shown one does not."""
    answer = WAYS[way](net, "[[tokens=12]]", stop=["tok4 t"])
    assert answer.text == "tok0 tok1 tok2 tok3 "
    assert answer.completion.text.endswith("tok11")
    assert answer.receipt["presentation"] == {"kind": "cut_at_stop", "stop": "tok4 t"}


@ways
def test_forced_tool_is_asked_for_as_json_schema(net: Devnet, way: str) -> None:
    """`tool_choice` never reaches the model; a schema does."""
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = WAYS[way](net, 'weather in "Oslo"', tools=[WEATHER], tool_choice=choice)
    assert [call.name for call in answer.tool_calls] == ["get_weather"]
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert answer.receipt["presentation"] == {"kind": "tool_from_json_schema", "tool": "get_weather"}


@pytest.mark.parametrize("settlement", ["SETTLE_INDIVIDUAL", "private", "SETTLE"])
def test_settle_individual_stays_private(net: Devnet, make_client: Callable[..., Client], settlement: str) -> None:
    answer = make_client(x402_settlement_mode=settlement).chat(MODEL, user("my secret"))
    assert answer.receipt["payment"]["settlement_mode"] == "private"
    assert net.journal.data_settlements == []


def test_settlement_mode_of_one_call_wins(client: Client) -> None:
    answer = client.chat(MODEL, user("hi"), settlement_mode=SettlementMode.PRIVATE)
    assert answer.receipt["payment"]["settlement_mode"] == "private"


def test_completion_endpoint_answers_text(net: Devnet, client: Client) -> None:
    answer = client.complete(MODEL, "Say hi", max_tokens=50)
    assert answer.text
    assert answer.receipt["status"] == "verified"


async def test_async_completion_endpoint_answers_text(async_client: AsyncClient) -> None:
    assert (await async_client.complete(MODEL, "Say hi")).receipt["status"] == "verified"


def test_model_may_be_a_catalogue_member(client: Client) -> None:
    answer = client.chat(TEE_LLM.CLAUDE_HAIKU_4_5, user("hi"))
    assert (answer.model, answer.receipt["model"]) == ("claude-haiku-4-5", "anthropic/claude-haiku-4-5")


def test_signer_may_be_any_object_that_signs(net: Devnet, make_client: Callable[..., Client]) -> None:
    class Remote:
        def __init__(self) -> None:
            self._local = LocalSigner(net.private_key)
            self.address = self._local.address

        def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
            return self._local.sign_typed_data(typed_data)

    assert make_client(private_key=None, signer=Remote()).chat(MODEL, user("hi")).receipt["status"] == "verified"


async def test_signer_may_be_asynchronous(net: Devnet, make_async_client: Callable[..., AsyncClient]) -> None:
    class Remote:
        def __init__(self) -> None:
            self._local = LocalSigner(net.private_key)
            self.address = self._local.address

        async def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
            return self._local.sign_typed_data(typed_data)

    client = make_async_client(private_key=None, signer=Remote())
    assert (await client.chat(MODEL, user("hi"))).receipt["status"] == "verified"


def test_gateway_url_is_never_taken_for_attested() -> None:
    """The key came from the endpoint itself, so its receipt says so and three checks are skipped."""
    with Devnet(tls=False) as plain:
        url = plain.enclaves[0].endpoint
        with Client(private_key=plain.private_key, network=plain.network, gateway_url=url) as client:
            *texts, answer = client.stream(MODEL, user("[[tokens=3]]"))
    assert isinstance(answer, Answer)
    # Nothing is shown before the proof on a channel that is not pinned.
    assert texts == ["tok0 tok1 tok2"]
    assert answer.receipt["enclave"]["source"] == "endpoint"
    skipped = [check["id"] for check in answer.receipt["checks"] if check["result"] == "skip"]
    assert skipped == ["enclave-trusted", "attestation", "channel"]


def test_collected_exchange_is_the_exact_bytes(make_client: Callable[..., Client]) -> None:
    client = make_client(nonce="off")
    with collect_receipts(keep_exchanges=True) as receipts:
        answer = client.chat(MODEL, user("hi"))
        list(client.stream(MODEL, user("hi")))
    assert receipts[0] is answer.receipt
    assert receipts.verified
    whole, streamed = receipts.exchanges
    assert whole is not None
    assert streamed is not None
    assert whole["request"] == '{"model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}]}'
    assert streamed["content_type"] == "text/event-stream"
    assert streamed["response"].endswith("data: [DONE]\n\n")


IMAGE = [
    {"type": "text", "text": "what is it?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
]


def test_answer_of_a_gateway_that_dropped_the_image_is_none(net: Devnet) -> None:
    """It is signed for the whole request, though the model has seen only half of it."""
    with Client(gateway_generation="next", private_key=net.private_key, network=net.network) as client:
        assert client.chat(MODEL, [{"role": "user", "content": IMAGE[:1]}]).receipt["hash_rule"] == "april"
        with pytest.raises(VerificationError, match="the rule april drop its images and files") as caught:
            client.chat(MODEL, [{"role": "user", "content": IMAGE}])
    assert caught.value.step == "request-hash"


@ways
def test_images_come_unsigned_from_next_gateways(way: str) -> None:
    with Devnet(generation="next") as net:
        answer = WAYS[way](net, "[[image]] a cat")
    (image,) = answer.images
    assert image.startswith("data:image/png;base64,")
    assert "images" in answer.receipt["unsigned"]


def test_image_is_sent_only_where_the_model_sees_it() -> None:
    with Devnet(generation="next") as net:
        options: dict[str, Any] = {"private_key": net.private_key, "network": net.network}
        with Client(gateway_generation="next", **options) as client:
            answer = client.chat(MODEL, [{"role": "user", "content": IMAGE}])
            with pytest.raises(InvalidRequestError, match="drops before the model sees it"):
                client.chat("nous/hermes-4-70b", [{"role": "user", "content": IMAGE}])
    assert "image_url" in answer.text
    assert answer.receipt["hash_rule"] == "reduced"


def test_rule_of_a_build_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first answer that shows it, a request of that build costs one hash again, as one of April's does."""
    hashed: list[bytes] = []

    def counted(text: bytes) -> bytes:
        hashed.append(text)
        return keccak(text)

    monkeypatch.setattr(verification, "keccak", counted)
    found = []
    with Devnet(generation="verbatim") as net:
        options: dict[str, Any] = {"private_key": net.private_key, "network": net.network}
        with Client(gateway_generation="next", **options) as client:
            for content in ("hi", IMAGE, IMAGE, "hi"):
                answer = client.chat(MODEL, [{"role": "user", "content": content}])
                found.append((answer.receipt["hash_rule"], len(hashed)))
                hashed.clear()
    assert found == [("april", 1), ("verbatim", 3), ("verbatim", 1), ("april", 1)]
