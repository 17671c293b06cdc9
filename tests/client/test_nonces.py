"""A nonce in each request: an answer is to this call, and nothing is paid to find out whether a gateway takes it."""

import dataclasses
import json
import warnings
from collections.abc import Callable
from typing import Any, Literal

import pytest

from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet._generations import GENERATIONS
from og_integrations.errors import (
    ConfigurationError,
    GatewayError,
    InvalidRequestError,
    SealedChannelError,
    VerificationError,
)
from tests.client.ways_to_ask import MODEL, WAYS, WEATHER, user

SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "A", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}
KINDS: dict[str, tuple[Callable[[Client], Any], str]] = {
    "chat": (lambda client: client.chat(MODEL, user("hi")), "response_format"),
    "tools": (lambda client: client.chat(MODEL, user("hi"), tools=[WEATHER]), "response_format"),
    "stop": (lambda client: client.chat(MODEL, user("hi"), stop=["x", "y"]), "response_format"),
    "schema": (lambda client: client.chat(MODEL, user('"a" 1'), response_format=SCHEMA), "stop"),
    "completion": (lambda client: client.complete(MODEL, "hi"), "stop"),
    "completion, stop": (lambda client: client.complete(MODEL, "hi", stop="x"), "stop"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("generation", ["april", "newest"])
def test_each_kind_of_request_has_a_place(kind: str, generation: str) -> None:
    ask, place = KINDS[kind]
    with (
        Devnet(generation=generation) as net,
        Client(private_key=net.private_key, network=net.network, nonce="require") as client,
        collect_receipts(keep_exchanges=True) as receipts,
    ):
        answer = ask(client)
        nonce = answer.receipt["nonce"]
        assert (len(nonce), answer.receipt["status"]) == (32, "verified")
        (exchange,) = receipts.exchanges
        assert exchange is not None
        assert nonce in json.dumps(json.loads(exchange["request"])[place])
        (detail,) = [check["detail"] for check in answer.receipt["checks"] if check["id"] == "freshness"]
        assert detail.endswith("and answers this call's nonce")
        assert net.verdict(receipts).clean


@pytest.mark.parametrize("way", WAYS)
def test_same_question_has_another_hash_each_time(net: Devnet, way: str) -> None:
    """Whoever sees what was published cannot find the question by trying."""
    policy = net.enclave_policy()
    first, second = (WAYS[way](net, "Are we solvent?", enclave_policy=policy).receipt for _ in range(2))
    assert first["request_hash"] != second["request_hash"]
    assert first["nonce"] != second["nonce"]


def test_answer_to_the_same_question_without_its_nonce(net: Devnet, make_client: Callable[..., Client]) -> None:
    net.inject("nonce_ignored")
    with pytest.raises(VerificationError, match="the enclave signed another request") as caught:
        make_client(nonce="auto").chat(MODEL, user("hi"))
    assert caught.value.step == "request-hash"


FOUR: dict[str, Any] = {"response_format": SCHEMA, "stop": ["a", "b", "c", "d"]}


def test_no_place(net: Devnet, make_client: Callable[..., Client]) -> None:
    """A format of one's own and four stop sequences leave none: "auto" goes without, "require" does not go."""
    with pytest.raises(InvalidRequestError, match="no place for a nonce"):
        make_client(nonce="require").chat(MODEL, user("hi"), **FOUR)
    assert net.journal.exchanges == []
    assert make_client(nonce="auto").chat(MODEL, user('"a" 1'), **FOUR).receipt["nonce"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_gateway_that_refuses_it_costs_nothing(stream: bool) -> None:
    """One warning, one signature, one charge a call; the build is remembered, and the next call asks once."""
    old = dataclasses.replace(GENERATIONS["april"], takes_nonce=False)
    with (
        Devnet(generation=old) as net,
        Client(private_key=net.private_key, network=net.network, nonce="auto") as client,
        collect_receipts() as receipts,
        warnings.catch_warnings(record=True) as told,
    ):
        warnings.simplefilter("always")
        for text in ("one", "two"):
            if stream:
                list(client.stream(MODEL, user(text)))
            else:
                client.chat(MODEL, user(text))
        assert [(receipt["status"], receipt["nonce"]) for receipt in receipts] == [("verified", None)] * 2
        stats = net.stats()
        assert (stats.signatures, stats.charges, stats.statuses) == (1, 2, {402: 1, 400: 1, 200: 2})
        assert len([one for one in told if "refuse requests with a nonce" in str(one.message)]) <= 1
        assert net.verdict(receipts).clean


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("relayed", [False, True])
def test_sealed_refusal_costs_nothing(relayed: bool, stream: bool) -> None:
    """The 400 stands inside of the sealed answer; it is read there, and the call goes out again without the nonce."""
    old = dataclasses.replace(GENERATIONS["newest"], takes_nonce=False)
    with Devnet(generation=old) as net, warnings.catch_warnings(record=True), collect_receipts() as receipts:
        warnings.simplefilter("always")
        wallet: dict[str, Any] = {"private_key": net.private_key}
        relay: dict[str, Any] = {"relay_url": net.relay_url, "relay_token": net.relay_token}
        options = relay if relayed else wallet
        with Client(network=net.network, channel="ohttp", nonce="auto", **options) as client:
            for text in ("one", "two"):
                if stream:
                    list(client.stream(MODEL, user(text)))
                else:
                    client.chat(MODEL, user(text))
        told = [(receipt["status"], receipt["nonce"], receipt["channel"]) for receipt in receipts]
        assert told == [("verified", None, "sealed")] * 2
        assert net.stats().charges == 2
        assert net.verdict(receipts).clean, str(net.verdict(receipts))


def test_refusal_in_clear_takes_no_nonce_away() -> None:
    """Anybody on the way could write it, and would have calls without a nonce from then on."""
    old = dataclasses.replace(GENERATIONS["search"], takes_nonce=False)
    with Devnet(generation=old) as net:
        relay: dict[str, Any] = {"relay_url": net.relay_url, "relay_token": net.relay_token}
        with Client(network=net.network, channel="ohttp", nonce="auto", **relay) as client:
            for text in ("one", "two"):
                with pytest.raises(SealedChannelError, match="answered HTTP 400 in clear"):
                    client.chat(MODEL, user(text))
        assert net.stats().charges == 0


def test_sealed_refusal_of_something_else() -> None:
    """It is told as what it is, and the nonce is not doubted."""
    with Devnet(generation="newest") as newest:
        sealed: dict[str, Any] = {"channel": "ohttp", "private_key": newest.private_key, "nonce": "auto"}
        with Client(network=newest.network, **sealed) as client:
            with pytest.raises(GatewayError, match="is not supported"):
                client.chat("openai/no-such-model", user("hi"))
            assert client.chat(MODEL, user("hi")).receipt["nonce"] is not None


@pytest.mark.parametrize("channel", ["pinned", "ohttp"])
def test_search_carries_it(channel: Literal["pinned", "ohttp"]) -> None:
    """Its whole body is hashed, so that the nonce is a member of its own; the saved file is judged with it."""
    with (
        Devnet(generation="newest") as net,
        Client(
            private_key=net.private_key,
            network=net.network,
            nonce="require",
            channel=channel,
            enclave_policy=net.enclave_policy(),
        ) as client,
        collect_receipts(keep_exchanges=True) as receipts,
    ):
        first, second = (client.web_search("opg price").receipt for _ in range(2))
        assert (first["status"], first["kind"]) == ("verified", "search")
        assert first["request_hash"] != second["request_hash"]
        (detail,) = [check["detail"] for check in first["checks"] if check["id"] == "freshness"]
        assert detail.endswith("and answers this call's nonce")
        exchange = receipts.exchanges[0]
        assert exchange is not None
        assert json.loads(exchange["request"])["og_nonce"] == first["nonce"]
        assert net.verdict(receipts).clean, str(net.verdict(receipts))


def test_gateway_that_refuses_what_is_required() -> None:
    old = dataclasses.replace(GENERATIONS["april"], takes_nonce=False)
    with (
        Devnet(generation=old) as net,
        Client(private_key=net.private_key, network=net.network, nonce="require") as client,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        with pytest.raises(InvalidRequestError, match="refuse requests with a nonce, which nonce='require' asks for"):
            client.chat(MODEL, user("one"))
        assert net.stats().charges == 0


def test_refusal_of_something_else_is_no_refusal_of_the_nonce(net: Devnet, make_client: Callable[..., Client]) -> None:
    client = make_client(nonce="auto")
    with pytest.raises(GatewayError, match="is not supported"):
        client.chat("openai/no-such-model", user("hi"))
    assert net.stats().statuses == {402: 1, 400: 1}
    assert client.chat(MODEL, user("hi")).receipt["nonce"] is not None


def test_unknown_word() -> None:
    with pytest.raises(ConfigurationError, match="nonce is 'always', expected one of auto, require, off"):
        Client(network="devnet", nonce="always")  # type: ignore[arg-type]
