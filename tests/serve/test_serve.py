"""Any client of OpenAI's API, over HTTP: budgets per key hold, nothing leaks between keys, answers are proven."""

import asyncio
import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from og_integrations.devnet import Devnet
from tests.serve.conftest import Served, new_key, served
from tests.sizes import sized

MODEL = "openai/gpt-4.1"
ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def callers(keys: Path) -> dict[str, str]:
    return {"alice": new_key(keys, "alice"), "poor": new_key(keys, "poor", "--limit", "0.01")}


@pytest.fixture(scope="module")
def server(net: Devnet, keys: Path, callers: dict[str, str]) -> Iterator[Served]:
    with served(net, "--keys", str(keys), "--total", "20") as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_openai_client_has_verified_answers_and_receipts(server: Served, callers: dict[str, str]) -> None:
    with openai.OpenAI(base_url=server.url, api_key=callers["alice"]) as client:
        raw = client.chat.completions.with_raw_response.create(**ASKED)  # type: ignore[call-overload]
        completion = raw.parse()
        header = json.loads(base64.urlsafe_b64decode(raw.headers["OpenGradient-Receipt"]))
        assert completion.choices[0].message.content
        assert completion.model_extra["opengradient"] == header
        assert header["status"] == "verified"
        chunks = list(client.chat.completions.create(**ASKED, stream=True))  # type: ignore[call-overload]
        told = [(chunk.model_extra or {}).get("opengradient") for chunk in chunks]
        assert [receipt["status"] for receipt in told if receipt] == ["verified"]
        assert client.completions.create(model=MODEL, prompt="Once").choices[0].text
        assert MODEL in {model.id for model in client.models.list()}


def test_key_that_was_spent_says_so_and_the_others_go_on(server: Served, callers: dict[str, str], net: Devnet) -> None:
    before = net.stats().payments
    with (
        openai.OpenAI(base_url=server.url, api_key=callers["poor"], max_retries=5) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(**ASKED)  # type: ignore[call-overload]
    assert caught.value.status_code == 402
    assert "BudgetExceededError" in json.dumps(caught.value.body)
    assert net.stats().payments == before
    with openai.OpenAI(base_url=server.url, api_key=callers["alice"]) as client:
        assert client.chat.completions.create(**ASKED).choices  # type: ignore[call-overload]


@pytest.mark.parametrize("key", ["og-wrong", "Basic x", "ключ"])
def test_wrong_key_is_refused_and_told_nothing(server: Served, net: Devnet, key: str) -> None:
    before = net.stats().requests
    for method, path in (("POST", "/chat/completions"), ("GET", "/models"), ("GET", f"/models/{MODEL}")):
        headers = {"Authorization": f"Bearer {key}".encode()}
        reply = httpx.request(method, server.url + path, headers=headers, json=ASKED)  # type: ignore[arg-type]
        assert (reply.status_code, reply.json()["error"]["type"]) == (401, "invalid_api_key")
    assert net.stats().requests == before


def test_body_that_is_too_large_is_refused_before_it_is_read_whole(server: Served, callers: dict[str, str]) -> None:
    body = b'{"model": "' + b"x" * (33 * 1024 * 1024) + b'"}'
    reply = httpx.post(f"{server.url}/chat/completions", headers=bearer(callers["alice"]), content=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": 5}', b"\xff", b'{"model": "openai/gpt-4.1"}'])
def test_body_that_is_no_request_is_refused_unpaid(server: Served, callers: dict[str, str], body: bytes) -> None:
    reply = httpx.post(f"{server.url}/chat/completions", headers=bearer(callers["alice"]), content=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "InvalidRequestError")


def test_other_endpoints_are_said_to_be_missing(server: Served, callers: dict[str, str]) -> None:
    reply = httpx.post(f"{server.url}/embeddings", headers=bearer(callers["alice"]), json={})
    assert reply.status_code == 404
    assert "POST /v1/chat/completions" in reply.json()["error"]["message"]


@sized("streams", small=16, full=64)
def test_crowd_of_streams_in_which_some_leave_is_answered(
    server: Served, callers: dict[str, str], net: Devnet, streams: int
) -> None:
    before = net.stats().charges

    async def stream(client: httpx.AsyncClient, number: int) -> bool:
        asked = {**ASKED, "stream": True, "messages": [{"role": "user", "content": f"[[tokens=9 delay=20]] {number}"}]}
        async with client.stream("POST", "/chat/completions", json=asked) as reply:
            async for line in reply.aiter_lines():
                if number % 4 == 3 and line:
                    return True  # leaves after the first piece
                if line == "data: [DONE]":
                    return True
        return False

    async def crowd() -> list[bool]:
        headers = bearer(callers["alice"])
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
            return await asyncio.gather(*(stream(client, number) for number in range(streams)))

    assert all(asyncio.run(crowd()))
    assert net.stats().charges - before >= streams * 3 // 4
    assert net.verdict().clean


def test_only_this_machine_is_listened_to(server: Served) -> None:
    port = int(server.url.rsplit(":", 1)[1].split("/")[0])
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        with socket.socket() as sock:
            sock.settimeout(2)
            assert sock.connect_ex((str(address), port)) != 0


def test_file_of_keys_holds_no_key(keys: Path, callers: dict[str, str], server: Served) -> None:
    assert server.url
    text = keys.read_text()
    assert all(key not in text for key in callers.values())
    assert keys.stat().st_mode & 0o077 == 0


def test_server_without_a_file_shows_the_key_of_this_run(net: Devnet) -> None:
    with served(net) as running:
        reply = httpx.get(f"{running.url}/models", headers=bearer(running.key))
        assert reply.status_code == 200


def test_server_with_pinned_builds_asks_no_invented_enclave(tmp_path: Path) -> None:
    """The operator pins them for all callers; what a lying node invents sees no prompt of theirs."""
    pinned = tmp_path / "builds.json"
    with Devnet() as net:
        builds = [dict(zip(("PCR0", "PCR1", "PCR2"), enclave.build, strict=True)) for enclave in net.enclaves]
        pinned.write_text(json.dumps(builds))
        flags = ("--measurements", str(pinned), "--root-sha256", net.authority.root_sha256)
        with (
            served(net, *flags) as running,
            openai.OpenAI(base_url=running.url, api_key=running.key, max_retries=0) as client,
        ):
            completion = client.chat.completions.create(**ASKED)  # type: ignore[call-overload]
            assert completion.model_extra["opengradient"]["trust"] == "measured"
        mark = len(net.journal.exchanges)
        net.inject("lying_node")
        with (
            served(net, *flags) as running,
            openai.OpenAI(base_url=running.url, api_key=running.key, max_retries=0) as client,
            pytest.raises(openai.APIStatusError) as caught,
        ):
            client.chat.completions.create(**ASKED)  # type: ignore[call-overload]
        assert "AttestationError" in json.dumps(caught.value.body)
        assert len(net.journal.exchanges) == mark
