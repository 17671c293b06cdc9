"""
This module logs in at OpenGradient's chat in the browser; the relay of sealed requests takes the login's token.

A listener on this machine waits until the chat's page hands in the session. Only that page may: the published one took
a session of whatever site was open in the browser, so that a stranger could have others ask through his account.
"""

import json
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlencode, urlsplit

from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.sdk._errors import CallFailedError, WrongArgumentError

DEFAULT_CHAT_APP_URL = "https://chat.opengradient.ai"
_PATH, _KIND = "/cli-auth", "opengradient-cli-auth"
_MOST_BYTES = 100_000
_LOOPBACK = ("127.0.0.1", "localhost")


class LoginTimedOutError(CallFailedError, TimeoutError):
    """Nobody signed in while the login waited."""


@dataclass(frozen=True)
class ChatAccountAuth:
    """This is a session of the chat: its tokens, its user, and where relay and registry are. No token is shown."""

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    token_type: str = "bearer"
    expires_at: int | None = None
    expires_in: int | None = None
    user: JsonObject = field(default_factory=dict)
    config: JsonObject = field(default_factory=dict)
    raw: JsonObject = field(default_factory=dict, repr=False)

    @property
    def email(self) -> str | None:
        """Return the account's address, if it is told."""
        return _text(self.user.get("email"))

    @property
    def chat_api_base_url(self) -> str | None:
        """Return the relay, as `ConfidentialLLM` takes it."""
        return _text(self.config.get("chat_api_base_url"))

    @property
    def tee_registry_rpc_url(self) -> str | None:
        """Return the node of the registry that the chat reads."""
        return _text(self.config.get("tee_registry_rpc_url"))

    @property
    def tee_registry_address(self) -> str | None:
        """Return the registry that the chat reads."""
        return _text(self.config.get("tee_registry_address"))

    @property
    def is_expired(self) -> bool:
        """Return whether the token has run out; False if it does not say when."""
        return self.expires_at is not None and time.time() >= self.expires_at

    def auth_headers(self) -> dict[str, str]:
        """Return the header that the relay is shown, with the token in it."""
        return {"Authorization": f"Bearer {self.access_token}"}


def login_chat_account(
    chat_app_url: str = DEFAULT_CHAT_APP_URL,
    *,
    app_name: str = "opengradient-sdk",
    timeout: float = 300.0,
    open_browser: bool = True,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None] | None = None,
) -> ChatAccountAuth:
    """
    Open the chat's login in the browser, wait until somebody has signed in, and return the session.

    `on_ready` is given the address of the login, to show it. Raises `TimeoutError` after `timeout` seconds,
    `ValueError` for a listener that others could reach or a session that cannot be read.
    """
    if host not in _LOOPBACK:
        raise WrongArgumentError(f"host is {host!r:.60}, expected one of {_LOOPBACK}: a session is handed in there.")
    parts = urlsplit(chat_app_url)
    with _Listener((host, port), f"{parts.scheme}://{parts.netloc}") as listener:
        asked = urlencode({"redirect_uri": f"http://{host}:{listener.server_port}/", "app_name": app_name})
        address = f"{chat_app_url.rstrip('/')}{_PATH}?{asked}"
        if on_ready is not None:
            on_ready(address)
        if open_browser:
            webbrowser.open(address)
        until = time.monotonic() + timeout
        serving = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        try:
            if not listener.handed_in.wait(max(0.0, until - time.monotonic())):
                raise LoginTimedOutError(f"Nobody signed in within {timeout:.0f} s. Open the page again: {address}")
        finally:
            listener.shutdown()
            serving.join()
    return _session(listener.session)


def _session(bundle: JsonObject) -> ChatAccountAuth:
    if (token := _text(bundle.get("access_token"))) is None:
        raise WrongArgumentError("The session that the chat's page handed in has no access_token.")
    return ChatAccountAuth(
        access_token=token,
        refresh_token=_text(bundle.get("refresh_token")) or "",
        token_type=_text(bundle.get("token_type")) or "bearer",
        expires_at=_whole(bundle.get("expires_at")),
        expires_in=_whole(bundle.get("expires_in")),
        user=_object(bundle.get("user")),
        config=_object(bundle.get("config")),
        raw=bundle,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


class _Listener(HTTPServer):
    """The listener takes one session, handed in by the page at `origin` and nobody else."""

    def __init__(self, address: tuple[str, int], origin: str) -> None:
        super().__init__(address, _Handler)
        self.origin = origin
        self.session: JsonObject = {}
        self.handed_in = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def do_OPTIONS(self) -> None:
        self._answer(204 if self._is_own_page else 403)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        found: object = None
        if self._is_own_page and length.isascii() and length.isdecimal() and int(length) <= _MOST_BYTES:
            try:
                found = decode_json(self.rfile.read(int(length)))
            except ValueError:
                found = None
        if not isinstance(found, dict) or found.get("type") != _KIND or self.server.handed_in.is_set():
            self._answer(400 if self._is_own_page else 403, {"ok": False, "error": "unexpected payload"})
            return
        self.server.session = found
        self._answer(200, {"ok": True})
        self.server.handed_in.set()

    @property
    def _is_own_page(self) -> bool:
        return self.headers.get("Origin") == self.server.origin

    def _answer(self, status: int, said: JsonObject | None = None) -> None:
        body = b"" if said is None else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Access-Control-Allow-Origin", self.server.origin)
        self.send_header("Access-Control-Allow-Methods", "POST, OPTIONS")
        self.send_header("Access-Control-Allow-Headers", "Content-Type")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: the address of a request may hold what nobody else should read."""
