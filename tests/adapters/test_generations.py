"""Both adapters on every generation of gateways: verified, or refused with the named error, and paid as reported."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock

from og_integrations import OpenGradientError, Receipt, _warnings, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet._generations import GENERATIONS, Moderation
from og_integrations.devnet.model._script import DRAWN_IMAGE
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM

MODEL = "openai/gpt-5.2"
PICTURE = DRAWN_IMAGE.partition(",")[2]
Asked = tuple[str, Receipt]


def _langchain(net: Devnet) -> ChatOpenGradient:
    return ChatOpenGradient(model=MODEL, network=net.network, private_key=net.private_key)


def _human(text: str) -> list[Any]:
    if text != "picture":
        return [HumanMessage(text)]
    blocks: list[Any] = [{"type": "text", "text": "What is it?"}]
    return [HumanMessage([*blocks, {"type": "image", "base64": PICTURE, "mime_type": "image/png"}])]


def _user(text: str) -> list[ChatMessage]:
    if text != "picture":
        return [ChatMessage(role="user", content=text)]
    return [ChatMessage(role="user", blocks=[TextBlock(text="What is it?"), ImageBlock(url=DRAWN_IMAGE)])]


def by_invoke(net: Devnet, text: str) -> Asked:
    message = _langchain(net).invoke(_human(text))
    return message.text, Receipt.of(message)


def by_ainvoke(net: Devnet, text: str) -> Asked:
    message = asyncio.run(_langchain(net).ainvoke(_human(text)))
    return message.text, Receipt.of(message)


def by_stream(net: Devnet, text: str) -> Asked:
    first, *more = _langchain(net).stream(_human(text))
    whole = sum(more, first)
    assert isinstance(whole, AIMessageChunk)
    return whole.text, Receipt.of(whole)


def by_llama_chat(net: Devnet, text: str) -> Asked:
    response = OpenGradientLLM(MODEL, network=net.network, private_key=net.private_key).chat(_user(text))
    return str(response.message.content), Receipt.of(response)


def by_llama_achat(net: Devnet, text: str) -> Asked:
    llm = OpenGradientLLM(MODEL, network=net.network, private_key=net.private_key)
    response = asyncio.run(llm.achat(_user(text)))
    return str(response.message.content), Receipt.of(response)


def by_llama_stream(net: Devnet, text: str) -> Asked:
    llm = OpenGradientLLM(MODEL, network=net.network, private_key=net.private_key)
    *_, last = llm.stream_chat(_user(text))
    return str(last.message.content), Receipt.of(last)


WAYS: dict[str, Callable[[Devnet, str], Asked]] = {
    "invoke": by_invoke,
    "ainvoke": by_ainvoke,
    "stream": by_stream,
    "chat": by_llama_chat,
    "achat": by_llama_achat,
    "stream_chat": by_llama_stream,
}
REFUSED: dict[str, Callable[[str], str | None]] = {
    "hi": lambda generation: None,
    "[[image]] draw": lambda generation: None,
    "picture": lambda generation: "InvalidRequestError" if generation == "april" else None,
    "[[status=429]]": lambda generation: "GatewayError",
    "[[blocked]]": lambda generation: (
        "ContentRefusedError" if GENERATIONS[generation].moderation is Moderation.NEWEST_TURN else None
    ),
}
"""What is asked -> the error that a generation has for it, a class of `og_integrations.errors`; None: an answer."""


def _cells() -> list[Any]:
    """Return every cell of the table; those off the diagonal are heavy."""
    cells = []
    for row, text in enumerate(REFUSED):
        for column, generation in enumerate(GENERATIONS):
            for number, way in enumerate(WAYS):
                marks = () if (row + column) % len(WAYS) == number else (pytest.mark.heavy,)
                cells.append(pytest.param(text, generation, way, marks=marks, id=f"{text}-{generation}-{way}"))
    return cells


@pytest.mark.parametrize(("text", "generation", "way"), _cells())
def test_adapter_answers_or_says_why_not(text: str, generation: str, way: str) -> None:
    expected = REFUSED[text](generation)
    with Devnet(generation=generation) as net, collect_receipts() as receipts:
        try:
            said, receipt = WAYS[way](net, text)
        except OpenGradientError as exc:
            names = [kind.__name__ for kind in type(exc).__mro__ if kind.__module__ == "og_integrations.errors"]
        else:
            names = []
            assert receipt.verified
            assert (receipt.cost is None) == (not net.generation.newer)
            assert ("image_url" in said) == (text == "picture" and net.generation.attachments)
            assert ("images" in receipt.unsigned) == (text.startswith("[[image") and net.generation.newer)
        assert expected in names or (expected is None and not names)
        paid = {receipt["payment"]["payment_hash"] for receipt in receipts if receipt["payment"]}
        assert len(paid) == net.stats().payments
        assert net.verdict(receipts).clean, str(net.verdict(receipts))


@pytest.mark.parametrize("way", ["invoke", "stream_chat"])
def test_lies_about_what_is_not_signed_are_shown_as_such(way: str) -> None:
    with Devnet(generation="newest") as net:
        net.inject("contradictory_cost")
        net.inject("calling_picture")
        _, receipt = WAYS[way](net, "hi")
    assert receipt.cost is not None
    assert receipt.cost.contradiction == "1000 base units at 0.1 USD per OPG are not 5.0 USD"
    assert "which contradicts itself" in dict(receipt.summary())["cost"]
    assert {"images", "opengradient"} <= set(receipt.unsigned)


def test_effort_is_sent_and_said_when_it_was_not_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    for generation, signed in (("effort", True), ("april", False), ("newest", False)):
        monkeypatch.setattr(_warnings, "_warned", set())
        with Devnet(generation=generation) as net:
            options: dict[str, Any] = {"network": net.network, "private_key": net.private_key}
            model = ChatOpenGradient(model="openai/gpt-5.5", reasoning_effort="low", **options)
            llm = OpenGradientLLM("openai/gpt-5.5", reasoning_effort="low", **options)
            if signed:
                receipts = [Receipt.of(model.invoke("hi")), Receipt.of(llm.chat(_user("hi")))]
                assert [receipt.hash_rule for receipt in receipts] == ["reduced+effort"] * 2
            else:
                with pytest.warns(UserWarning, match="did not sign it, and has probably ignored it"):
                    receipts = [Receipt.of(model.invoke("hi")), Receipt.of(llm.chat(_user("hi")))]
            assert all(("reasoning_effort" in receipt.unsigned) is not signed for receipt in receipts)


def test_citations_and_searches_are_handed_on() -> None:
    with Devnet(generation="search") as net:
        model = ChatOpenGradient(
            model=MODEL, model_kwargs={"web_search": True}, network=net.network, private_key=net.private_key
        )
        first, *more = model.stream("opg price")
        whole = sum(more, first)
        metadata = whole.response_metadata
        assert metadata["citations"][0]["url"].startswith("http")
        assert metadata["searches"] == ["opg price"]
        assert {"citations", "searches"} <= set(Receipt.of(whole).unsigned)
        assert whole.text  # status frames are no text
