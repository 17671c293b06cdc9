"""The openai package's clients, unmodified, on a devnet: every answer is verified and paid once."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from og_integrations import Client, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.openai import OpenGradientTransport, async_openai_client, openai_client
from tests.adapters.openai.conftest import MODEL
from tests.client.ways_to_ask import WEATHER

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletionMessageParam

ASKED: "list[ChatCompletionMessageParam]" = [{"role": "user", "content": "hi"}]


class City(BaseModel):
    name: str
    inhabitants: int


def of_wallet(net: Devnet, **more: Any) -> Any:
    return {"private_key": net.private_key, "network": net.network} | more


def test_answer_is_verified_and_its_receipt_stands_beside_it(net: Devnet, client: "OpenAI") -> None:
    with collect_receipts() as receipts:
        completion = client.chat.completions.create(model=MODEL, messages=ASKED, max_tokens=50)
    assert completion.choices[0].message.content
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0
    assert completion.model == MODEL
    assert completion.model_extra is not None
    assert completion.model_extra["opengradient"] == receipts[0]
    assert receipts[0]["status"] == "verified"
    assert net.stats().payments == 1
    assert net.verdict().clean


def test_stream_shows_text_as_it_comes_and_ends_with_the_receipt(net: Devnet, client: "OpenAI") -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0
    told = [(chunk.model_extra or {}).get("opengradient") for chunk in chunks]
    assert [receipt["status"] for receipt in told if receipt] == ["verified"]
    assert net.verdict().clean


def test_tool_call_and_its_result_make_a_second_turn(net: Devnet, client: "OpenAI") -> None:
    question: ChatCompletionMessageParam = {"role": "user", "content": 'use tool get_weather {"city":"Oslo"}'}
    first = client.chat.completions.create(model=MODEL, messages=[question], tools=[WEATHER]).choices[0]
    assert first.finish_reason == "tool_calls"
    assert first.message.tool_calls is not None
    call = first.message.tool_calls[0]
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    said: Any = first.message.model_dump()
    second = client.chat.completions.create(model=MODEL, messages=[question, said, result], tools=[WEATHER])
    assert second.choices[0].message.content
    assert net.stats().payments == 1  # one session pays for both
    assert net.verdict().clean


def test_streamed_tool_call_comes_whole_and_after_the_proof(net: Devnet, client: "OpenAI") -> None:
    with client.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": 'use tool get_weather {"city":"Bergen"}'}],
        tools=[WEATHER],
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert json.loads(calls[0].function.arguments) == {"city": "Bergen"}


def test_structured_output_is_parsed_by_the_openai_package(client: "OpenAI") -> None:
    completion = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "The capital of Norway?"}], response_format=City
    )
    assert isinstance(completion.choices[0].message.parsed, City)


def test_legacy_completion_and_the_list_of_models(client: "OpenAI") -> None:
    assert client.completions.create(model=MODEL, prompt="Once").choices[0].text
    assert MODEL in {model.id for model in client.models.list()}


def test_asynchronous_calls_at_once_share_one_authorization(net: Devnet) -> None:
    async def ask() -> list[str | None]:
        async with async_openai_client(**of_wallet(net)) as client:
            answers = await asyncio.gather(
                *(client.chat.completions.create(model=MODEL, messages=ASKED) for _ in range(8))
            )
            stream = await client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
            pieces = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
        return [answer.choices[0].message.content for answer in answers] + ["".join(filter(None, pieces))]

    assert all(asyncio.run(ask()))
    assert net.stats().payments == 1
    assert net.verdict().clean


def test_clients_of_httpx_are_served_as_those_of_httpx2(net: Devnet) -> None:
    with (
        httpx.Client(transport=OpenGradientTransport(**of_wallet(net))) as http,  # type: ignore[arg-type]
        openai.OpenAI(api_key="unused", base_url="http://opengradient.invalid/v1", http_client=http) as client,  # type: ignore[arg-type]
    ):
        assert client.chat.completions.create(model=MODEL, messages=ASKED).choices[0].message.content
        with client.chat.completions.create(model=MODEL, messages=ASKED, stream=True) as stream:
            assert sum(1 for _ in stream) > 1


def test_nothing_of_the_clients_headers_or_key_leaves(net: Devnet) -> None:
    canary = "sk-canary-of-openai"
    with (
        Client(**of_wallet(net)) as ours,
        openai.DefaultHttpxClient(transport=OpenGradientTransport(client=ours)) as http,  # type: ignore[arg-type]
        openai.OpenAI(
            api_key=canary,
            organization=canary,
            default_headers={"X-Canary": canary},
            base_url="http://opengradient.invalid/v1",
            http_client=http,
        ) as client,
    ):
        client.chat.completions.create(model=MODEL, messages=ASKED, extra_headers={"X-Other": canary})
    seen = repr(net.journal)
    assert "hi" in net.journal.prompts()[0]
    assert canary not in seen


@pytest.mark.parametrize(
    ("fault", "streamed"),
    [
        ("server_error_after_payment", False),
        ("cut_after_payment", False),
        ("cut_body", False),
        ("bad_signature", False),
        ("stall_after_payment", False),
        ("second_402", False),
        ("cut_after_payment", True),
        ("cut_stream", True),
        ("bad_signature", True),
        ("error_event", True),
    ],
)
def test_client_that_repeats_never_pays_twice(fault: str, streamed: bool) -> None:
    with Devnet() as net, openai_client(**of_wallet(net)) as client, collect_receipts() as got:
        net.inject(fault)
        asking = client.with_options(max_retries=3, timeout=1).chat.completions
        with pytest.raises(openai.APIError) as caught:
            list(asking.create(model=MODEL, messages=ASKED, stream=streamed))
        assert net.stats().payments <= 1
        assert "opengradient" in json.dumps(caught.value.body)
        assert [receipt["status"] for receipt in got] == ["unverified"]
        assert net.verdict(got).clean


def test_failure_that_cost_nothing_is_repeated_as_the_client_says(net: Devnet, client: "OpenAI") -> None:
    net.inject("dead_registry", times=3)
    asked = client.with_options(max_retries=2).chat.completions.create(model=MODEL, messages=ASKED)
    assert asked.choices[0].message.content
    assert net.stats().payments == 1


def test_repetition_of_what_may_be_charged_is_refused_whoever_asks(net: Devnet) -> None:
    """Some proxy or middleware may ignore `x-should-retry`; the header of the openai package tells of it."""
    net.inject("cut_after_payment", times=1)
    transport = OpenGradientTransport(**of_wallet(net))
    with httpx.Client(transport=transport, base_url="http://opengradient.invalid/v1") as http:  # type: ignore[arg-type]
        bodies = [
            http.post(
                "/chat/completions",
                json={"model": MODEL, "messages": ASKED},
                headers={"x-stainless-retry-count": str(attempt)},
            ).json()
            for attempt in range(3)
        ]
    assert {body["error"]["type"] for body in bodies} == {"PaymentInDoubtError"}
    assert net.stats().payments == 1


@pytest.mark.parametrize(
    ("request_of", "said"),
    [
        ({"n": 2}, "n"),
        ({"messages": []}, "messages is empty"),
        ({"tools": [{"type": "web_search"}]}, "tools[0] is of type 'web_search'"),
        ({"extra_body": {"temprature": 1}}, "Did you mean 'temperature'?"),
        ({"tool_choice": {"type": "function", "function": {"name": "missing"}}}, "tool_choice is 'missing'"),
    ],
)
def test_request_that_would_be_paid_for_nothing_is_refused_unpaid(
    net: Devnet, client: "OpenAI", request_of: dict[str, Any], said: str
) -> None:
    if "n" in request_of:
        with pytest.warns(UserWarning, match="n is ignored by the gateway"):
            client.chat.completions.create(**{"model": MODEL, "messages": ASKED} | request_of)
        return
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": ASKED} | request_of)
    assert said in str(caught.value)
    assert net.stats().payments == 0


def test_endpoint_that_no_enclave_has_is_refused_with_what_there_is(client: "OpenAI", net: Devnet) -> None:
    with pytest.raises(openai.BadRequestError, match="an enclave answers chat completions and completions"):
        client.embeddings.create(model=MODEL, input="hi")
    assert net.stats().payments == 0


def test_budget_error_says_what_was_refused(net: Devnet) -> None:
    with (
        openai_client(**of_wallet(net, spend_policy={"total": "0.01"})) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model=MODEL, messages=ASKED)
    assert caught.value.status_code == 402
    assert "BudgetExceededError" in json.dumps(caught.value.body)
    assert net.stats().payments == 0


def test_stream_that_is_left_ends_our_call(net: Devnet, client: "OpenAI") -> None:
    slow: ChatCompletionMessageParam = {"role": "user", "content": "[[delay=200 tokens=50]]"}
    with collect_receipts() as receipts:
        with client.chat.completions.create(model=MODEL, messages=[slow], stream=True) as stream:
            next(iter(stream))
        assert [receipt["status"] for receipt in receipts] == ["unverified"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("fault", ["lying_node", "lying_registry", "swapped_endpoint"])
def test_invented_enclave_never_sees_the_prompt(net: Devnet, fault: str, awaited: bool, streamed: bool) -> None:
    """With pinned builds: the openai package hands our error on, and no gateway has seen a request."""
    options = of_wallet(net, enclave_policy=net.enclave_policy())
    net.inject(fault)

    async def ask() -> None:
        async with async_openai_client(**options) as client:
            await client.chat.completions.create(model=MODEL, messages=ASKED, stream=streamed)

    with pytest.raises(openai.APIStatusError) as caught:  # noqa: PT012 - one call, in one of two ways
        if awaited:
            asyncio.run(ask())
        else:
            with openai_client(**options) as client:
                client.chat.completions.create(model=MODEL, messages=ASKED, stream=streamed)
    assert ("EnclaveRejectedError" if fault == "lying_registry" else "AttestationError") in json.dumps(
        caught.value.body
    )
    assert net.journal.exchanges == []
    assert net.stats().signatures == 0
