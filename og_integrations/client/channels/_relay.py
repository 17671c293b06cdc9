"""
A relay carries sealed requests between its users and enclaves, which then do not learn from each other's side who asks.

Settings name a relay before anything is sealed: this file needs no cryptography. `_sealed` says what it carries.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from og_integrations._urls import NodeUrl, server_of, whole_url
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.chat._wire import RELAY_PATH

PUBLIC_RELAY = "https://chat-api.opengradient.ai"
"""The relay of OpenGradient's own chat; it takes the access token that its login hands out."""
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """
    A relay is where sealed requests are brought: `url` takes them, and `token` hands out what it is to be shown.

    `token` is called before each request, so that one that has run out is never sent; None: it is shown nothing.
    """

    url: NodeUrl
    token: Callable[[], object] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str | None, token: object) -> "Relay | None":
        """
        Return the relay at `url`, or None if there is none.

        Raises `ConfigurationError` for a URL whose connection others could read, or a token without a URL.
        """
        if url is None:
            if token is not None:
                raise ConfigurationError(
                    "relay_token is given without relay_url, so it would be shown to nobody and the wallet would pay. "
                    f"Name the relay; OpenGradient's own is {PUBLIC_RELAY}."
                )
            return None
        parts = urlsplit(url)
        if parts.scheme != "https" and not _is_this_machine(parts.hostname or ""):
            raise ConfigurationError(f"relay_url is {server_of(url)}, expected https: the token would travel in clear.")
        whole = NodeUrl(url)
        complete = whole_url(url).rstrip("/").endswith(RELAY_PATH)
        return cls(url=whole.under("") if complete else whole.under(RELAY_PATH), token=_provider(token))

    @property
    def host(self) -> str:
        """Return host and port, as a receipt names the relay."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def name(self) -> str:
        """Return what messages call it."""
        return f"the relay {self.host}"


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _provider(token: object) -> Callable[[], object] | None:
    if token is None or callable(token):
        return token
    # A `SecretStr` of pydantic's, or what the environment held.
    return getattr(token, "get_secret_value", lambda: token)


def check_token(token: object) -> Secret:
    """Return `token` if it can be sent as one. Raises `ConfigurationError`, which does not show it."""
    kind, text = type(token).__name__, token.reveal() if isinstance(token, Secret) else token
    found = Secret(text) if isinstance(text, str) and _TOKEN.fullmatch(text) else None
    del token, text  # frames are reported with what they hold
    if found is None:
        raise ConfigurationError(
            f"relay_token gave a {kind}, expected text of printable characters without blanks. It is not shown here. "
            "Nothing was sent."
        )
    return found
