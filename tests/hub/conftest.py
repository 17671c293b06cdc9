"""A devnet with its services, and the two clients of the model hub behind one face."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import Devnet, Services
from og_integrations.hub import AsyncModelHub, ModelHub


@pytest.fixture(scope="session")
def shared_net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        devnet.open_services()
        yield devnet


@pytest.fixture
def net(shared_net: Devnet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Devnet]:
    """The devnet, named by the variables, without faults, judged for this test alone."""
    for name, value in shared_net.environment().items():
        monkeypatch.setenv(name, value)
    mark = shared_net.mark()
    yield shared_net
    shared_net.clear_faults()
    shared_net.services.identity.token_seconds = 3600  # type: ignore[union-attr]
    assert shared_net.verdict(since=mark).clean, str(shared_net.verdict(since=mark))


@pytest.fixture
def services(net: Devnet) -> Services:
    return net.open_services()


class Awaited:
    """An `AsyncModelHub` whose methods are called without awaiting, each on a loop of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.hub = AsyncModelHub(*arguments, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            return await getattr(self.hub, name)(*arguments, **options)

        return lambda *arguments, **options: asyncio.run(call(*arguments, **options))

    def close(self) -> None:
        """Each loop has closed its connections."""


@pytest.fixture(params=[ModelHub, Awaited], ids=["sync", "async"])
def make_hub(request: pytest.FixtureRequest, net: Devnet) -> Iterator[Callable[..., Any]]:
    """What makes a client of either kind, closed at the end."""
    made: list[Any] = []

    def make(*arguments: Any, **options: Any) -> Any:
        made.append(request.param(*arguments, **options))
        return made[-1]

    yield make
    for hub in made:
        hub.close()


@pytest.fixture
def hub(make_hub: Callable[..., Any]) -> Any:
    return make_hub()


_COUNT = iter(range(10**6))


@pytest.fixture
def model(hub: Any) -> tuple[str, str]:
    """A model of its own for each test, and its first version."""
    made = hub.create_model(f"model-{next(_COUNT)}", "for a test")
    return made.model, made.version


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of three leaves."""
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(range(256)) * 2345)
    return path
