"""What a model thinks aloud: kept beside the answer, named as unsigned, never sent back."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from og_integrations.client import Client
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient
from tests.adapters.langchain.ways_to_ask import WAYS

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta", "ignore:The v3 streaming protocol")
MakeModel = Callable[..., ChatOpenGradient]
THOUGHT = "The user wants an answer. "


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet(generation="next") as devnet:
        yield devnet


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("output_version", ["v0", "v1"])
def test_thought_is_a_block_beside_the_text(make_model: MakeModel, way: str, output_version: str) -> None:
    message: Any = WAYS[way](make_model(output_version=output_version), "[[reasoning]] hi")
    blocks = {block["type"]: block for block in message.content_blocks}
    assert set(blocks) == {"reasoning", "text"}
    assert blocks["reasoning"]["reasoning"] == THOUGHT
    assert message.text == "You said: [[reasoning]] hi"
    if "v3" not in way and output_version == "v0":
        assert message.additional_kwargs["reasoning_content"] == THOUGHT
    receipt = message.response_metadata["opengradient"]
    assert (receipt["status"], "reasoning_content" in receipt["unsigned"]) == ("verified", True)


@pytest.mark.parametrize("output_version", ["v0", "v1"])
def test_thought_is_never_sent_back(make_model: MakeModel, output_version: str) -> None:
    from og_integrations.client import collect_receipts

    model = make_model(output_version=output_version)
    answers: list[Any] = [model.invoke("[[reasoning]] hi"), WAYS["stream"](model, "[[reasoning]] hi")]
    with collect_receipts(keep_exchanges=True) as receipts:
        model.invoke([HumanMessage("x"), *answers, HumanMessage("and now?")])
    (exchange,) = receipts.exchanges
    assert exchange is not None
    assert "reasoning" not in exchange["request"].replace("[[reasoning]]", "")
    assert THOUGHT not in exchange["request"]


def test_client_hands_it_on_and_the_hash_knows_nothing_of_it(net: Devnet) -> None:
    with Client(private_key=net.private_key, network=net.network) as client:
        answer = client.chat("openai/gpt-5-mini", [{"role": "user", "content": "[[reasoning]] hi"}])
        assert (answer.reasoning, answer.text) == (THOUGHT, "You said: [[reasoning]] hi")
        assert THOUGHT not in repr(answer)
        assert not client.chat("openai/gpt-5-mini", [{"role": "user", "content": "hi"}]).reasoning


def test_model_without_thoughts_has_none(make_model: MakeModel) -> None:
    message = make_model().invoke("hi")
    assert message.additional_kwargs == {}
    assert "reasoning_content" not in message.response_metadata["opengradient"]["unsigned"]
