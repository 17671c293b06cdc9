"""A user's client behind a proxy: pinned through its tunnel, or nothing of the prompt leaves."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from og_integrations.client import AsyncClient, Client
from og_integrations.devnet import Devnet
from og_integrations.errors import CertificateMismatchError
from tests.client.proxies import KINDS, proxying
from tests.client.ways_to_ask import MODEL, user

libraries = pytest.mark.parametrize("library", [httpx, httpx2])
kinds = pytest.mark.parametrize("kind", KINDS)


def _proxy(library: Any, url: str, authority: Path) -> Any:
    return library.Proxy(url, ssl_context=ssl.create_default_context(cafile=authority) if "https" in url else None)


@libraries
@kinds
def test_pinned_client_works_through_a_proxy(
    net: Devnet, make_client: Callable[..., Client], tmp_path: Path, kind: str, library: Any
) -> None:
    """Also one that itself speaks TLS: its handshake is none with the enclave."""
    with proxying(kind, tmp_path) as (url, authority, asked):

        def make(context: ssl.SSLContext | None) -> Any:
            if context is None:
                return library.Client()
            return library.Client(verify=context, proxy=_proxy(library, url, authority))

        client = make_client(http_client=make)
        receipts = [client.chat(MODEL, user(text)).receipt for text in ("one", "two")]
        client.close()
    assert [receipt["status"] for receipt in receipts] == ["verified"] * 2
    assert {f"https://{host}:{port}" for host, port in asked} == {net.enclaves[0].endpoint}


@libraries
@kinds
async def test_pinned_async_client_works_through_a_proxy(
    net: Devnet, make_async_client: Callable[..., AsyncClient], tmp_path: Path, kind: str, library: Any
) -> None:
    with proxying(kind, tmp_path) as (url, authority, asked):

        def make(context: ssl.SSLContext | None) -> Any:
            if context is None:
                return library.AsyncClient()
            return library.AsyncClient(verify=context, proxy=_proxy(library, url, authority))

        async with make_async_client(http_client=make) as client:
            assert (await client.chat(MODEL, user("hi"))).receipt["status"] == "verified"
    assert asked


@libraries
@kinds
def test_man_in_the_middle_behind_a_proxy_sees_no_byte(
    net: Devnet, make_client: Callable[..., Client], tmp_path: Path, kind: str, library: Any
) -> None:
    """An unpinned client through a tunnel that ends elsewhere: it is left before the request leaves."""
    with Devnet() as middle, proxying(kind, tmp_path, to=middle.enclaves[0].endpoint) as (url, authority, asked):

        def make(context: ssl.SSLContext | None) -> Any:
            if context is None:
                return library.Client()
            return library.Client(verify=False, proxy=_proxy(library, url, authority))

        client = make_client(http_client=make, max_retries=0)
        with pytest.raises(CertificateMismatchError, match="Nothing was sent: make it with the ssl_context"):
            client.chat(MODEL, user("secret"))
        client.close()
        assert middle.stats().requests == 0
    assert asked


@libraries
@kinds
async def test_man_in_the_middle_of_an_async_client_sees_no_byte(
    net: Devnet, make_async_client: Callable[..., AsyncClient], tmp_path: Path, kind: str, library: Any
) -> None:
    with Devnet() as middle, proxying(kind, tmp_path, to=middle.enclaves[0].endpoint) as (url, authority, asked):

        def make(context: ssl.SSLContext | None) -> Any:
            if context is None:
                return library.AsyncClient()
            return library.AsyncClient(verify=False, proxy=_proxy(library, url, authority))

        async with make_async_client(http_client=make, max_retries=0) as client:
            with pytest.raises(CertificateMismatchError, match="Nothing was sent"):
                await client.chat(MODEL, user("secret"))
        assert middle.stats().requests == 0
    assert asked


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_proxy_of_the_environment_is_no_way_around(
    net: Devnet,
    make_client: Callable[..., Client],
    tmp_path: Path,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A user's client reads it; our own connections do not."""
    monkeypatch.setenv("NO_PROXY", "")
    with Devnet() as middle, proxying("http", tmp_path, to=middle.enclaves[0].endpoint) as (url, _, asked):
        monkeypatch.setenv(variable, url)
        assert make_client().chat(MODEL, user("hi")).receipt["status"] == "verified"
        assert asked == []

        def make(context: ssl.SSLContext | None) -> httpx.Client:
            return httpx.Client(trust_env=False) if context is None else httpx.Client(verify=False)

        client = make_client(http_client=make, max_retries=0)
        with pytest.raises(CertificateMismatchError, match="Nothing was sent"):
            client.chat(MODEL, user("secret"))
        client.close()
        assert middle.stats().requests == 0
    assert asked
