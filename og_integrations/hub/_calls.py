"""
This module asks the model hub and reads its answers: one generator for each call, which both clients run.

A generator yields `HttpRequest`s, answered with an `Answered`, `Token`s, answered with the token that the hub is shown,
and `Fetching`s, whose body goes into a file.

The hub's own documentation names five calls, and no download: where a file is fetched is our guess (docs/hub.md).
"""

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from og_integrations._urls import server_of, url_below
from og_integrations.client._settings import HubSettings
from og_integrations.client.channels._channel import HttpRequest, Upload
from og_integrations.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    FileMismatchError,
    HubError,
    InvalidRequestError,
    LoginRefusedError,
    MalformedReplyError,
)
from og_integrations.hub._files import Arriving, FileForm
from og_integrations.hub._login import Answered
from og_integrations.protocol._redact import Secret, quotable, shown
from og_integrations.protocol._strict_json import JsonObject, decode_json, parse_json_object

T = TypeVar("T")
UPLOAD_SECONDS = 3600.0
MOST_BYTES = 4 * 1024 * 1024
"""The most that is read of an answer that is no file."""
_NO_PARTS = frozenset("/?#\\%")


@dataclass(frozen=True, slots=True)
class Token:
    """This effect asks for the token that the hub is shown; `refused` is one that the hub did not take."""

    refused: Secret | None = None


@dataclass(frozen=True, slots=True)
class Fetching:
    """This effect asks for a file, whose bytes go into `arriving` if the answer is 200."""

    request: HttpRequest
    arriving: Arriving


Call = Generator[Any, Any, T]
"""A call yields `HttpRequest`, `Token` or `Fetching`, and returns a `T`."""
MakeRequest = Callable[[Secret | None], HttpRequest | Fetching]
"""It makes a request with a token, or without one."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """This names a version of a model at the hub, such as `1.01`."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class HubFile:
    """This is a file of a version. `file_id` is what models on chain are called by; it and `size` may be None."""

    name: str
    size: int | None = None
    file_id: str | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """
    A transfer is a file that was uploaded or downloaded whole.

    `check` says whether its bytes give its id: `"pass"`, or `"skip"` where the id says nothing of them (`detail`). An
    id that they contradict is a `FileMismatchError`. `path` is the file on this machine, `sha256` of its bytes, hex.
    """

    model: str
    version: str
    name: str
    path: str
    size: int
    sha256: str
    file_id: str | None
    check: Literal["pass", "skip"]
    detail: str


class Place:
    """This is the hub as its calls see it: where it is, and whether anybody can log in."""

    def __init__(self, settings: HubSettings, timeout: float, *, logs_in: bool) -> None:
        self.url: str = settings.url
        self.timeout: float = timeout
        self.logs_in: bool = logs_in
        self.missing: list[str] = settings.missing

    def request(
        self, path: str, token: Secret | None, *, body: bytes | Upload | None = None, kind: str = "application/json"
    ) -> HttpRequest:
        """Return a request for `path`."""
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = kind
        sending = UPLOAD_SECONDS if isinstance(body, FileForm) else 0.0
        whom = f"the model hub ({server_of(self.url)})"
        return HttpRequest(
            url=url_below(self.url, path),
            whom=whom,
            headers=headers,
            secrets={} if token is None else {"Authorization": Secret(f"Bearer {token.reveal()}")},
            body=body,
            timeout=self.timeout,
            sending=sending,
        )


def create_model(place: Place, name: str, description: str) -> Call[ModelVersion]:
    """Make a model and its first version."""
    part(name, "The model's name")
    answered = yield from _posted(place, "/models/", {"name": name, "description": description}, f"the model {name}")
    told = _object(answered, "a new model").get("name")
    if not isinstance(told, str) or not told:
        raise _doubt(HubError("The model hub answered a new model without its name: it may have been made."))
    try:
        return (yield from create_version(place, told, "Initial version", is_major=False))
    except (HubError, ConnectionFailedError, ConnectionLostError) as exc:
        raise _doubt(
            HubError(f"The model {shown(told, 80)} was made, but no version of it: {exc} Make one with create_version.")
        ) from exc


def create_version(place: Place, model: str, notes: str, *, is_major: bool) -> Call[ModelVersion]:
    """Make the next version of a model; the hub numbers it."""
    path = f"/models/{part(model, 'The model')}/versions"
    body = {"notes": notes, "is_major": is_major}
    answered = yield from _posted(place, path, body, f"a version of {model}")
    told = _decoded(answered, "a new version")
    version = told.get("versionString") if isinstance(told, dict) else None
    if not isinstance(version, str) or not version or version == "Unknown":
        raise _doubt(
            HubError(f"The model hub answered a new version of {model} without its number: it may have been made.")
        )
    return ModelVersion(model, version)


def upload(place: Place, form: FileForm, model: str, version: str) -> Call[Transfer]:
    """Send a file, and compare what the hub says it got with what was sent."""
    path = _files(model, version)
    answered = yield from _changing(
        place, f"the file {form.name}", lambda token: place.request(path, token, body=form, kind=form.content_type)
    )
    told = _object(answered, "an upload")
    size, file_id = told.get("size"), told.get("ipfsCid")
    if size != form.size:
        raise FileMismatchError(
            f"The model hub says that it got {shown(str(size), 20)} bytes of {form.name}, which has {form.size}. What "
            "it keeps is not the file: upload it again."
        )
    if not isinstance(file_id, str) or not file_id:
        raise FileMismatchError(f"The model hub took {form.name} and told no id for it: models are run by their id.")
    check = form.hash.check(file_id)
    if check.result == "fail":
        raise FileMismatchError(f"The model hub calls {form.name} by the id of another file: {check.detail}.")
    return Transfer(
        model=model,
        version=version,
        name=form.name,
        path=str(form.path),
        size=form.size,
        sha256=form.hash.sha256,
        file_id=file_id,
        check=check.result,
        detail=check.detail,
    )


def list_files(place: Place, model: str, version: str) -> Call[list[HubFile]]:
    """Read the files of a version, with a login where there is one."""
    path = _files(model, version)
    answered = yield from _read(place, lambda token: place.request(path, token), f"the files of {model} {version}")
    told = _decoded(answered, "a list of files")
    if not isinstance(told, list):
        raise HubError(f"The model hub answered the files of {model} {version} with something else than a list.")
    return [_file(item) for item in told if isinstance(item, dict) and isinstance(item.get("name"), str)]


def download(
    place: Place, arriving: Arriving, model: str, version: str, name: str, expected: "Expected"
) -> Call[Transfer]:
    """Fetch a file, compare it with what is known of it, and only then put it in its place."""
    listed = HubFile(name, expected.size, expected.file_id)
    if expected.file_id is None:
        found = {file.name: file for file in (yield from list_files(place, model, version))}
        if name not in found:
            names = shown(", ".join(found), 200) or "none"
            raise HubError(f"The version {version} of {model} has no file {name!r:.80}; it has: {names}.")
        listed = found[name]
    path = f"{_files(model, version)}/{part(name, 'The file')}"

    def request(token: Secret | None) -> Fetching:
        return Fetching(place.request(path, token), arriving)

    yield from _read(place, request, f"the file {name}")
    got = arriving.hash
    if expected.sha256 is not None and got.sha256 != expected.sha256.lower():
        raise _other(name, f"its SHA-256 is {got.sha256}, expected {shown(expected.sha256, 64)}")
    if listed.size is not None and got.size != listed.size:
        raise _other(name, f"it has {got.size} bytes, expected {listed.size}")
    check = got.check(listed.file_id)
    if check.result == "fail":
        raise _other(name, check.detail)
    arriving.keep()
    told_apart = check.result == "skip" and expected.sha256 is not None
    return Transfer(
        model=model,
        version=version,
        name=name,
        path=str(arriving.path),
        size=got.size,
        sha256=got.sha256,
        file_id=listed.file_id,
        check="pass" if told_apart else check.result,
        detail="the bytes have the SHA-256 that was given" if told_apart else check.detail,
    )


@dataclass(frozen=True, slots=True)
class Expected:
    """This holds what the caller knows of a file beforehand."""

    file_id: str | None = None
    sha256: str | None = None
    size: int | None = None


def part(text: object, what: str) -> str:
    """Return `text` as a part of a path. Raises `InvalidRequestError` for what no path can hold."""
    if not isinstance(text, str) or not text.strip() or text in (".", "..") or not text.isprintable():
        raise InvalidRequestError(f"{what} is {text!r:.60}, expected a name. Nothing was sent.")
    if set(text) & _NO_PARTS:
        raise InvalidRequestError(
            f"{what} is {text!r:.60}, which holds one of / \\ ? # %: the hub would not find it. Nothing was sent."
        )
    return quote(text, safe="")


def _files(model: str, version: str) -> str:
    return f"/models/{part(model, 'The model')}/versions/{part(version, 'The version')}/files"


def _file(item: JsonObject) -> HubFile:
    size, file_id = item.get("size"), item.get("ipfsCid") or item.get("cid")
    return HubFile(
        item["name"], size if type(size) is int else None, file_id if isinstance(file_id, str) and file_id else None
    )


def _posted(place: Place, path: str, body: JsonObject, what: str) -> Call[Answered]:
    content = json.dumps(body).encode()
    return (yield from _changing(place, what, lambda token: place.request(path, token, body=content)))


def _changing(place: Place, what: str, request: MakeRequest) -> Call[Answered]:
    """Ask for a change; never twice, unless the hub did not let us in."""
    try:
        answered: Answered = yield from _authorized(place, request)
    except ConnectionLostError as exc:
        raise _doubt(
            HubError(f"{exc} It is not known whether {what} was made: look before you ask again. Nothing is paid.")
        ) from exc
    if answered.status not in (200, 201):
        raise refusal(answered, what)
    return answered


def _authorized(place: Place, request: MakeRequest) -> Call[Answered]:
    token = yield Token()
    answered: Answered = yield request(token)
    if answered.status == 401:
        token = yield Token(token)
        answered = yield request(token)
    return answered


def _read(place: Place, request: MakeRequest, what: str) -> Call[Answered]:
    """Ask for what is there, without a login where none is possible."""
    if place.logs_in:
        answered: Answered = yield from _authorized(place, request)
    else:
        answered = yield request(None)
        if answered.status in (401, 403):
            raise ConfigurationError(
                f"The model hub shows {what} only to who is logged in: {', '.join(place.missing)} not given."
            )
    if answered.status != 200:
        raise refusal(answered, what, reading=True)
    return answered


def refusal(answered: Answered, what: str, *, reading: bool = False) -> HubError:
    """Return the error for an answer with a status that is no success; `what` names what was asked for."""
    status = answered.status
    reason = quotable(_detail(answered))
    about = f"The model hub refused {shown(what, 120)} (HTTP {status}){f': {reason}' if reason else ''}. "
    kind: type[HubError] = HubError
    if status == 401:
        kind, about = LoginRefusedError, about + "It does not take the login: check email, password and api_key."
    elif status == 404:
        about += "Check the names of model, version and file."
    elif status >= 500 and not reading:
        about += "It may have been made all the same: look before you ask again."
    else:
        about += "Nothing is paid."
    error = kind(about)
    error.status = status
    error.is_retryable = status == 429 or (reading and status >= 500)
    return error


def _detail(answered: Answered) -> object:
    try:
        said = decode_json(answered.body)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    return said.get("detail") or said.get("message") or said.get("error")


def _decoded(answered: Answered, what: str) -> object:
    try:
        return decode_json(answered.body)
    except ValueError as exc:
        raise _doubt(HubError(f"The model hub answered {what} with something else than JSON.")) from exc


def _object(answered: Answered, what: str) -> JsonObject:
    try:
        return parse_json_object(answered.body, f"The model hub's answer to {what}")
    except MalformedReplyError as exc:
        raise _doubt(HubError(f"{exc} It may have been made: look before you ask again.")) from exc


def _doubt(error: HubError) -> HubError:
    error.is_retryable = False
    return error


def _other(name: str, why: str) -> FileMismatchError:
    return FileMismatchError(f"What came is not the file {name!r:.80}: {why}. It was thrown away.")
