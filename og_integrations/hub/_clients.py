"""This module has the two clients of the model hub, with the same methods, awaited or not; a test keeps them equal."""

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack

from og_integrations._forking import survive_forks
from og_integrations.client._runner import adrive, drive
from og_integrations.client._settings import check_seconds, hub_settings
from og_integrations.client._signer import sealed
from og_integrations.client.channels._channel import UNPINNED, HttpRequest, Pace
from og_integrations.client.channels._connections import AsyncConnections, Borrowed, SyncConnections
from og_integrations.errors import HubError
from og_integrations.hub import _calls as calls
from og_integrations.hub._calls import MOST_BYTES, Expected, Fetching, HubFile, ModelVersion, Place, Token, Transfer
from og_integrations.hub._files import Arriving, FileForm, Progress
from og_integrations.hub._login import Answered, Login
from og_integrations.protocol._redact import Secret

if TYPE_CHECKING:
    from pydantic import SecretStr

    from og_integrations.client.channels._httpx_client import AsyncClient, SyncClient

T = TypeVar("T")
TIMEOUT = 60.0


class HubOptions(TypedDict, total=False):
    """
    A client of the model hub is made with these options, all of which may be left out.

    `api_key`: the web API key of the hub's project at its identity service (`OG_MODEL_HUB_API_KEY` or
    `FIREBASE_API_KEY`). `url`, `login_url`: other servers (`OG_MODEL_HUB_URL`, `OG_MODEL_HUB_LOGIN_URL`). `timeout`:
    seconds, for each wait on the network; an upload may take an hour beyond it. `http_client`: a client of httpx or
    httpx2 of your own, for proxies; it stays yours.
    """

    api_key: "str | SecretStr | None"
    url: str | None
    login_url: str | None
    timeout: float
    http_client: "SyncClient | AsyncClient | None"


class DownloadOptions(TypedDict, total=False):
    """
    A download takes these options.

    `file_id`, `sha256` (hex): what is known of the file beforehand; without the first the hub is asked. `overwrite`:
    replace a file that is there. `progress(done, total)` is told how many bytes have come.
    """

    file_id: str | None
    sha256: str | None
    overwrite: bool
    progress: Progress | None


def _made(email: str | None, password: Secret | None, options: HubOptions) -> tuple[Login, Place, Any]:
    """Return the login of a client, the hub as it sees it, and the client that its user has lent it."""
    key = None if (given := options.get("api_key")) is None else sealed(given)
    timeout = check_seconds("timeout", options.get("timeout", TIMEOUT))
    settings = hub_settings(
        email=email, password=password, api_key=key, url=options.get("url"), login_url=options.get("login_url")
    )
    login = Login(settings, timeout)
    lent = options.get("http_client")
    return login, Place(settings, timeout, logs_in=login.is_possible), None if lent is None else Borrowed(lent)


def _seal(options: HubOptions) -> None:
    """Wrap the key in `options`, a function's own arguments, so that no frame shows it."""
    if options.get("api_key") is not None:
        options["api_key"] = sealed(options["api_key"])  # type: ignore[typeddict-item]


class ModelHub:
    """
    A client of the model hub works with models, their versions and files; many threads may share it.

    `email` and `password` (default: `OG_MODEL_HUB_EMAIL`, `OG_MODEL_HUB_PASSWORD`) log in when that is first needed;
    reading public models may need no login. Nothing is paid at the hub. Every method raises `HubError`,
    `ConfigurationError`, `InvalidRequestError`, `ConnectionFailedError` or `ConnectionLostError`.
    """

    def __init__(
        self,
        email: str | None = None,
        password: "str | SecretStr | None" = None,
        **options: Unpack[HubOptions],
    ) -> None:
        word = None if password is None else sealed(password)
        del password
        _seal(options)
        self._login, self._place, lent = _made(email, word, options)
        self._connections = SyncConnections(lent)
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Take a lock of one's own, in a forked child."""
        self._lock = threading.Lock()

    def login(self) -> None:
        """Log in now, or see that the login is still good. Raises `LoginRefusedError` or `ConfigurationError`."""
        self._token(Token())

    def create_model(self, name: str, description: str) -> ModelVersion:
        """Make a model with its first version, which the hub numbers."""
        self._login.require()
        return self._run(calls.create_model(self._place, name, description))

    def create_version(self, model: str, notes: str = "", *, is_major: bool = False) -> ModelVersion:
        """Make the next version of a model."""
        self._login.require()
        return self._run(calls.create_version(self._place, model, notes, is_major=is_major))

    def upload(self, path: str | Path, model: str, version: str, *, progress: Progress | None = None) -> Transfer:
        """
        Send a file, and compare size and id that the hub tells with what was sent.

        `progress(done, total)` is told how many bytes have left. Raises `FileMismatchError` as well.
        """
        self._login.require()
        return self._run(calls.upload(self._place, FileForm(path, progress), model, version))

    def list_files(self, model: str, version: str) -> list[HubFile]:
        """Return the files of a version."""
        return self._run(calls.list_files(self._place, model, version))

    def download(
        self, model: str, version: str, name: str, to: str | Path = ".", **options: Unpack[DownloadOptions]
    ) -> Transfer:
        """
        Fetch a file into the folder or file `to`, which has it only if it is the one that its id names.

        Raises `FileMismatchError` as well.
        """
        calls.part(name, "The file")
        expected = Expected(options.get("file_id"), options.get("sha256"))
        with Arriving(to, name, options.get("progress"), overwrite=options.get("overwrite", False)) as arriving:
            return self._run(calls.download(self._place, arriving, model, version, name, expected))

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._place.url}>"

    def _run(self, flow: calls.Call[T]) -> T:
        return drive(flow, self._perform)

    def _perform(self, effect: HttpRequest | Token | Fetching) -> object:
        if isinstance(effect, Token):
            return self._token(effect)
        request = effect.request if isinstance(effect, Fetching) else effect
        with contextlib.closing(self._connections.get(UNPINNED).send(request)) as reply:
            taking, pace = _Taking(effect, reply.status, reply.headers), Pace(request.timeout, request.whom)
            while (data := reply.read()) is not None:
                taking.take(data)
                pace.came(data)
        return taking.answered()

    def _token(self, effect: Token) -> Secret:
        # One at a time, or each of many threads that begin together would log in by itself.
        with self._lock:
            return drive(self._login.token(effect.refused), self._perform)


class AsyncModelHub:
    """This client is a `ModelHub` that is awaited; several event loops may share it."""

    def __init__(
        self,
        email: str | None = None,
        password: "str | SecretStr | None" = None,
        **options: Unpack[HubOptions],
    ) -> None:
        word = None if password is None else sealed(password)
        del password
        _seal(options)
        self._login, self._place, lent = _made(email, word, options)
        self._connections = AsyncConnections(lent)
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def login(self) -> None:
        """Do what `ModelHub.login` does."""
        await self._token(Token())

    async def create_model(self, name: str, description: str) -> ModelVersion:
        """Do what `ModelHub.create_model` does."""
        self._login.require()
        return await self._run(calls.create_model(self._place, name, description))

    async def create_version(self, model: str, notes: str = "", *, is_major: bool = False) -> ModelVersion:
        """Do what `ModelHub.create_version` does."""
        self._login.require()
        return await self._run(calls.create_version(self._place, model, notes, is_major=is_major))

    async def upload(self, path: str | Path, model: str, version: str, *, progress: Progress | None = None) -> Transfer:
        """Do what `ModelHub.upload` does; the file is read on a thread."""
        self._login.require()
        return await self._run(calls.upload(self._place, FileForm(path, progress), model, version))

    async def list_files(self, model: str, version: str) -> list[HubFile]:
        """Do what `ModelHub.list_files` does."""
        return await self._run(calls.list_files(self._place, model, version))

    async def download(
        self, model: str, version: str, name: str, to: str | Path = ".", **options: Unpack[DownloadOptions]
    ) -> Transfer:
        """Do what `ModelHub.download` does; the file is written on a thread."""
        calls.part(name, "The file")
        expected = Expected(options.get("file_id"), options.get("sha256"))
        with Arriving(to, name, options.get("progress"), overwrite=options.get("overwrite", False)) as arriving:
            return await self._run(calls.download(self._place, arriving, model, version, name, expected))

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._place.url}>"

    async def _run(self, flow: calls.Call[T]) -> T:
        return await adrive(flow, self._perform)

    async def _perform(self, effect: HttpRequest | Token | Fetching) -> object:
        if isinstance(effect, Token):
            return await self._token(effect)
        request = effect.request if isinstance(effect, Fetching) else effect
        channel = await self._connections.get(UNPINNED)
        async with contextlib.aclosing(await channel.send(request)) as reply:
            taking, pace = _Taking(effect, reply.status, reply.headers), Pace(request.timeout, request.whom)
            while (data := await reply.read()) is not None:
                await asyncio.to_thread(taking.take, data)
                pace.came(data)
        return taking.answered()

    async def _token(self, effect: Token) -> Secret:
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            return await adrive(self._login.token(effect.refused), self._perform)


class _Taking:
    """This takes in the body of an answer: into memory, or into the file that was asked for."""

    def __init__(self, effect: HttpRequest | Fetching, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self._arriving = effect.arriving if isinstance(effect, Fetching) and status == 200 else None
        self._status = status
        self._body = bytearray()
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        self._expected = int(lengths[0]) if lengths and lengths[0].isdecimal() else 0
        if self._arriving is not None:
            self._arriving.begin()

    def take(self, data: bytes) -> None:
        """Take in the next bytes. Raises `HubError` if an answer that is no file is too large."""
        if self._arriving is not None:
            self._arriving.take(data, self._expected)
            return
        self._body += data
        if len(self._body) > MOST_BYTES:
            raise HubError(f"The model hub answered more than {MOST_BYTES} bytes where it should not.")

    def answered(self) -> Answered:
        """Return status and body."""
        return Answered(self._status, bytes(self._body))
