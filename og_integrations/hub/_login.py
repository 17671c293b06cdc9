"""
This module logs a client in at the model hub: one login, renewed before it expires and, once, where the hub refuses it.

The identity service is a third party's. It is shown the password once; later its refresh token. All of them live in
memory only, and in `Secret`s.
"""

import json
import re
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from urllib.parse import quote

from og_integrations._urls import NodeUrl, server_of
from og_integrations.client._settings import HUB_VARIABLES, HubSettings
from og_integrations.client.channels._channel import HttpRequest
from og_integrations.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    LoginRefusedError,
    MalformedReplyError,
)
from og_integrations.protocol._redact import Secret
from og_integrations.protocol._strict_json import JsonObject, parse_json_object

RENEW_EARLY = 60.0
"""Seconds of life that a token must have left to be used."""
LOGIN_PATH = "/identitytoolkit/v3/relyingparty/verifyPassword"
REFRESH_PATH = "/v1/token"
_LOGIN_HOST, _REFRESH_HOST = "https://www.googleapis.com", "https://securetoken.googleapis.com"
_WORD = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
"""What the service says of a refusal; sentences of it could quote what it was shown."""


@dataclass(frozen=True, slots=True)
class Answered:
    """This is what a server answered; its bytes may hold tokens."""

    status: int
    body: bytes = field(repr=False)


Asking = Generator[HttpRequest, Answered, Secret]


@dataclass(frozen=True, slots=True)
class _Tokens:
    """These are the token that the hub is shown, the one that renews it, and its end (monotonic clock, seconds)."""

    shown: Secret
    renewing: Secret
    until: float


class Login:
    """A login belongs to one client; whoever runs `token` sees to it that nobody else does at the same time."""

    def __init__(self, settings: HubSettings, timeout: float) -> None:
        self._settings, self._timeout = settings, timeout
        self._tokens: _Tokens | None = None

    @property
    def is_possible(self) -> bool:
        """Return whether email, password and key are known."""
        return not self._settings.missing

    def require(self) -> None:
        """Raise `ConfigurationError`, which names what is missing, if there can be no login."""
        if missing := self._settings.missing:
            raise ConfigurationError(
                f"The model hub wants a login, and {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not "
                "given. Nothing was sent. The key is the web API key of the hub's project at its identity service, "
                "not the wallet's."
            )

    def token(self, refused: Secret | None = None) -> Asking:
        """
        Return the token that the hub is shown; a new one is asked for if ours ends soon or is the `refused` one.

        Raises `LoginRefusedError` or `ConfigurationError`.
        """
        self.require()
        tokens = self._tokens
        if tokens is not None and tokens.shown != refused and time.monotonic() < tokens.until:
            return tokens.shown
        self._tokens = None
        if tokens is not None:
            self._tokens = yield from self._renewed(tokens)
        if self._tokens is None:
            self._tokens = yield from self._logged_in()
        return self._tokens.shown

    def _logged_in(self) -> Generator[HttpRequest, Answered, _Tokens]:
        settings = self._settings
        answered = yield from self._ask(_LOGIN_HOST, LOGIN_PATH, Secret(_credentials(settings)))
        if answered.status != 200:
            raise _refused(answered)
        tokens = _read(answered, "idToken", "refreshToken", "expiresIn")
        if tokens is None:
            raise LoginRefusedError("The identity service answered a login without its tokens: it cannot be used.")
        return tokens

    def _renewed(self, tokens: _Tokens) -> Generator[HttpRequest, Answered, _Tokens | None]:
        """Return the renewed login, None if the service does not renew it: then only the password helps."""
        body = Secret(json.dumps({"grantType": "refresh_token", "refreshToken": tokens.renewing.reveal()}))
        answered = yield from self._ask(_REFRESH_HOST, REFRESH_PATH, body)
        return _read(answered, "id_token", "refresh_token", "expires_in") if answered.status == 200 else None

    def _ask(self, host: str, path: str, body: Secret) -> Generator[HttpRequest, Answered, Answered]:
        base = self._settings.login_url or host
        key = self._settings.api_key
        assert key is not None  # noqa: S101 - `require` comes first
        try:
            return (
                yield HttpRequest(
                    url=NodeUrl(base).under(f"{path}?key={quote(key.reveal(), safe='')}"),
                    whom=server_of(base),
                    headers={"Content-Type": "application/json", "Accept": "application/json"},
                    body=body.reveal().encode(),
                    timeout=self._timeout,
                    whole=True,
                )
            )
        except (ConnectionFailedError, ConnectionLostError) as exc:
            error = LoginRefusedError(f"No login at the model hub: {exc} Try again.")
            error.is_retryable = True
            raise error from exc


def _credentials(settings: HubSettings) -> str:
    password = settings.password
    assert password is not None  # noqa: S101 - `require` comes first
    return json.dumps({"email": settings.email, "password": password.reveal(), "returnSecureToken": True})


def _read(answered: Answered, shown: str, renewing: str, seconds: str) -> _Tokens | None:
    """Return the tokens in an answer, under the names that this kind of answer has for them; None if they are not."""
    try:
        # Tokens stand in no variable here, since reports of errors show the variables of a frame.
        found = {name: Secret(str(value)) for name, value in _object(answered).items()}
        life = float(found[seconds].reveal())
    except (KeyError, ValueError, MalformedReplyError):
        return None
    if shown not in found or renewing not in found or not found[shown].reveal():
        return None
    return _Tokens(found[shown], found[renewing], time.monotonic() + life - RENEW_EARLY)


def _object(answered: Answered) -> JsonObject:
    return parse_json_object(answered.body, "The identity service's answer")


def _refused(answered: Answered) -> LoginRefusedError:
    word = _word_of(answered)
    about = "the email or the password is wrong"
    if word in ("USER_DISABLED", "TOO_MANY_ATTEMPTS_TRY_LATER"):
        about = "see its word"
    elif answered.status >= 500:
        about = "it is out of order: try again"
    elif not word or answered.status == 403:
        about = f"the key is refused: check api_key ({' or '.join(HUB_VARIABLES['api_key'])})"
    error = LoginRefusedError(
        f"The identity service refused the login to the model hub (HTTP {answered.status}{word and ', ' + word}): "
        f"{about}. Email and password come from {HUB_VARIABLES['email'][0]} and {HUB_VARIABLES['password'][0]}."
    )
    error.status, error.is_retryable = answered.status, answered.status >= 500
    return error


def _word_of(answered: Answered) -> str:
    try:
        said = _object(answered).get("error")
    except MalformedReplyError:
        return ""
    message = said.get("message") if isinstance(said, dict) else None
    found = _WORD.match(message) if isinstance(message, str) else None
    return found[0] if found else ""
