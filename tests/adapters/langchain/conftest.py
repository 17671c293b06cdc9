"""A devnet with TLS for each test, and models that talk to it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from og_integrations import _warnings
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient

MODEL = "openai/gpt-5-mini"


@pytest.fixture(autouse=True)
def nothing_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Except the temperature, which `MODEL` does not get, and which many tests set."""
    monkeypatch.setattr(_warnings, "_warned", {"temperature"})


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def make_model(net: Devnet) -> Iterator[Callable[..., ChatOpenGradient]]:
    models: list[ChatOpenGradient] = []

    def make(**options: Any) -> ChatOpenGradient:
        defaults: dict[str, Any] = {"model": MODEL, "private_key": net.private_key, "network": net.network}
        models.append(ChatOpenGradient(**defaults | options))
        return models[-1]

    yield make
    for model in models:
        model.close()


@pytest.fixture
def model(make_model: Callable[..., ChatOpenGradient]) -> ChatOpenGradient:
    return make_model()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that a standard suite lists in `LACKS`, each there with its reason."""
    lacking = [item for item in items if getattr(item, "originalname", "") in getattr(_class(item), "LACKS", ())]
    if lacking:
        config.hook.pytest_deselected(items=lacking)
        items[:] = [item for item in items if item not in lacking]


def _class(item: pytest.Item) -> object:
    return getattr(item, "cls", None)
