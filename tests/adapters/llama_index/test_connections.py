"""HTTP clients of the user's own, headers, timeouts, and what is missing when LlamaIndex is."""

import asyncio
import ssl
import subprocess
import sys

import httpx
import pytest

from og_integrations.errors import ConfigurationError, ReadTimeoutError
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, audited


def test_http_clients_of_ones_own(account: Account) -> None:
    """Functions that make clients get the pinned TLS context; both kinds are used."""
    made: list[str] = []

    def sync(context: ssl.SSLContext | None) -> httpx.Client:
        made.append("sync")
        return httpx.Client(verify=context or True)

    def asynchronous(context: ssl.SSLContext | None) -> httpx.AsyncClient:
        made.append("async")
        return httpx.AsyncClient(verify=context or True)

    llm = account.llm(http_client=sync, async_http_client=asynchronous)
    with audited(account):
        llm.complete("a")
        asyncio.run(llm.acomplete("b"))
    assert set(made) == {"sync", "async"}
    llm.close()


def test_ready_http_client_cannot_be_pinned(account: Account) -> None:
    """A ready client is refused where a certificate has to be pinned."""
    with httpx.Client() as client, pytest.raises(ConfigurationError, match="cannot be pinned"):
        account.llm(http_client=client).complete("a")


def test_default_headers(account: Account) -> None:
    """They are sent with every request."""
    seen: list[str | None] = []

    def made(context: ssl.SSLContext | None) -> httpx.Client:
        hooks = {"request": [lambda request: seen.append(request.headers.get("x-mine"))]}
        return httpx.Client(verify=context or True, event_hooks=hooks)

    with account.llm(http_client=made, default_headers={"x-mine": "yes"}) as llm:
        llm.complete("a")
    assert "yes" in seen


def test_timeout(account: Account, llm: OpenGradientLLM) -> None:
    """Per call and per LLM; what was paid for is not asked again."""
    llm.complete("warm")
    with pytest.raises(ReadTimeoutError):
        llm.complete("[[tokens=3 delay=900]]", timeout=0.2)
    slow = account.llm()
    slow.timeout = 0.2
    with pytest.raises(ReadTimeoutError):
        slow.complete("[[tokens=3 delay=900]]")


def test_missing_framework_says_what_to_install() -> None:
    """Without LlamaIndex the import names the extra."""
    code = "import sys; sys.modules['llama_index'] = None; import og_integrations.llama_index"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "og-integrations[llama-index]"' in done.stderr
