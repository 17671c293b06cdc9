"""A user's own HTTP client: pinned like ours, or nothing of it is believed; and the headers of one's own."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import httpx2
import pytest

from og_integrations.client import AsyncClient, Client, collect_receipts
from og_integrations.client.chain._jsonrpc import Reader, read_block
from og_integrations.devnet import Devnet
from og_integrations.errors import (
    CertificateMismatchError,
    ConfigurationError,
    ConnectionLostError,
    DiscoveryError,
    GatewayError,
    PaymentInDoubtError,
    ReadTimeoutError,
)
from og_integrations.langchain.errors import as_model_error
from tests.client.conftest import MODEL
from tests.client.ways_to_ask import user


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    """httpx, and its successor, which langsmith brings along."""
    return request.param


def trusting(_context: Any) -> httpx.Client:
    """As people switch off what is in their way."""
    return httpx.Client(verify=False)


def test_client_that_is_pinned_is_as_good_as_ours(
    net: Devnet, make_client: Callable[..., Client], library: Any
) -> None:
    client = make_client(http_client=lambda context: library.Client(verify=context or True))
    assert client.chat(MODEL, user("hi")).receipt["status"] == "verified"
    *_, answer = client.stream(MODEL, user("[[tokens=5]]"))
    assert not isinstance(answer, str)
    assert answer.receipt["status"] == "verified"
    assert net.verdict().clean


async def test_async_client_that_is_pinned_is_as_good_as_ours(
    net: Devnet, make_async_client: Callable[..., AsyncClient], library: Any
) -> None:
    client = make_async_client(http_client=lambda context: library.AsyncClient(verify=context or True))
    assert (await client.chat(MODEL, user("hi"))).receipt["status"] == "verified"
    *_, answer = [item async for item in client.stream(MODEL, user("[[tokens=5]]"))]
    assert not isinstance(answer, str)
    assert answer.receipt["status"] == "verified"
    assert net.verdict().clean


@pytest.mark.parametrize(
    ("fault", "error"),
    [("stall_after_payment", ReadTimeoutError), ("cut_head", PaymentInDoubtError), ("cut_body", PaymentInDoubtError)],
)
def test_failures_of_a_users_client_are_errors_of_ours(
    net: Devnet, make_client: Callable[..., Client], library: Any, fault: str, error: type[Exception]
) -> None:
    client = make_client(http_client=lambda context: library.Client(verify=context or True), timeout=1, max_retries=0)
    net.inject(fault)
    with pytest.raises(error):
        client.chat(MODEL, user("hi"))


def test_users_client_without_a_server_is_an_error_of_ours(make_client: Callable[..., Client], library: Any) -> None:
    client = make_client(http_client=library.Client(), gateway_url="http://127.0.0.1:9")
    with pytest.raises(DiscoveryError, match="nothing was sent"):
        client.chat(MODEL, user("hi"))


@pytest.mark.parametrize("made", [httpx.AsyncClient, object])
def test_client_of_another_kind_says_what_is_expected(
    net: Devnet, make_client: Callable[..., Client], made: Callable[[], Any]
) -> None:
    with pytest.raises(ConfigurationError, match=r"expected httpx\.Client or httpx2\.Client\. Nothing was sent"):
        make_client(http_client=lambda _context: made()).chat(MODEL, user("hi"))
    assert net.stats().requests == 0


def test_client_that_ignores_the_context_is_caught_before_anything_is_sent(
    net: Devnet, make_client: Callable[..., Client], library: Any
) -> None:
    net.inject("wrong_certificate")
    client = make_client(http_client=lambda _context: library.Client(verify=False), max_retries=0)
    with pytest.raises(CertificateMismatchError, match=r"Nothing was sent: make it with the ssl_context"):
        client.chat(MODEL, user("secret"))
    assert net.stats().requests == 0


async def test_async_client_that_ignores_the_context_is_caught_before_anything_is_sent(
    net: Devnet, make_async_client: Callable[..., AsyncClient]
) -> None:
    net.inject("wrong_certificate")
    client = make_async_client(http_client=lambda _context: httpx.AsyncClient(verify=False), max_retries=0)
    with pytest.raises(CertificateMismatchError, match=r"Nothing was sent: make it with the ssl_context"):
        await client.chat(MODEL, user("secret"))
    assert net.stats().requests == 0


def test_client_that_proves_the_same_certificate_is_as_good(net: Devnet, make_client: Callable[..., Client]) -> None:
    """Its TLS trusts everybody, but what it met was the enclave: the handshake has proven that."""
    receipt = make_client(http_client=trusting).chat(MODEL, user("hi")).receipt
    assert {"id": "channel", "result": "pass", "detail": "TLS pinned to the enclave's certificate"} in receipt["checks"]


def test_client_whose_channel_cannot_be_seen_is_not_believed(net: Devnet, make_client: Callable[..., Client]) -> None:
    """A transport of one's own, without a socket to look at."""

    def make(context: Any) -> httpx.Client:
        if context is None:
            return httpx.Client()
        return httpx.Client(transport=httpx.MockTransport(lambda _request: httpx.Response(200, json={})))

    with pytest.raises(ConnectionLostError, match=r"not known to be pinned .* so its answer is not used") as caught:
        make_client(http_client=make).chat(MODEL, user("hi"))
    assert not caught.value.is_retryable
    assert not getattr(as_model_error(caught.value), "is_retryable", None)


def test_client_that_follows_redirects_does_not_here(net: Devnet, make_client: Callable[..., Client]) -> None:
    net.inject("redirect")
    client = make_client(http_client=lambda context: httpx.Client(verify=context or True, follow_redirects=True))
    with pytest.raises((GatewayError, PaymentInDoubtError), match="HTTP 307"):
        client.chat(MODEL, user("hi"))
    assert net.stats().signatures == 1


async def test_async_client_that_proves_the_same_certificate_is_as_good(
    net: Devnet, make_async_client: Callable[..., AsyncClient]
) -> None:
    """And it is closed with ours."""
    made: list[httpx.AsyncClient] = []

    def make(context: Any) -> httpx.AsyncClient:
        made.append(httpx.AsyncClient(verify=False))
        return made[-1]

    async with make_async_client(http_client=make) as client:
        receipt = (await client.chat(MODEL, user("hi"))).receipt
    assert {"id": "channel", "result": "pass", "detail": "TLS pinned to the enclave's certificate"} in receipt["checks"]
    assert [lent.is_closed for lent in made] == [True] * len(made)


async def test_async_client_whose_channel_cannot_be_seen_is_not_believed(
    net: Devnet, make_async_client: Callable[..., AsyncClient]
) -> None:
    def make(context: Any) -> httpx.AsyncClient:
        if context is None:
            return httpx.AsyncClient()
        return httpx.AsyncClient(transport=httpx.MockTransport(lambda _request: httpx.Response(200, json={})))

    with pytest.raises(ConnectionLostError, match=r"not known to be pinned .* so its answer is not used"):
        await make_async_client(http_client=make).chat(MODEL, user("hi"))


async def test_async_client_that_follows_redirects_does_not_here(
    net: Devnet, make_async_client: Callable[..., AsyncClient]
) -> None:
    net.inject("redirect")
    client = make_async_client(
        http_client=lambda context: httpx.AsyncClient(verify=context or True, follow_redirects=True)
    )
    with pytest.raises((GatewayError, PaymentInDoubtError), match="HTTP 307"):
        await client.chat(MODEL, user("hi"))
    assert net.stats().signatures == 1


@pytest.mark.parametrize("fault", ["stall_after_payment", "stall_mid_body"])
async def test_failure_of_a_lent_client_is_an_error_of_ours(
    net: Devnet, make_client: Callable[..., Client], make_async_client: Callable[..., AsyncClient], fault: str
) -> None:
    """Httpx's own would be retried by frameworks: the payment had left."""
    net.inject(fault, times=2)
    with pytest.raises(ReadTimeoutError, match="The payment had left"):
        make_client(http_client=trusting, timeout=0.3).chat(MODEL, user("hi"))
    client = make_async_client(http_client=lambda _context: httpx.AsyncClient(verify=False), timeout=0.3)
    with pytest.raises(ReadTimeoutError, match="The payment had left"):
        await client.chat(MODEL, user("hi"))


def test_client_that_was_closed_is_asked_for_again(net: Devnet, make_client: Callable[..., Client]) -> None:
    made: list[httpx.Client] = []

    def make(context: Any) -> httpx.Client:
        made.append(httpx.Client(verify=context or True))
        return made[-1]

    client = make_client(http_client=make)
    client.chat(MODEL, user("hi"))
    for old in made:
        old.close()
    assert client.chat(MODEL, user("hi")).receipt["status"] == "verified"


def test_ready_client_that_was_closed_says_so() -> None:
    ready = httpx.Client()
    ready.close()
    with Devnet(tls=False) as net:
        url = net.enclaves[0].endpoint
        client = Client(private_key=net.private_key, network=net.network, gateway_url=url, http_client=ready)
        with client, pytest.raises(ConfigurationError, match="http_client that was given is closed"):
            client.chat(MODEL, user("hi"))


def test_ready_client_that_is_closed_later_leaves_no_payment_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent with the next authorization either, and its receipt does not tell of it."""
    with Devnet(tls=False) as net, httpx.Client() as ready, collect_receipts() as receipts:
        url = net.enclaves[0].endpoint
        with Client(private_key=net.private_key, network=net.network, gateway_url=url, http_client=ready) as client:
            client.chat(MODEL, user("hi"))
            ready.close()
            later = int(time.time()) + 86_400  # then the session is over, and the call signs its own payment
            monkeypatch.setattr("og_integrations.client._engine.now", lambda: later)
            with pytest.raises(ConfigurationError, match=r"closed\. Nothing was sent"):
                client.chat(MODEL, user("hi"))
            assert client.spent().in_doubt == 0
    assert [receipt["payment"] is None for receipt in receipts] == [False, True]


@pytest.mark.parametrize(
    "url", ["http://[bad", "http://a..b", "ftp://host", "http://", "http://a\nb", "http://h:99999"]
)
def test_address_that_is_none_is_an_error_of_ours(net: Devnet, url: str) -> None:
    """A setting is refused at once; what is not one, when it is asked."""
    with pytest.raises(ConfigurationError, match="registry_rpc_url is no address of a server"):
        Client(private_key=net.private_key, network=replace(net.network, registry_rpc_url=url))
    with Reader() as reader, pytest.raises(DiscoveryError, match="is no address of a server"):
        reader.run(read_block(url, "latest"))


OURS = [
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Connection",
    "Content-Length",
    "Content-Type",
    "Host",
    "PAYMENT-SIGNATURE",
    "Transfer-Encoding",
    "X-PAYMENT",
    "X-SETTLEMENT-TYPE",
    "X-Upto-Session",
]


@pytest.mark.parametrize(
    "headers",
    [*({name: "x"} for name in OURS), {"x-settlement-type": "x"}, {"X Y": "1"}, {"X": "é"}, {"X": 1}, {1: "x"}],
)
def test_default_header_that_is_ours_or_cannot_be_sent_is_refused(net: Devnet, headers: Any) -> None:
    with pytest.raises(ConfigurationError, match="default_headers"):
        Client(private_key=net.private_key, network=net.network, default_headers=headers)


def test_hook_that_fails_after_the_payment_leaves_it_in_doubt(net: Devnet, make_client: Callable[..., Client]) -> None:
    """A foreign error would look as if nothing had been paid, and whoever repeats it pays twice."""

    def refuse(response: httpx.Response) -> None:
        if response.status_code == 200:
            raise LookupError("a hook of the user's")

    client = make_client(http_client=lambda ctx: httpx.Client(verify=ctx or False, event_hooks={"response": [refuse]}))
    client.engine.directory._hold({one.tee_id: one.entry() for one in net.enclaves}, 0.0)
    client.engine.directory._refresh_at = client.engine.directory._read_at = 1e12
    with pytest.raises(PaymentInDoubtError, match=r"broke \(LookupError\)"):
        client.chat(MODEL, user("hi"))
    assert net.stats().payments == 1


def test_log_of_a_users_client_shows_no_key_of_a_node(
    net: Devnet, make_client: Callable[..., Client], caplog: pytest.LogCaptureFixture, library: Any
) -> None:
    """It logs each URL at INFO, and providers of nodes put keys into path and query; its other requests are its own."""
    caplog.set_level(logging.DEBUG)
    node = net.network.registry_rpc_url
    with library.Client() as own:
        own.get(f"{node}/their/own")
    keyed = replace(net.network, registry_rpc_url=f"{node}/v2/canary-key-51d0?key=canary-key-51d0")
    client = make_client(network=keyed, http_client=lambda context: library.Client(verify=context or True))
    client.chat(MODEL, user("hi"))
    shown = caplog.text + str([vars(record) for record in caplog.records])
    assert "canary-key-51d0" not in shown
    assert f"HTTP Request: POST {node} " in caplog.text
    assert f"{node}/their/own" in caplog.text


async def test_log_of_a_users_async_client_shows_no_key_of_a_node(
    net: Devnet, make_async_client: Callable[..., AsyncClient], caplog: pytest.LogCaptureFixture, library: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    keyed = replace(net.network, registry_rpc_url=f"{net.network.registry_rpc_url}/v2/canary-key-51d0")
    make = make_async_client(network=keyed, http_client=lambda context: library.AsyncClient(verify=context or True))
    async with make as client:
        await client.chat(MODEL, user("hi"))
    assert "canary-key-51d0" not in caplog.text + str([vars(record) for record in caplog.records])
