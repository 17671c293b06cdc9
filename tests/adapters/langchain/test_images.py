"""Images in and out, on gateways of the `next` generation; on others they are refused before anything is paid."""

from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from langchain_core.messages import HumanMessage

from og_integrations.devnet import Devnet
from og_integrations.errors import InvalidRequestError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.receipt import EARLIER_RULES
from tests.adapters.langchain.ways_to_ask import WAYS

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")
MakeModel = Callable[..., ChatOpenGradient]
PICTURE = [{"type": "text", "text": "What is this?"}, {"type": "image", "base64": "aGk=", "mime_type": "image/png"}]


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet(generation="next") as devnet:
        yield devnet


def test_generations_are_those_of_the_protocol() -> None:
    words = get_args(ChatOpenGradient.model_fields["gateway_generation"].annotation)
    assert words == ("auto", *EARLIER_RULES)


def test_image_reaches_the_model(make_model: MakeModel) -> None:
    model = make_model(gateway_generation="next")
    answer = model.invoke([HumanMessage(PICTURE)])  # type: ignore[arg-type]
    assert answer.text == "You said: What is this? (with image_url: image/png of 2 bytes)"
    assert (model.profile or {})["image_inputs"] is True


def test_image_for_april_gateways_costs_nothing(net: Devnet, make_model: MakeModel) -> None:
    model = make_model(gateway_generation="2026-04")
    with pytest.raises(InvalidRequestError, match='set gateway_generation="auto"'):
        model.invoke([HumanMessage(PICTURE)])  # type: ignore[arg-type]
    assert (model.profile or {})["image_inputs"] is False
    assert net.stats().requests == 0


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "file", "file_id": "file-1"}},
        {"type": "image", "source": {"type": "base64", "data": "aGk="}},
        {"type": "image", "base64": "", "mime_type": "image/png"},
        {"type": "image", "url": ""},
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": None}},
        {"type": "image_url", "image_url": "photo.png"},
        {"type": "image_url", "image_url": {"url": "file:///photo.png"}},
        {"type": "file", "file_id": "file-1"},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": None},
        {"type": "file", "base64": "", "mime_type": "application/pdf", "filename": "a.pdf"},
    ],
    ids=str,
)
def test_attachment_without_data_costs_nothing(net: Devnet, make_model: MakeModel, block: Any) -> None:
    """It was sent as `data:None;base64,None`, or empty, and paid for."""
    with pytest.raises(InvalidRequestError, match=r"has a part of type '(image_url|file)' without data"):
        make_model(gateway_generation="next").invoke([HumanMessage([block])])
    assert net.stats().requests == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("output_version", ["v0", "v1"])
def test_drawn_image_is_a_block_beside_the_text(make_model: MakeModel, way: str, output_version: str) -> None:
    model = make_model(gateway_generation="next", output_version=output_version)
    message: Any = WAYS[way](model, "[[image]] draw")
    text, image = message.content_blocks
    assert text["text"] == message.text == "You said: [[image]] draw"
    assert image["type"] == "image"
    assert image["mime_type"] == "image/png"
    assert image["base64"].startswith("iVBOR")
    assert "images" in message.response_metadata["opengradient"]["unsigned"]
    again = model.invoke([HumanMessage("draw"), message, HumanMessage("thanks")])
    assert again.text == "You said: thanks"
