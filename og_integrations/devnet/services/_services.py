"""This module opens all services of one devnet, and says by which variables programs find them."""

import socket
import tempfile
from pathlib import Path

from og_integrations.devnet._clock import Clock
from og_integrations.devnet._http import HttpServer
from og_integrations.devnet._journal import Journal
from og_integrations.devnet.chain.models import Models
from og_integrations.devnet.services import _hub, _twins
from og_integrations.devnet.services._calls import ArmedFaults
from og_integrations.devnet.services._faults import ServiceFault
from og_integrations.devnet.services._hub import HubService
from og_integrations.devnet.services._identity import Identity
from og_integrations.devnet.services._proxy import FixedHosts
from og_integrations.devnet.services._twins import TwinService

_HUB_HOSTS = ("api.opengradient.ai", "www.googleapis.com", "securetoken.googleapis.com")
_TWINS_HOST = "chat-api.memchat.io"


class Services:
    """
    This holds the hub, its login and twins. `folder` is where the hub keeps its files (None: until the devnet ends).

    `urls` are where hub, twins, and the proxy for fixed hosts listen.
    """

    def __init__(
        self,
        clock: Clock,
        journal: Journal,
        models: Models | None,
        sockets: list[socket.socket],
        urls: list[str],
        folder: str | Path | None,
    ) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="og-hub-") if folder is None else None
        place = Path(folder if self._own is None else self._own.name)  # type: ignore[arg-type]
        place.mkdir(parents=True, exist_ok=True)
        self._faults = ArmedFaults()
        self.identity: Identity = Identity(clock, journal, self._faults)
        self.hub: HubService = HubService(place, self.identity, journal, self._faults, models)
        self.twins: TwinService = TwinService(journal, self._faults)
        self.hub_url: str = urls[0] + _hub.API
        self.login_url: str = urls[0]
        self.twins_url: str = urls[1] + _twins.API
        self.proxy_url: str = urls[2]
        hub_socket, twins_socket, proxy_socket, tls_socket = sockets
        handlers = dict.fromkeys(_HUB_HOSTS, self.hub.handle) | {_TWINS_HOST: self.twins.handle}
        self.fixed: FixedHosts = FixedHosts(handlers, tls_socket, proxy_socket)
        self.servers: list[HttpServer | FixedHosts] = [
            HttpServer(self.hub.handle, hub_socket),
            HttpServer(self.twins.handle, twins_socket),
            self.fixed,
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that make a child process use these services."""
        return {
            "OG_MODEL_HUB_URL": self.hub_url,
            "OG_MODEL_HUB_LOGIN_URL": self.login_url,
            "OG_MODEL_HUB_EMAIL": self.identity.email,
            "OG_MODEL_HUB_PASSWORD": self.identity.password,
            "OG_MODEL_HUB_API_KEY": self.identity.api_key,
            "OG_TWINS_URL": self.twins_url,
            "OG_TWINS_API_KEY": self.twins.api_key,
        }

    def proxy_environment(self, folder: str | Path) -> dict[str, str]:
        """
        Return the variables that bring a program here whose hosts are fixed: the published package, for example.

        The certificate to trust is written to `folder`.
        """
        file = Path(folder) / "devnet-authority.pem"
        file.write_text(self.fixed.certificate)
        trusted = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(file))
        proxied = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), self.proxy_url)
        here = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
        return trusted | proxied | here | {"FIREBASE_API_KEY": self.identity.api_key}

    def inject(self, fault: ServiceFault, times: int | None) -> None:
        """Let `fault` happen `times` times (None: until cleared)."""
        if fault.name == "dead_refresh":
            self.identity.end_logins()
        self._faults.arm(fault, times)

    def clear_faults(self) -> None:
        """Disarm every fault."""
        self._faults.armed.clear()

    def close(self) -> None:
        """Remove the folder, if it is a temporary one of ours."""
        if self._own is not None:
            self._own.cleanup()
