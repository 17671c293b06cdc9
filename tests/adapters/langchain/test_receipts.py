"""The receipt reaches the user on every path, whole and once."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessageChunk, HumanMessage

from og_integrations.client import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient
from og_integrations.receipt import RECEIPT_KEY, Receipt, flat_fields
from tests.adapters.langchain.ways_to_ask import WAYS, get_weather, summed

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")
ways = pytest.mark.parametrize("way", WAYS)
MakeModel = Callable[..., ChatOpenGradient]


@ways
@pytest.mark.parametrize("output_version", ["v0", "v1"])
def test_receipt_is_in_response_metadata(make_model: MakeModel, way: str, output_version: str) -> None:
    with collect_receipts() as collected:
        message = WAYS[way](make_model(output_version=output_version), "[[tokens=5]]")
    metadata = message.response_metadata
    assert message.text == "tok0 tok1 tok2 tok3 tok4"
    assert metadata[RECEIPT_KEY] == collected[0]
    assert collected.verified
    flat = flat_fields(collected[0])
    assert {key: metadata[key] for key in flat} == flat
    assert "0x" + Receipt.of(message).authorization.digest().hex() == metadata["payment_hash"]
    assert (metadata["model_name"], metadata["finish_reason"]) == ("openai/gpt-5-mini", "stop")
    assert metadata["model_provider"] == "opengradient"
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == 5


@ways
@pytest.mark.parametrize("output_version", ["v0", "v1"])
def test_tool_call_comes_whole_with_its_receipt(make_model: MakeModel, way: str, output_version: str) -> None:
    model = make_model(output_version=output_version).bind_tools([get_weather])
    if "v3" in way:
        pytest.importorskip("langchain_core.language_models.chat_model_stream")
    message = WAYS[way](model, '[[with_text]] use tool get_weather {"city": "Oslo"}')
    (call,) = message.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Oslo"})
    assert [block["type"] for block in message.content_blocks] == ["text", "tool_call"]
    assert message.text == "Let me call a tool. "
    assert message.response_metadata[RECEIPT_KEY]["status"] == "verified"
    assert "content" in message.response_metadata[RECEIPT_KEY]["unsigned"]


def test_only_last_chunk_of_stream_carries_receipt(model: ChatOpenGradient) -> None:
    """LangChain adds chunks up: a receipt on two of them would be none."""
    bound = model.bind_tools([get_weather])
    chunks: list[Any] = list(bound.stream('[[with_text]] use tool get_weather {"city": "Oslo"}'))
    *others, last = chunks
    assert [RECEIPT_KEY in chunk.response_metadata for chunk in others] == [False] * len(others)
    assert (last.chunk_position, last.content, last.tool_call_chunks) == ("last", "", [])
    assert RECEIPT_KEY in last.response_metadata
    assert [bool(chunk.usage_metadata) for chunk in others] == [False] * len(others)


def test_stream_usage_can_be_left_out(make_model: MakeModel) -> None:
    assert summed(list(make_model(stream_usage=False).stream("hi"))).usage_metadata is None
    assert summed(list(make_model().stream("hi", stream_usage=False))).usage_metadata is None


def test_message_ids_differ(model: ChatOpenGradient) -> None:
    """LangGraph replaces a message by another of the same id."""
    messages = [model.invoke("hi"), model.invoke("hi"), *(summed(list(model.stream("hi"))) for _ in range(2))]
    assert len({message.id for message in messages}) == 4


def test_individual_settlement_brings_transaction_hash(make_model: MakeModel) -> None:
    for message in (
        make_model(settlement_mode="individual").invoke("hi"),
        make_model().invoke("hi", settlement_mode="individual"),
        summed(list(make_model(x402_settlement_mode="SETTLE_METADATA").stream("hi"))),
    ):
        assert message.response_metadata["transaction_hash"].startswith("0x")


def test_generate_sums_token_usage(model: ChatOpenGradient) -> None:
    result = model.generate([[HumanMessage("one")], [HumanMessage("two")]])
    usages = [generation[0].message.usage_metadata for generation in result.generations]  # type: ignore[union-attr]
    assert result.llm_output is not None
    assert result.llm_output["token_usage"]["total_tokens"] == sum(usage["total_tokens"] for usage in usages)


def test_generate_sums_costs_as_what_they_are(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate is named as one; token counts are where LangChain's own callback finds them."""
    monkeypatch.setenv("OG_OPG_PRICE_USD", "0.05")
    model = make_model(model="openai/gpt-4.1")
    with collect_receipts() as receipts, get_usage_metadata_callback() as usage:
        result = model.generate([[HumanMessage("one")], [HumanMessage("two")]])
    counts = (result.llm_output or {})["token_usage"]
    assert counts["estimated_cost_opg"] == receipts.totals().estimated == model.spent().estimated > 0
    assert "reported_cost_opg" not in counts
    (counted,) = usage.usage_metadata.values()
    assert counted["total_tokens"] == counts["total_tokens"]


def test_closed_stream_leaves_unverified_receipt(model: ChatOpenGradient) -> None:
    with collect_receipts() as receipts:
        stream = model.stream("[[tokens=50]]")
        assert isinstance(next(stream), AIMessageChunk)
        stream.close()  # type: ignore[attr-defined]
    assert [receipt["status"] for receipt in receipts] == ["unverified"]


def test_model_of_one_call_is_asked_and_named(net: Devnet, model: ChatOpenGradient) -> None:
    message = model.invoke("hi", model="anthropic/claude-haiku-4-5")
    assert message.response_metadata["model_name"] == "anthropic/claude-haiku-4-5"
    assert message.response_metadata[RECEIPT_KEY]["model"] == "anthropic/claude-haiku-4-5"


@ways
def test_stop_sequence_is_cut(make_model: MakeModel, way: str) -> None:
    message = WAYS[way](make_model(stop="tok3"), "[[tokens=12]]")
    assert message.text == "tok0 tok1 tok2 "
    assert message.response_metadata[RECEIPT_KEY]["presentation"] == {"kind": "cut_at_stop", "stop": "tok3"}
