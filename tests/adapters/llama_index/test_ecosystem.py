"""Programs around LlamaIndex: tools of a real MCP server, OpenInference's spans, engines behind FastAPI."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastapi
import httpx
import pytest
from fastapi.responses import StreamingResponse
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from og_integrations.devnet import Answer, ModelCall, Usage
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, audited
from tests.adapters.llama_index.prompt_model import said

SERVER = """
from pydantic import BaseModel
from mcp.server import MCPServer

class Item(BaseModel):
    name: str
    tags: list[str] = []

class Order(BaseModel):
    items: list[Item]

server = MCPServer("shop")

@server.tool()
def order(order: Order, notes: dict[str, str] = {}) -> str:
    "Place an order."
    return f"{len(order.items)} ordered"

@server.tool(name="weather.get-now")
def weather(city: str) -> str:
    "Tell the weather."
    return "sunny in " + city

server.run()
"""
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of these libraries, of each other


def test_tools_of_an_mcp_server(account: Account, tmp_path: Path) -> None:
    """One whose name providers refuse works like the others; schemas arrive with their inner classes."""
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    called = ModelCall("weather_get-now", '{"city": "Oslo"}')
    account.speaker.says = [Answer(calls=(called,), usage=Usage(3, 2, 5)), said("done")]

    async def run(llm: OpenGradientLLM) -> str:
        tools: Any = await McpToolSpec(BasicMCPClient(sys.executable, args=[str(server)])).to_tool_list_async()
        return str(await FunctionAgent(tools=tools, llm=llm, streaming=False).run("go"))

    with account.llm() as llm, audited(account):
        assert asyncio.run(run(llm)) == "done"
    first, second = account.speaker.asked
    assert "sunny in Oslo" in str(second.messages[-1]["content"])
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in first.tools}
    assert schemas.keys() == {"order", "weather_get-now"}
    assert "tags" in json.dumps(schemas["order"])


class Person(BaseModel):
    """A person."""

    name: str


PROMPT = PromptTemplate("Describe someone.")
HI = [ChatMessage(role="user", content="hi")]


async def _read(stream: Any) -> list[Any]:
    return [piece async for piece in await stream]


def _in_pieces(engine: Any) -> object:
    return engine.query("France?").get_response()


WAYS: dict[str, Callable[[OpenGradientLLM, VectorStoreIndex], object]] = {
    "chat": lambda llm, index: llm.chat(HI),
    "acomplete": lambda llm, index: asyncio.run(llm.acomplete("hi")),
    "stream_chat": lambda llm, index: list(llm.stream_chat(HI)),
    "astream_complete": lambda llm, index: asyncio.run(_read(llm.astream_complete("hi"))),
    "structured": lambda llm, index: llm.structured_predict(Person, PROMPT),
    "query": lambda llm, index: index.as_query_engine(llm=llm).query("France?"),
    "query in pieces": lambda llm, index: _in_pieces(index.as_query_engine(llm=llm, streaming=True)),
}


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider, instrumentor = InMemorySpanExporter(), TracerProvider(), LlamaIndexInstrumentor()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()


@pytest.mark.parametrize("way", WAYS)
def test_paid_call_is_one_closed_span_with_its_receipt(
    account: Account, llm: OpenGradientLLM, index: VectorStoreIndex, spans: InMemorySpanExporter, way: str
) -> None:
    with audited(account) as audit:
        WAYS[way](llm, index)
    paid = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    paid = [attributes for attributes in paid if "opengradient.receipt" in attributes]
    receipts = [json.loads(str(attributes["opengradient.receipt"])) for attributes in paid]
    assert [receipt["tee_signature"] for receipt in receipts] == [item["tee_signature"] for item in audit.receipts]
    assert all(attributes["llm.model_name"] and attributes["llm.token_count.total"] for attributes in paid)


def test_engines_behind_fastapi(account: Account, llm: OpenGradientLLM, index: VectorStoreIndex) -> None:
    """Routes of both kinds, in threads and on two loops, whole and in pieces, share one authorization."""
    app = fastapi.FastAPI()

    @app.get("/whole")
    async def whole() -> str:
        return str(await index.as_query_engine(llm=llm).aquery("France?"))

    @app.get("/thread")
    def in_a_thread() -> str:
        return str(index.as_query_engine(llm=llm).query("France?"))

    @app.get("/pieces")
    async def in_pieces() -> StreamingResponse:
        response: Any = await index.as_query_engine(llm=llm, streaming=True).aquery("France?")
        return StreamingResponse(response.async_response_gen(), media_type="text/plain")

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as browser:
            return await asyncio.gather(*(browser.get(path) for path in ("/whole", "/thread", "/pieces") * 3))

    answers = [answer for _ in range(2) for answer in asyncio.run(ask())]
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.text for answer in answers)
    assert len(account.authorizations()) == 1
