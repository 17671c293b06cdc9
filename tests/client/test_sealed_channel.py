"""
Requests sealed for the enclave: through a relay that pays, or by the client's own hand and wallet.

Over real sockets. Whatever the relay does, nothing of it is believed, paid, quoted, or a reason to ask again.
"""

import asyncio
import json
import pickle
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from og_integrations import errors
from og_integrations.client import Answer, AsyncClient, Client, collect_receipts
from og_integrations.client.channels._relay import PUBLIC_RELAY, Relay
from og_integrations.client.channels._sealed import SealedCall
from og_integrations.devnet import Devnet, Fault
from og_integrations.devnet._http import Reply
from og_integrations.devnet._sealing import GatewayKey
from og_integrations.langchain import ChatOpenGradient, OpenGradientWebSearch
from og_integrations.llama_index import OpenGradientLLM, web_search_tool
from og_integrations.protocol.proof._enclave import SignedConfig
from og_integrations.verify import Verifier
from tests.client.ways_to_ask import MODEL, WEATHER, user

SECRET = "the patient is called Ada"
TOOL = 'use tool get_weather {"city":"Oslo"}'


@pytest.fixture(scope="module")
def shared() -> Iterator[Devnet]:
    with Devnet(generation="newest") as devnet:
        yield devnet


@pytest.fixture
def net(shared: Devnet) -> Iterator[Devnet]:
    """Return the module's network, in order, and judge what each test did to it."""
    mark = shared.mark()
    yield shared
    shared.clear_faults()
    verdict = shared.verdict(since=mark)
    assert verdict.clean, verdict
    shared.unwatch(mark)


def relayed(net: Devnet, **options: Any) -> dict[str, Any]:
    """Return the options of a client that asks through the relay, and has no wallet."""
    return {"network": net.network, "channel": "ohttp", "relay_url": net.relay_url, "relay_token": net.relay_token} | (
        options
    )


def carried(net: Devnet, **options: Any) -> dict[str, Any]:
    """Return the options of a client that brings its sealed requests itself, and pays."""
    return {"network": net.network, "channel": "ohttp", "private_key": net.private_key} | options


def chat(options: dict[str, Any], text: str, **asked: Any) -> tuple[list[str], Answer]:
    with Client(**options) as client:
        return [], client.chat(MODEL, user(text), **asked)


def stream(options: dict[str, Any], text: str, **asked: Any) -> tuple[list[str], Answer]:
    with Client(**options) as client:
        return _told(list(client.stream(MODEL, user(text), **asked)))


def achat(options: dict[str, Any], text: str, **asked: Any) -> tuple[list[str], Answer]:
    async def ask() -> Answer:
        async with AsyncClient(**options) as client:
            return await client.chat(MODEL, user(text), **asked)

    return [], asyncio.run(ask())


def astream(options: dict[str, Any], text: str, **asked: Any) -> tuple[list[str], Answer]:
    async def ask() -> list[str | Answer]:
        async with AsyncClient(**options) as client, aclosing(client.stream(MODEL, user(text), **asked)) as pieces:
            return [piece async for piece in pieces]

    return _told(asyncio.run(ask()))


def _told(pieces: list[Any]) -> tuple[list[str], Answer]:
    *texts, answer = pieces
    assert isinstance(answer, Answer)
    assert "".join(texts) == answer.text
    return texts, answer


WAYS = {"chat": chat, "stream": stream, "achat": achat, "astream": astream}
ways = pytest.mark.parametrize("way", WAYS)
carriers = pytest.mark.parametrize("carrier", [relayed, carried], ids=["relay", "own hand"])


@ways
@carriers
def test_answer_is_verified_and_its_receipt_names_relay_and_key(
    net: Devnet, carrier: Callable[[Devnet], dict[str, Any]], way: str
) -> None:
    with collect_receipts() as receipts:
        texts, answer = WAYS[way](carrier(net), f"[[tokens=3]] {way} by {carrier.__name__}")
    net.watch(receipts)
    assert answer.text == "tok0 tok1 tok2"
    assert texts == (["tok0 ", "tok1 ", "tok2"] if "stream" in way else [])
    assert (answer.receipt["status"], answer.receipt["channel"]) == ("verified", "sealed")
    sealing = answer.receipt["sealing"]
    assert sealing["relay"] == (httpx.URL(str(net.relay_url)).netloc.decode() if carrier is relayed else None)
    assert (sealing["key_id"], sealing["signature_from"]) == (1, "registry")
    assert sealing["signing_key_sha256"] == sha256(bytes.fromhex(answer.receipt["enclave"]["public_key"])).hexdigest()
    assert (answer.receipt["payment"] is None) == (carrier is relayed)
    exchange = net.journal.exchanges[-1]
    assert (exchange.sealed, exchange.relayed) == (True, carrier is relayed)
    (channel,) = [check for check in answer.receipt["checks"] if check["id"] == "channel"]
    assert channel["result"] == "pass"


@ways
@carriers
def test_tool_calls_come_with_the_proof(net: Devnet, carrier: Callable[[Devnet], dict[str, Any]], way: str) -> None:
    texts, answer = WAYS[way](carrier(net), f"{TOOL} {way} {carrier.__name__}", tools=[WEATHER])
    assert texts == []
    assert [call.name for call in answer.tool_calls] == ["get_weather"]


def test_calls_of_one_wallet_share_a_session_of_the_sealed_endpoint(net: Devnet) -> None:
    wallet = net.new_wallet()
    before = len(net.journal.authorizations)
    with Client(**carried(net, private_key=wallet.private_key)) as client, collect_receipts() as receipts:
        for number in range(3):
            client.chat(MODEL, user(f"shared {number}"))
    assert len({receipt["payment"]["payment_hash"] for receipt in receipts}) == 1
    (seen,) = [*net.journal.authorizations.values()][before:]
    assert (seen.path, seen.payer) == ("/v1/ohttp", wallet.address)


def test_neither_relay_nor_network_sees_a_word(net: Devnet) -> None:
    """Every byte that leaves is looked at: the prompt is in none, and no wallet's header goes to the relay."""
    sent: list[httpx.Request] = []

    def client_of(context: Any) -> httpx.Client:
        return httpx.Client(verify=context or True, event_hooks={"request": [sent.append]})

    with Client(**relayed(net, http_client=client_of)) as client:
        client.chat(MODEL, user(SECRET))
    to_relay = [request for request in sent if request.url.path.endswith("/api/v1/chat/ohttp")]
    assert len(to_relay) == 1
    assert SECRET.encode() not in b"".join(request.content for request in sent)
    names = {name.lower() for name in to_relay[0].headers}
    assert names & {"payment-signature", "x-upto-session", "x-settlement-type"} == set()
    assert to_relay[0].headers["x-tee-id"] == net.enclaves[0].tee_id[2:]
    assert to_relay[0].headers["content-type"] == "message/ohttp-req"
    assert net.journal.exchanges[-1].prompt == SECRET


def test_same_question_is_sealed_anew_each_time(net: Devnet) -> None:
    key = GatewayKey()
    call = SealedCall(
        key=key.listed,
        signed_at="registry",
        signed_config=SignedConfig(b"", b""),
        tee_id="0x00",
        relay=None,
        token=None,
        body=b"{}",
        stream=False,
    )
    assert len({call.wire() for _ in range(3)}) == 3


def test_fresh_token_is_asked_for_before_each_request(net: Devnet) -> None:
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        return str(net.relay_token)

    with Client(**relayed(net, relay_token=token)) as client:
        for number in range(2):
            client.chat(MODEL, user(f"token {number}"))
    assert len(asked) == 2


async def test_asynchronous_token_is_awaited(net: Devnet) -> None:
    async def token() -> str:
        await asyncio.sleep(0)
        return str(net.relay_token)

    async with AsyncClient(**relayed(net, relay_token=token)) as client:
        assert (await client.chat(MODEL, user("async token"))).receipt["status"] == "verified"
    with Client(**relayed(net, relay_token=token)) as sync, pytest.raises(errors.ConfigurationError, match="asynchron"):
        sync.chat(MODEL, user("async token, sync client"))


def _broken_token() -> str:
    raise KeyError("the login is over: token-of-ada")


@pytest.mark.parametrize("token", [_broken_token, lambda: None, lambda: "two words", lambda: ""])
def test_token_that_is_none_stops_the_call_before_anything_is_sent(net: Devnet, token: Callable[[], str]) -> None:
    before = len(net.journal.exchanges)
    with (
        Client(**relayed(net, relay_token=token)) as client,
        pytest.raises(errors.ConfigurationError, match=r"relay_token .*Nothing was sent") as caught,
    ):
        client.chat(MODEL, user("no token"))
    assert "ada" not in str(caught.value)
    assert len(net.journal.exchanges) == before


def test_wrong_token_is_said_without_showing_it(net: Devnet) -> None:
    with (
        Client(**relayed(net, relay_token="token-of-ada")) as client,
        pytest.raises(errors.SealedChannelError, match=r"HTTP 401 in clear.*does not take the token") as caught,
    ):
        client.chat(MODEL, user("wrong token"))
    assert "ada" not in str(caught.value)
    assert not caught.value.is_retryable


LIES = {
    "relay_in_clear": "not marked as sealed",
    "relay_asks_for_payment": "HTTP 402 in clear.*no payment of yours is asked for",
    "relay_error": "HTTP 502 in clear",
    "relay_truncates": "cut",
    "relay_replays": "made for another one",
    "relay_swaps_enclave": "HTTP 400 in clear",
}


@ways
@pytest.mark.parametrize("fault", LIES)
def test_lying_relay_is_refused_once_and_not_quoted(net: Devnet, fault: str, way: str) -> None:
    """With a wallet at hand, which stays shut."""
    wallet = net.new_wallet()
    text = f"{SECRET}: {fault} by {way}"
    net.inject(fault)
    with collect_receipts() as receipts, pytest.raises(errors.SealedChannelError, match=LIES[fault]) as caught:
        WAYS[way](relayed(net, private_key=wallet.private_key), text)
    net.clear_faults()
    error = caught.value
    assert type(error) is errors.SealedChannelError
    assert not error.is_retryable
    assert [exchange.prompt for exchange in net.journal.exchanges].count(text) == 1
    assert not [seen for seen in net.journal.authorizations.values() if seen.payer == wallet.address]
    for word in ("Ada", "Trust me", "example.org", str(net.relay_token)):
        assert word not in str(error)
    (receipt,) = receipts
    assert (receipt["status"], receipt["payment"], receipt) == ("unverified", None, error.receipt)
    assert receipt["sealing"]["relay"] is not None


def _dying(reply: Reply) -> Reply:
    async def wire(pieces: Any, channel: Any) -> Any:
        async for piece in pieces:
            yield piece._replace(data=piece.data[: len(piece.data) // 2])
            channel.hang_up()

    return replace(reply, wire=wire)


@ways
def test_lost_relay_is_not_asked_again(net: Devnet, way: str) -> None:
    """It may have been answered, at somebody's cost."""
    net.inject(Fault(name="relay_dies", about="the relay's connection ends", relay=_dying))
    text = f"lost by {way}"
    with pytest.raises(errors.SealedChannelError, match="not sent again") as caught:
        WAYS[way](relayed(net), text)
    assert not caught.value.is_retryable
    assert [exchange.prompt for exchange in net.journal.exchanges].count(text) == 1


def test_relay_that_is_away_is_no_fault_of_an_enclave(net: Devnet) -> None:
    """The next call asks it again, at once."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        away = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with Client(**relayed(net, relay_url=away)) as client:
        for _ in range(2):
            with pytest.raises(errors.ConnectionFailedError, match=r"No connection to the relay 127\.0\.0\.1"):
                client.chat(MODEL, user("away"))


@ways
def test_own_hand_pays_once_for_an_answer_that_does_not_open(net: Devnet, way: str) -> None:
    def bent(reply: Reply) -> Reply:
        assert isinstance(reply.body, bytes) or "stream" in way
        return replace(reply, body=bytes(80))

    net.inject(Fault(name="bent", about="the sealed answer is another", reply=bent))
    with collect_receipts() as receipts, pytest.raises(errors.SealedChannelError, match="may have been charged"):
        WAYS[way](carried(net), f"bent by {way}")
    net.watch(receipts)
    assert receipts[0]["payment"] is not None


def test_refusal_of_the_enclave_is_its_own_and_may_be_quoted(net: Devnet) -> None:
    for carrier in (relayed, carried):
        with Client(**carrier(net)) as client:
            with pytest.raises(errors.GatewayError, match="HTTP 400: Model 'no-such' is not supported") as caught:
                client.chat("openai/no-such", user("hi"))
            assert caught.value.status == 400
            with pytest.raises(errors.GatewayError, match="HTTP 400"):
                list(client.stream("openai/no-such", user("hi")))


@ways
def test_key_without_a_signature_in_the_registry_is_asked_for_once(net: Devnet, way: str) -> None:
    """Over the pinned connection, and before anything is sealed to it."""
    net.inject("unsigned_registry_key")
    _, answer = WAYS[way](relayed(net), f"asked for the key by {way}")
    assert answer.receipt["sealing"]["signature_from"] == "enclave"


@pytest.mark.parametrize("listed", [True, False])
def test_signature_of_the_key_stands_in_the_evidence(net: Devnet, tmp_path: Path, listed: bool) -> None:
    """Wherever it was seen: a stranger with the file sees that what was sealed could be read by this enclave alone."""
    if not listed:
        net.inject("unsigned_registry_key")
    with collect_receipts(keep_exchanges=True) as receipts, Client(**carried(net)) as client:
        client.chat(MODEL, user(SECRET))
    (file,) = receipts.save(tmp_path)
    verdict = Verifier.tee_ids([net.enclaves[0].tee_id]).verify(file)
    assert verdict.verified
    assert [check.result for check in verdict.checks if check.id == "hpke"] == ["pass"]


@pytest.mark.parametrize("fault", ["unsigned_key_config", "foreign_key_config"])
@carriers
def test_key_that_the_enclave_did_not_sign_gets_nothing(
    net: Devnet, carrier: Callable[[Devnet], dict[str, Any]], fault: str
) -> None:
    before = len(net.journal.exchanges)
    net.inject(fault)
    with (
        Client(**carrier(net)) as client,
        pytest.raises(errors.SealedChannelError, match="Nothing was sealed or sent"),
    ):
        client.chat(MODEL, user("never sealed"))
    assert len(net.journal.exchanges) == before


def test_another_enclave_serves_if_one_has_no_good_key() -> None:
    with Devnet(enclaves=2, generation="newest") as net, Client(**relayed(net)) as client:
        net.inject("foreign_key_config", enclave=net.enclaves[0])
        for number in range(3):
            assert client.chat(MODEL, user(f"q{number}")).receipt["tee_id"] == net.enclaves[1].tee_id


def test_gateways_without_a_sealed_channel_are_named() -> None:
    with (
        Devnet() as net,
        Client(network=net.network, private_key=net.private_key, channel="ohttp") as client,
        pytest.raises(errors.EnclaveRejectedError, match="without an OHTTP key"),
    ):
        client.chat(MODEL, user("april"))


@carriers
def test_web_search_is_carried_and_verified(net: Devnet, carrier: Callable[[Devnet], dict[str, Any]]) -> None:
    """Asked by the method and by the tools of both frameworks; the enclave hashes it without its name."""
    options = carrier(net)
    with Client(**options) as client:
        answer = client.web_search(f"opg by {carrier.__name__}", num_results=1)
    found = OpenGradientWebSearch(model=ChatOpenGradient(model=MODEL, **options), num_results=1).invoke(
        {"type": "tool_call", "name": "search", "id": "1", "args": {"query": f"lang {carrier.__name__}"}}
    )
    output = web_search_tool(OpenGradientLLM(MODEL, **options), num_results=1).call(query=f"llama {carrier.__name__}")
    for receipt in (answer.receipt, found.artifact["opengradient"], output.raw_output["opengradient"]):
        assert (receipt["kind"], receipt["status"], receipt["channel"]) == ("search", "verified", "sealed")
        assert (receipt["payment"] is None) == (carrier is relayed)
    assert all(citation["url"] in answer.text for citation in answer.citations)
    assert [exchange.sealed for exchange in net.journal.exchanges[-3:]] == [True] * 3


def test_receipt_that_names_another_signing_key_is_refused_later(net: Devnet) -> None:
    """Who sealed to another key than the enclave signed showed the request to somebody else."""
    with Client(**relayed(net)) as client, collect_receipts(keep_exchanges=True) as receipts:
        client.chat(MODEL, user("key"))
    saved = {"receipt": receipts[0], "exchange": receipts.exchanges[0]}
    judge = Verifier.unsafe_file_key()
    assert judge.verify(json.dumps(saved).encode()).status == "verified"
    altered = receipts[0] | {"sealing": receipts[0]["sealing"] | {"signing_key_sha256": "ab" * 32}}
    verdict = judge.verify(json.dumps(saved | {"receipt": altered}).encode())
    assert (verdict.status, verdict.step) == ("failed", "receipt")
    # A receipt of a while ago does not name it.
    older = {name: value for name, value in receipts[0]["sealing"].items() if name != "signing_key_sha256"}
    again = saved | {"receipt": receipts[0] | {"sealing": older}}
    assert judge.verify(json.dumps(again).encode()).status == "verified"


def test_completions_are_not_carried(net: Devnet) -> None:
    with Client(**relayed(net)) as client, pytest.raises(errors.InvalidRequestError, match="carries no requests to"):
        client.complete(MODEL, "Once")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"channel": "sealed"}, "channel is 'sealed', expected one of pinned, ohttp"),
        ({"channel": "ohttp", "relay_token": "t"}, f"without relay_url.*{PUBLIC_RELAY}"),
        ({"channel": "ohttp", "relay_url": "http://relay.example"}, "expected https"),
        ({"channel": "ohttp", "relay_url": "relay"}, "relay_url is no address of a server"),
        ({"channel": "ohttp", "gateway_url": "http://127.0.0.1:1"}, "Leave one of the two out"),
        ({"relay_url": "https://relay.example"}, "Set channel='ohttp'"),
        ({"relay_token": "t"}, "Set channel='ohttp'"),
    ],
)
def test_settings_that_would_not_do_what_they_say_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=says):
        Client(**options)


def test_relay_of_the_environment_is_used_for_sealed_requests_only(
    net: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in net.environment().items():
        monkeypatch.setenv(name, value)
    with Client(channel="ohttp", network=net.network) as client:
        assert client.chat(MODEL, user("by the environment")).receipt["payment"] is None
    with Client(network=net.network) as client, collect_receipts() as receipts:
        assert client.chat(MODEL, user("in clear")).receipt["channel"] == "pinned"
    net.watch(receipts)


def test_path_of_the_relay_is_added_once() -> None:
    whole = "https://relay.example/api/v1/chat/ohttp"
    for url in ("https://relay.example", "https://relay.example/", whole):
        relay = Relay.of(url, None)
        assert relay is not None
        assert (relay.url, relay.host) == (whole, "relay.example")


def _langchain(options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    message = ChatOpenGradient(model=MODEL, **options).invoke("[[tokens=2]] langchain")
    return message.text, message.response_metadata["opengradient"]


def _langchain_stream(options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    chunks = list(ChatOpenGradient(model=MODEL, **options).stream("[[tokens=2]] langchain stream"))
    metadata = next(chunk.response_metadata for chunk in chunks if "opengradient" in chunk.response_metadata)
    return "".join(chunk.text for chunk in chunks), metadata["opengradient"]


def _llama_index(options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    response = OpenGradientLLM(MODEL, **options).complete("[[tokens=2]] llama")
    return response.text, response.raw["opengradient"]


async def _llama_index_stream(options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    pieces = [piece async for piece in await OpenGradientLLM(MODEL, **options).astream_complete("[[tokens=2]] llama")]
    return pieces[-1].text, pieces[-1].additional_kwargs["opengradient"]


Asking = Callable[[dict[str, Any]], tuple[str, dict[str, Any]] | Awaitable[tuple[str, dict[str, Any]]]]


@pytest.mark.parametrize("ask", [_langchain, _langchain_stream, _llama_index, _llama_index_stream])
@carriers
async def test_both_frameworks_have_the_option(
    net: Devnet, carrier: Callable[[Devnet], dict[str, Any]], ask: Asking
) -> None:
    found = ask(carrier(net))
    text, receipt = await found if isinstance(found, Awaitable) else found
    assert (text, receipt["channel"], receipt["status"]) == ("tok0 tok1", "sealed", "verified")


def test_token_is_in_no_repr_pickle_or_dump(net: Devnet) -> None:
    for model in (ChatOpenGradient(model=MODEL, **relayed(net)), OpenGradientLLM(MODEL, **relayed(net))):
        shown = [repr(model), str(pickle.dumps(model)), json.dumps(model.model_dump(mode="json"), default=str)]
        assert not [text for text in shown if str(net.relay_token) in text]
        again = pickle.loads(pickle.dumps(model))
        # Without its token it still asks the relay, and never the wallet.
        assert (again.channel, again.relay_url, again.relay_token) == ("ohttp", net.relay_url, None)
