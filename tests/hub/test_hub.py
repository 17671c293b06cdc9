"""Models, versions and files at the hub, by both clients, over sockets."""

import asyncio
import hashlib
import inspect
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from og_integrations.devnet import Devnet, Services
from og_integrations.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    FileMismatchError,
    HubError,
    InvalidRequestError,
    LoginRefusedError,
    OpenGradientError,
)
from og_integrations.hub import AsyncModelHub, AsyncTwins, HubFile, ModelHub, ModelVersion, Twins
from tests.frames import secrets_in_frames

NOBODY = "http://127.0.0.1:9"


def test_file_goes_up_and_comes_back_proven(
    hub: Any, model: tuple[str, str], file: Path, services: Services, tmp_path: Path
) -> None:
    up: list[tuple[int, int]] = []
    down: list[tuple[int, int]] = []
    sent = hub.upload(file, *model, progress=lambda *seen: up.append(seen))
    assert (sent.check, sent.size, sent.sha256) == ("pass", 600_320, hashlib.sha256(file.read_bytes()).hexdigest())
    assert str(sent.file_id).startswith("Qm")
    assert hub.list_files(*model) == [HubFile("weights.bin", sent.size, sent.file_id)]
    (tmp_path / "got").mkdir()
    got = hub.download(*model, "weights.bin", tmp_path / "got", progress=lambda *seen: down.append(seen))
    assert Path(got.path).read_bytes() == file.read_bytes()
    assert (got.check, got.file_id, got.sha256) == ("pass", sent.file_id, sent.sha256)
    assert services.hub.unsafe([sent, got]) == []
    for steps in (up, down):
        assert steps[-1] == (sent.size, sent.size)
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert len(up) == 3


def test_hub_numbers_the_versions(hub: Any, model: tuple[str, str]) -> None:
    name, first = model
    assert first == "1.00"
    assert hub.create_version(name, "better") == ModelVersion(name, "1.01")
    assert hub.create_version(name, is_major=True) == ModelVersion(name, "2.00")
    with pytest.raises(HubError, match=r"HTTP 409.*exists") as caught:
        hub.create_model(name, "again")
    assert (caught.value.status, caught.value.is_retryable) == (409, False)


@pytest.mark.parametrize(
    "ask",
    [
        lambda hub, file: hub.create_version("no-such-model"),
        lambda hub, file: hub.list_files("no-such-model", "1.00"),
        lambda hub, file: hub.upload(file, "no-such-model", "1.00"),
        lambda hub, file: hub.download("no-such-model", "1.00", "x", file.parent),
    ],
    ids=["version", "list", "upload", "download"],
)
def test_what_is_not_there_is_said(hub: Any, file: Path, ask: Callable[[Any, Path], Any]) -> None:
    with pytest.raises(HubError, match=r"HTTP 404\): Model no-such-model not found"):
        ask(hub, file)


def test_file_that_a_version_has_not_is_told_what_it_has(hub: Any, model: tuple[str, str], file: Path) -> None:
    hub.upload(file, *model)
    with pytest.raises(HubError, match=r"has no file 'weights\.onnx'; it has: weights\.bin"):
        hub.download(*model, "weights.onnx", file.parent)


@pytest.mark.parametrize("name", ["a/b", "", " ", "..", "a?b", "a\nb", "50%"])
def test_names_that_no_path_can_hold_are_refused_unsent(hub: Any, file: Path, services: Services, name: str) -> None:
    asks: list[Callable[[], Any]] = [
        lambda: hub.create_model(name, "x"),
        lambda: hub.create_version(name),
        lambda: hub.upload(file, name, "1.00"),
        lambda: hub.list_files("model", name),
        lambda: hub.download("model", "1.00", name, file.parent),
    ]
    for ask in asks:
        with pytest.raises(InvalidRequestError, match="Nothing was sent"):
            ask()


def test_file_that_cannot_be_read_or_written_is_said_before_anything_is_sent(hub: Any, file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        hub.upload(file.parent / "absent.onnx", "m", "1.00")
    with pytest.raises(ConfigurationError, match="there already; say overwrite=True"):
        hub.download("m", "1.00", file.name, file.parent)
    os.mkfifo(pipe := file.parent / "pipe")
    with pytest.raises(ConfigurationError, match="is no regular file, which a download could replace"):
        hub.download("m", "1.00", file.name, pipe, overwrite=True)
    assert pipe.is_fifo()


def test_download_replaces_a_file_where_that_is_asked(hub: Any, model: tuple[str, str], file: Path) -> None:
    content = file.read_bytes()
    sent = hub.upload(file, *model)
    file.write_bytes(b"other")
    got = hub.download(*model, file.name, file, overwrite=True, sha256=sent.sha256, file_id=sent.file_id)
    assert (got.check, file.read_bytes()) == ("pass", content)
    with pytest.raises(FileMismatchError, match="its SHA-256 is"):
        hub.download(*model, file.name, file, overwrite=True, sha256="0" * 64)
    assert file.read_bytes() == content


def test_reading_needs_no_login_where_the_hub_wants_none(
    make_hub: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, net: Devnet, file: Path
) -> None:
    """This one wants one: what is missing is named, by argument and variable."""
    for name in ("OG_MODEL_HUB_PASSWORD", "OG_MODEL_HUB_API_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.delenv("FIREBASE_API_KEY", raising=False)
    hub = make_hub()
    missing = r"password \(OG_MODEL_HUB_PASSWORD\), api_key \(OG_MODEL_HUB_API_KEY or FIREBASE_API_KEY\)"
    with pytest.raises(ConfigurationError, match=f"only to who is logged in: {missing}"):
        hub.list_files("m", "1.00")
    for ask in (lambda: hub.create_model("m", ""), lambda: hub.upload(file, "m", "1"), hub.login):
        with pytest.raises(ConfigurationError, match=f"{missing} are not given. Nothing was sent"):
            ask()


def test_key_is_taken_under_the_published_name(make_hub: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("FIREBASE_API_KEY", os.environ["OG_MODEL_HUB_API_KEY"])
    monkeypatch.delenv("OG_MODEL_HUB_API_KEY")
    make_hub().login()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"password": "canary-wrong"}, r"HTTP 400, INVALID_LOGIN_CREDENTIALS\): the email or the password is wrong"),
        ({"email": "nobody@example.org"}, "the email or the password is wrong"),
        ({"api_key": "canary-key"}, r"the key is refused: check api_key \(OG_MODEL_HUB_API_KEY"),
    ],
)
def test_login_that_is_refused_says_what_to_look_at(
    make_hub: Callable[..., Any], services: Services, given: dict[str, str], said: str
) -> None:
    with pytest.raises(LoginRefusedError, match=said) as caught:
        make_hub(**given).create_model("m", "x")
    secrets = [services.identity.password, services.identity.api_key, "canary-wrong", "canary-key"]
    assert secrets_in_frames(caught.value, secrets) == []
    assert not any(secret in str(caught.value) for secret in secrets)


def test_servers_that_are_away_are_named_and_no_secret_is_left(
    make_hub: Callable[..., Any], services: Services, file: Path
) -> None:
    secrets = [services.identity.password, services.identity.api_key]
    for away in ({"login_url": NOBODY}, {"url": NOBODY}):
        with pytest.raises(OpenGradientError, match=r"127\.0\.0\.1:9") as caught:
            make_hub(**away).upload(file, "m", "1.00")
        assert isinstance(caught.value, LoginRefusedError | ConnectionFailedError)
        assert caught.value.is_retryable
        assert secrets_in_frames(caught.value, [*secrets, "eyJ"]) == []
    with pytest.raises(ConfigurationError, match="url is no address"):
        make_hub(url="api.example.org")


def test_nothing_that_is_printed_or_logged_has_a_secret(
    make_hub: Callable[..., Any],
    services: Services,
    net: Devnet,
    caplog: pytest.LogCaptureFixture,
    file: Path,
) -> None:
    caplog.set_level(0)
    hub = make_hub(services.identity.email, services.identity.password, api_key=services.identity.api_key)
    made = hub.create_model(f"logged-by-{type(hub).__name__}", "x")
    sent = hub.upload(file, made.model, made.version)
    shown = caplog.text + repr(hub) + repr(getattr(hub, "hub", hub)) + repr(sent) + repr(vars(getattr(hub, "hub", hub)))
    assert [secret for secret in net.secrets() if secret in shown] == []


def test_a_client_of_ones_own_carries_it_all(net: Devnet, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """For proxies; it stays open, and its log shows no key."""
    caplog.set_level(0)
    with httpx.Client() as client:
        with ModelHub(http_client=client) as hub:
            made = hub.create_model("by-httpx", "x")
            assert hub.upload(file, made.model, made.version).check == "pass"
        assert not client.is_closed
    assert [secret for secret in net.secrets() if secret in caplog.text] == []


async def test_an_asynchronous_client_of_ones_own_carries_it_all(net: Devnet, file: Path) -> None:
    async with httpx.AsyncClient() as client, AsyncModelHub(http_client=client) as hub:
        made = await hub.create_model("by-async-httpx", "x")
        assert (await hub.upload(file, made.model, made.version)).check == "pass"
        got = await hub.download(made.model, made.version, file.name, file.parent / "back.bin")
        assert got.check == "pass"


def test_crowd_of_threads_logs_in_once(net: Devnet, services: Services) -> None:
    before = len(net.journal.services)
    with ModelHub() as hub:
        made = hub.create_model("crowded", "x")
        services.identity.revoke()
        threads = [threading.Thread(target=hub.list_files, args=(made.model, made.version)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    calls = [call.what for call in net.journal.services[before:]]
    assert (calls.count("login"), calls.count("refresh")) == (1, 1)


def test_crowd_of_tasks_logs_in_once(net: Devnet, services: Services) -> None:
    before = len(net.journal.services)

    async def crowd() -> None:
        async with AsyncModelHub() as hub:
            made = await hub.create_model("crowd-of-tasks", "x")
            services.identity.revoke()
            await asyncio.gather(*(hub.list_files(made.model, made.version) for _ in range(8)))

    asyncio.run(crowd())
    calls = [call.what for call in net.journal.services[before:]]
    assert (calls.count("login"), calls.count("refresh")) == (1, 1)


def test_file_that_changes_while_it_is_sent_is_broken_off(hub: Any, model: tuple[str, str], file: Path) -> None:
    def grow(done: int, total: int) -> None:
        with file.open("ab") as more:
            more.write(b"x")

    with pytest.raises(FileMismatchError, match="changed while it was uploaded") as caught:
        hub.upload(file, *model, progress=grow)
    assert not caught.value.is_retryable
    assert hub.list_files(*model) == []


@pytest.mark.parametrize("pair", [(ModelHub, AsyncModelHub), (Twins, AsyncTwins)])
def test_sync_and_async_clients_agree(pair: tuple[type, type]) -> None:
    """They differ in `await` and in nothing else."""

    def interface(client: type) -> dict[str, list[tuple[str, Any, Any]]]:
        named = {"aclose": "close"}
        return {
            named.get(name, name): [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
            for name, method in inspect.getmembers(client, callable)
            if not name.startswith("_") or name == "__init__"
        }

    sync, asynchronous = map(interface, pair)
    sync.pop("begin_again", None)
    assert sync == asynchronous


def test_package_loads_nothing_heavy() -> None:
    heavy = {"httpx", "httpcore2", "eth_account", "eth_abi", "numpy", "web3", "openai", "pydantic"}
    code = f"import sys, og_integrations.hub; print(*({heavy} & sys.modules.keys()))"
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.returncode) == ([], 0), ran.stderr


def test_messages_say_that_nothing_is_paid(hub: Any, net: Devnet, model: tuple[str, str]) -> None:
    net.inject("hub_down")
    asks: list[Callable[[], Any]] = [lambda: hub.list_files(*model), lambda: hub.create_version(model[0])]
    for ask in asks:
        with pytest.raises(HubError, match=re.escape("HTTP 503): Service Unavailable")) as caught:
            ask()
    assert "look before you ask again" in str(caught.value)


def test_stalled_hub_is_left(make_hub: Callable[..., Any], services: Services) -> None:
    """A server that takes the connection and never answers."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionLostError, match="did not answer in time"):
            make_hub(url=url, timeout=0.3).list_files("m", "1.00")
