"""Both adapters are one product: asked the same, they send, pay, show and raise the same."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from og_integrations import collect_receipts, errors
from og_integrations.devnet import CATALOGUE, Devnet
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.agreement import NO_DEFAULTS, Case, Outcome, ask
from tests.adapters.agreement_cases import ADD, CASES, CITY, HI, USE_ADD, user
from tests.adapters.faults_met import PATIENCE, STALLED_PATIENCE, options_under, stalls


@pytest.fixture(scope="module")
def net_of() -> Iterator[Callable[[str], Devnet]]:
    """Give the devnet of a generation; both run for all cases."""
    with Devnet() as april, Devnet(generation="next") as newer:
        yield {"2026-04": april, "next": newer}.__getitem__


def both(net: Devnet, case: Case, *, streamed: bool, asynchronous: bool = False) -> tuple[Outcome, Outcome, Any]:
    """Ask both; return their outcomes, and the request that LangChain's adapter sent."""
    ours, request = ask("langchain", net, case, streamed=streamed, asynchronous=asynchronous)
    theirs, other = ask("llama_index", net, case, streamed=streamed, asynchronous=asynchronous)
    if "exchanges" not in case.differs:
        assert request == other  # more readable than fingerprints
    return ours, theirs, request


def check(case: Case, ours: Outcome, theirs: Outcome) -> None:
    """The two differ in what the table says, if in anything."""
    differences = ours.differences(theirs)
    assert {name: pair for name, pair in differences.items() if name not in case.differs} == {}
    assert ours.handed_out, "an answer or error had another receipt than was collected"
    assert theirs.handed_out


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_adapters_do_the_same(net_of: Callable[[str], Devnet], case: Case, streamed: bool) -> None:
    """The same bytes, answer, receipt or error."""
    asked = replace(case, options={**case.options, "gateway_generation": case.generation})
    ours, theirs, request = both(net_of(case.generation), asked, streamed=streamed)
    check(case, ours, theirs)
    if case.error is None:
        assert theirs.error is None, theirs.says
    else:
        assert theirs.kind is not None, "no error"
        assert issubclass(getattr(errors, theirs.kind), getattr(errors, case.error))
    # A reason that nothing needs any more has to go.
    assert case.differs.keys() <= ours.differences(theirs).keys() | {"error", "text", "pieces", "usage", "charges"}
    if request is not None and "exchanges" not in case.differs:
        assert request["messages"] == (case.messages if case.sent is None else case.sent)


ASYNC = [
    Case(name="text", messages=[user("[[unicode]]")]),
    Case(name="tool", messages=USE_ADD, call={"tools": [ADD]}),
    Case(name="forced tool", messages=HI, call={"tools": [ADD], "tool_choice": "add"}),
    Case(name="schema", messages=HI, call={"response_format": CITY}),
    Case(name="lie", messages=HI, fault="bad_signature", error="VerificationError"),
    Case(name="cut", messages=HI, fault="cut_head", error="PaymentInDoubtError"),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", ASYNC, ids=str)
def test_asynchronous(net_of: Callable[[str], Devnet], case: Case, streamed: bool) -> None:
    """Awaited calls agree too."""
    ours, theirs, _ = both(net_of("2026-04"), case, streamed=streamed, asynchronous=True)
    check(case, ours, theirs)
    assert (theirs.error is None) == (case.error is None)


# The client's own tests have these two, which take long: see `test_faults.py` of LlamaIndex.
FAULTS = sorted(CATALOGUE.keys() - {"silent_registry", "endless_stream"})


@pytest.mark.parametrize("fault", FAULTS)
def test_both_adapters_say_the_same_of_a_fault(net_of: Callable[[str], Devnet], fault: str) -> None:
    """Whatever the network does, both say the same about it and leave the same trace."""
    streamed = CATALOGUE[fault].stream_wire is not None or (
        CATALOGUE[fault].whole_wire is None and FAULTS.index(fault) % 2 == 0
    )
    reasons = {
        "error": "LangChain has a class per HTTP status, and one for timeouts",
        "charges": "whoever hangs up at a lie has been charged by then, or not yet",
    }
    if fault == "attestation_replayed":
        reasons |= dict.fromkeys(("says", "receipts"), "both name the nonce that was asked for, which is a new one")
    if fault == "nonce_ignored":
        reasons |= dict.fromkeys(("says", "receipts", "exchanges"), "each request has a nonce of its own")
    # Only what stalls ends by its timeout; a busy machine takes its time for the rest.
    net = net_of("2026-04")
    options = {"timeout": STALLED_PATIENCE if stalls(fault) else PATIENCE, **options_under(fault, net)}
    case = Case(name=fault, messages=[user("[[tokens=4]]")], fault=fault, options=options, differs=reasons)
    check(case, *both(net, case, streamed=streamed)[:2])


class Sight(BaseModel):
    """What tourists see."""

    name: str
    height: int
    built: int | None = None


def greet(name: str) -> str:
    """Greet someone."""
    return f"hello {name}"


def test_classes_and_functions(net_of: Callable[[str], Devnet]) -> None:
    """Python's own classes and functions: each framework words the schema, but they mean the same."""
    net = net_of("2026-04")
    options: dict[str, Any] = {"private_key": net.private_key, "network": net.network, **NO_DEFAULTS}
    order = 'use tool greet {"name": "Ada"}'
    model, llm = ChatOpenGradient(model="openai/gpt-4.1", **options), OpenGradientLLM("openai/gpt-4.1", **options)
    with collect_receipts(keep_exchanges=True) as receipts:
        sights = [
            model.with_structured_output(Sight).invoke('"Tower", 300'),
            llm.structured_predict(Sight, PromptTemplate('"Tower", 300')),
        ]
        called = model.bind_tools([greet]).invoke(order).tool_calls[0]
        chosen = llm.chat_with_tools([FunctionTool.from_defaults(greet)], order, allow_parallel_tool_calls=True)
    model.close()
    llm.close()
    assert isinstance(sights[0], Sight)
    assert (sights[0].name, sights[0].height) == (sights[1].name, sights[1].height) == ("Tower", 300)
    (selection,) = llm.get_tool_calls_from_response(chosen)
    assert (
        (called["name"], called["args"]) == (selection.tool_name, selection.tool_kwargs) == ("greet", {"name": "Ada"})
    )
    assert receipts.verified
    requests = [json.loads(exchange["request"]) for exchange in receipts.exchanges if exchange]
    assert [sorted(request) for request in requests[::2]] == [sorted(request) for request in requests[1::2]]
    formats = [request["response_format"]["json_schema"] for request in requests[:2]]
    assert [sorted(item["schema"]["properties"]) for item in formats] == [["built", "height", "name"]] * 2


def test_completions_endpoint(net_of: Callable[[str], Devnet]) -> None:
    """Text models: the same bytes and the same receipt."""
    net = net_of("2026-04")
    options: dict[str, Any] = {"private_key": net.private_key, "network": net.network, **NO_DEFAULTS, "max_tokens": 9}
    with collect_receipts(keep_exchanges=True) as receipts:
        text_model = OpenGradientCompletion(model="openai/gpt-4.1", **options)
        texts = [text_model.invoke("Once upon", stop=["said"])]
        text_model.close()
        with OpenGradientLLM("openai/gpt-4.1", use_chat_completions=False, **options) as llm:
            texts.append(llm.complete("Once upon", stop=["said"]).text)
    assert texts == ["You "] * 2
    sent = [(exchange["path"], exchange["request"]) for exchange in receipts.exchanges if exchange]
    assert sent[0] == sent[1]
    assert receipts[0]["presentation"] is not None
    assert receipts[0]["presentation"] == receipts[1]["presentation"]
