"""One devnet for all tests of the adapter, and a wallet of its own for each."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core import Document, MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter

from og_integrations import _warnings
from og_integrations.devnet import Devnet
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account
from tests.adapters.llama_index.prompt_model import Speaker


@pytest.fixture(autouse=True)
def nothing_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Except the temperature, which gpt-5 does not get, and which many tests set."""
    monkeypatch.setattr(_warnings, "_warned", {"temperature"})


@pytest.fixture(autouse=True)
def no_loop_is_left_open() -> None:
    """LlamaIndex runs its coroutines on the main thread's own loop, and never closes it, unless that is gone."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture(scope="session")
def shared_net(speaker: Speaker) -> Iterator[Devnet]:
    with Devnet(model=speaker) as devnet:
        yield devnet


@pytest.fixture
def account(shared_net: Devnet, speaker: Speaker) -> Iterator[Account]:
    speaker.asked.clear()
    speaker.says.clear()
    yield Account(shared_net, speaker, shared_net.new_wallet())
    shared_net.clear_faults()


@pytest.fixture
def llm(account: Account) -> Iterator[OpenGradientLLM]:
    with account.llm() as made:
        yield made


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(text="Paris is the capital of France. It lies on the Seine.", metadata={"country": "France"}),
        Document(text="Rome is the capital of Italy. It lies on the Tiber.", metadata={"country": "Italy"}),
        Document(text="Oslo is the capital of Norway. It lies on a fjord.", metadata={"country": "Norway"}),
    ]


@pytest.fixture
def settings(llm: OpenGradientLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """What LlamaIndex takes where nothing is passed: our LLM, and an embedding without a network."""
    monkeypatch.setattr(Settings, "_llm", llm)
    monkeypatch.setattr(Settings, "_embed_model", MockEmbedding(embed_dim=8))
    monkeypatch.setattr(Settings, "_node_parser", SentenceSplitter(chunk_size=128, chunk_overlap=0))


@pytest.fixture
def index(settings: None, documents: list[Document]) -> VectorStoreIndex:
    return VectorStoreIndex.from_documents(documents)


HERE = Path(__file__).parent
NOISE = (
    # Old pydantic attributes: `json()` in `StructuredLLM.stream_chat`, all of them by `getmembers` in workflows.
    "ignore:The `:pydantic.warnings.PydanticDeprecatedSince20",
    "ignore:Accessing the 'model_:pydantic.warnings.PydanticDeprecatedSince211",
    # `ReActAgent`.
    "ignore:is_running called from within a step:DeprecationWarning",
    # `BatchEvalRunner`.
    "ignore:asyncio_module:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are errors; the few that LlamaIndex itself causes are named here."""
    for item in items:
        if item.path.is_relative_to(HERE):
            for noise in NOISE:
                item.add_marker(pytest.mark.filterwarnings(noise))
