"""The eight endpoints: text, usage, the receipt's places, and one event per paid call."""

import asyncio
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse

from og_integrations.errors import InvalidRequestError
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, audited

HELLO = [ChatMessage(role="user", content="hello [[tokens=3]]")]
PROMPT = "hello [[tokens=3]]"
Response = ChatResponse | CompletionResponse


async def drained(stream: Any) -> list[Any]:
    return [item async for item in await stream]


WHOLE = {
    "chat": lambda llm: llm.chat(HELLO),
    "achat": lambda llm: asyncio.run(llm.achat(HELLO)),
    "complete": lambda llm: llm.complete(PROMPT),
    "acomplete": lambda llm: asyncio.run(llm.acomplete(PROMPT)),
    "completions": lambda llm: llm.complete(PROMPT, use_chat_completions=False),
    "acompletions": lambda llm: asyncio.run(llm.acomplete(PROMPT, use_chat_completions=False)),
}
STREAMS = {
    "stream_chat": lambda llm: list(llm.stream_chat(HELLO)),
    "astream_chat": lambda llm: asyncio.run(drained(llm.astream_chat(HELLO))),
    "stream_complete": lambda llm: list(llm.stream_complete(PROMPT)),
    "astream_complete": lambda llm: asyncio.run(drained(llm.astream_complete(PROMPT))),
}


def text_of(response: Response) -> str | None:
    return response.message.content if isinstance(response, ChatResponse) else response.text


def check_receipt(response: Response) -> None:
    receipt = response.additional_kwargs["opengradient"]
    assert receipt["status"] == "verified"
    assert response.raw is not None
    assert response.raw["opengradient"] == receipt
    usage = response.raw["usage"]
    assert usage["total_tokens"] == response.additional_kwargs["total_tokens"] > 0
    if isinstance(response, ChatResponse):
        assert response.message.additional_kwargs == {}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_answer(account: Account, llm: OpenGradientLLM, name: str) -> None:
    """A whole answer carries text, usage and the receipt, and makes one event."""
    with audited(account) as audit:
        response = WHOLE[name](llm)
    assert text_of(response) == "tok0 tok1 tok2"
    check_receipt(response)
    assert len(audit.receipts) == 1


@pytest.mark.parametrize("name", STREAMS)
def test_stream_grows_by_its_deltas(account: Account, llm: OpenGradientLLM, name: str) -> None:
    """A stream grows by its deltas; the receipt is on its last response and on no other."""
    with audited(account) as audit:
        responses = STREAMS[name](llm)
    texts = [text_of(response) for response in responses]
    assert texts == ["tok0 ", "tok0 tok1 ", "tok0 tok1 tok2", "tok0 tok1 tok2"]
    assert [response.delta for response in responses] == ["tok0 ", "tok1 ", "tok2", ""]
    assert all("opengradient" not in response.additional_kwargs for response in responses[:-1])
    check_receipt(responses[-1])
    assert len(audit.receipts) == 1


def test_options_reach_the_wire(account: Account) -> None:
    """Options of the LLM, of `additional_kwargs` and of the call are sent, the nearest one winning."""
    llm = account.llm(temperature=0.5, max_tokens=7, additional_kwargs={"stop": ["tok2"]})
    response = llm.complete("[[tokens=9]]", max_tokens=5, temperature=None)
    assert response.text == "tok0 tok1 "
    assert response.additional_kwargs["opengradient"]["presentation"] == {"kind": "cut_at_stop", "stop": "tok2"}
    assert account.speaker.asked[-1].max_tokens == 5


def test_settlement_mode_per_call(account: Account) -> None:
    """A mode for one call wins over the LLM's, under either of its names."""
    llm = account.llm(settlement_mode="private")
    modes = [
        llm.complete("a").additional_kwargs,
        llm.complete("a", settlement_mode="batch").additional_kwargs,
        llm.complete("a", x402_settlement_mode="SETTLE_BATCH").additional_kwargs,
    ]
    assert [kw["opengradient"]["payment"]["settlement_mode"] for kw in modes] == ["private", "batch", "batch"]


def test_settlement_mode_under_two_names(account: Account) -> None:
    """A call that asks for privacy has it, whatever the name of the default that publishes everything."""
    llm = account.llm(additional_kwargs={"x402_settlement_mode": "individual"})
    receipt = llm.complete("a", settlement_mode="private").additional_kwargs["opengradient"]
    assert receipt["payment"]["settlement_mode"] == "private"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_token": 5}, "Did you mean 'max_tokens'"),
        ({"colour": "red"}, "Expected one of .*temperature"),
    ],
)
@pytest.mark.parametrize("name", ["complete", "stream_complete"])
def test_dead_options_are_refused(account: Account, name: str, options: dict[str, Any], message: str) -> None:
    """What means nothing is refused before anything is paid, by streams at once."""
    with pytest.raises(InvalidRequestError, match=message):
        getattr(account.llm(), name)("hi", **options)
    assert account.authorizations() == []


@pytest.mark.parametrize("name", ["complete", "stream_complete"])
@pytest.mark.parametrize("prompt", [None, 5, [ChatMessage(content="hi")]], ids=["None", "int", "messages"])
def test_prompt_that_is_no_text(account: Account, name: str, prompt: Any) -> None:
    """An empty prompt is not paid for in its place."""
    with pytest.raises(InvalidRequestError, match="expected text"):
        getattr(account.llm(), name)(prompt)
    assert account.authorizations() == []


def test_completions_endpoint_as_setting(account: Account) -> None:
    """`use_chat_completions=False` sends whole completions to /v1/completions; streams stay chats."""
    llm = account.llm(use_chat_completions=False)
    llm.complete("a")
    list(llm.stream_complete("a"))
    paths = [exchange.path for exchange in account.exchanges() if exchange.status == 200]
    assert paths == ["/v1/completions", "/v1/chat/completions"]


def test_completion_to_prompt_is_used(account: Account) -> None:
    """A custom prompt wrapper applies to prompts that are not formatted yet."""
    llm = account.llm(completion_to_prompt=lambda prompt: f"<{prompt}>")
    assert llm.complete("a").text == "You said: <a>"
    assert llm.complete("a", formatted=True).text == "You said: a"


def test_legacy_callbacks(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers of the old kind see each call once, with its tokens; a cost beside them is named as an estimate."""
    from llama_index.core.callbacks import CallbackManager, TokenCountingHandler

    counter = TokenCountingHandler()
    llm = account.llm(callback_manager=CallbackManager([counter]))
    response = llm.chat(HELLO)
    assert counter.total_llm_token_count == response.additional_kwargs["total_tokens"]
    monkeypatch.setenv("OG_OPG_PRICE_USD", "0.05")
    response = llm.chat(HELLO)
    assert response.raw["usage"]["estimated_cost_opg"] == llm.spent().estimated > 0
