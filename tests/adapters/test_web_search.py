"""The web search of newer gateways: as a method, and as a tool of both frameworks."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from og_integrations import Receipt, collect_receipts, errors
from og_integrations.client import AsyncClient, Client
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient, OpenGradientWebSearch
from og_integrations.langchain import errors as model_errors
from og_integrations.llama_index import OpenGradientLLM, web_search_tool
from og_integrations.protocol.chat._answers import parse_completion
from og_integrations.protocol.chat._wire import SEARCH_PATH
from og_integrations.verify import Verifier


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet(generation="search") as devnet:
        yield devnet


def options(net: Devnet) -> dict[str, Any]:
    return {"network": net.network, "private_key": net.private_key}


def test_search_is_verified_and_its_citations_stand_in_the_signed_text(net: Devnet) -> None:
    with Client(**options(net)) as client, collect_receipts(keep_exchanges=True) as receipts:
        answer = client.web_search("  opg price ", num_results=2, recency_days=30)
        assert client.chat("openai/gpt-5.2", [{"role": "user", "content": "hi"}]).receipt["status"] == "verified"
    receipt = Receipt.of(answer)
    assert (receipt.kind, receipt.status, receipt.model) == ("search", "verified", None)
    assert answer.searches == ("opg price",)
    assert len(answer.citations) == 2
    assert all(citation["url"] in answer.text for citation in answer.citations)
    assert {"citations", "searches", "opengradient"} <= set(receipt.unsigned)
    assert receipt.cost is not None
    assert receipt.cost.base_units == 150_000_000_000_000_000
    assert net.stats().payments == 2  # a route of its own has a session of its own
    saved = {"receipt": receipts[0], "exchange": receipts.exchanges[0]}
    judge = Verifier.unsafe_file_key()
    assert judge.verify(json.dumps(saved).encode()).status == "verified"
    altered = saved | {"receipt": receipts[0] | {"kind": "chat"}}
    assert judge.verify(json.dumps(altered).encode()).step == "receipt"
    assert net.verdict(receipts).clean, str(net.verdict(receipts))


def test_async_search(net: Devnet) -> None:
    async def ask() -> str:
        async with AsyncClient(**options(net)) as client:
            return str((await client.web_search("opg")).receipt["status"])

    assert asyncio.run(ask()) == "verified"


@pytest.mark.parametrize(
    "wrong", [{"query": " "}, {"query": "x", "num_results": 11}, {"query": "x", "recency_days": -1}], ids=str
)
def test_what_the_gateway_would_bend_costs_nothing(net: Devnet, wrong: dict[str, Any]) -> None:
    with Client(**options(net)) as client, pytest.raises(errors.InvalidRequestError, match="expected"):
        client.web_search(**wrong)
    assert net.stats().requests == 0


def test_gateways_without_it_say_so_unpaid() -> None:
    with Devnet() as april, Client(**options(april)) as client:
        with pytest.raises(errors.GatewayError, match=r"404.*does not have the endpoint"):
            client.web_search("opg")
        assert april.stats().payments == 0


def test_answer_to_another_query_is_refused() -> None:
    reply = b'{"content": "a", "query": "b", "citations": [{"url": "http://x"}, {"title": "none"}, 5]}'
    completion = parse_completion(SEARCH_PATH, reply)
    assert (completion.searches, completion.citations) == (("b",), ({"url": "http://x"},))


def test_langchain_tool_has_the_receipt_in_its_artifact(net: Devnet) -> None:
    search = OpenGradientWebSearch(model=ChatOpenGradient(model="openai/gpt-5.2", **options(net)), num_results=1)
    called = {"name": search.name, "args": {"query": "opg"}, "id": "1", "type": "tool_call"}
    for message in (search.invoke(called), asyncio.run(search.ainvoke(called))):
        assert message.artifact["citations"][0]["url"] in message.content
        assert Receipt.of(message.artifact).verified
    assert list(search.tool_call_schema.model_json_schema()["properties"]) == ["query"]  # type: ignore[union-attr]


def test_langchain_tool_raises_doubles() -> None:
    with Devnet() as april:
        search = OpenGradientWebSearch(model=ChatOpenGradient(model="openai/gpt-5.2", **options(april)))
        with pytest.raises(model_errors.UnknownModelError, match="404"):
            search.invoke({"query": "opg"})


def test_llama_index_tool_has_the_receipt_in_its_output(net: Devnet) -> None:
    search = web_search_tool(OpenGradientLLM("openai/gpt-5.2", **options(net)), num_results=1)
    for output in (search.call(query="opg"), asyncio.run(search.acall(query="opg"))):
        assert output.raw_output["citations"][0]["url"] in output.content
        assert Receipt.of(output.raw_output).verified
