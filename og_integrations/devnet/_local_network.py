"""
A `Devnet` is one chain, some gateways and one funded wallet, on free ports of this machine.

`serve` runs one as a program: it starts, says so, and waits for Ctrl-C.
"""

import asyncio
import dataclasses
import functools
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, cast

from og_integrations.devnet._attestation import STRANGERS_BUILD, Authority
from og_integrations.devnet._clock import Clock
from og_integrations.devnet._enclave import EnclaveKeys, LocalEnclave
from og_integrations.devnet._fault import ChainFault, Fault, FaultInjector, Strangers
from og_integrations.devnet._generations import Generation, find_generation
from og_integrations.devnet._http import LOOPBACK, BackgroundLoop, HttpServer, listen, url_of
from og_integrations.devnet._journal import Journal, Settlement, Stats
from og_integrations.devnet.chain._chain import UNLIMITED, Chain, Wallet
from og_integrations.devnet.chain._evm import Evm, EvmChain, open_chain
from og_integrations.devnet.chain._node import Node
from og_integrations.devnet.faults import find_fault, refuse_without_node
from og_integrations.devnet.faults._chain import CHAIN_FAULTS
from og_integrations.devnet.gateway._gateway import GatewayOptions, RedirectTarget, RunningGateway, open_gateway
from og_integrations.devnet.gateway._relay import Relay
from og_integrations.devnet.model._model import Model
from og_integrations.devnet.model._script import Script
from og_integrations.devnet.model._upstream import Upstream
from og_integrations.devnet.paywall._facilitator import facilitator_of
from og_integrations.devnet.services import SERVICE_FAULTS, ServiceFault, Services
from og_integrations.devnet.services._proxy import FixedHosts
from og_integrations.devnet.verdict._judge import START, Mark, gathered, judge
from og_integrations.devnet.verdict._judgement import PATIENCE, Judgement
from og_integrations.errors import ConfigurationError
from og_integrations.networks import DEVNET, OPG, Network
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.proof._enclave import EnclavePolicy

if TYPE_CHECKING:
    from og_integrations.devnet.chain._inference import ModelNode

_T = TypeVar("_T")
DEFAULT_CAP = OPG // 10
"""What the real gateways ask to authorize: 0.1 OPG."""
_START_OPG = 1_000 * OPG
_START_NATIVE = 10**18
_REAP_SECONDS = 25
"""How often the real gateway looks for idle sessions."""


class Devnet:
    """
    A devnet is the whole OpenGradient network on 127.0.0.1, in a background thread; it is a context manager.

    `enclaves` gateways are started, with TLS unless `tls` is False. `rpc_port` and `gateway_ports`
    fix the ports (0: any free one). `clock` replaces the machine's time (unix seconds). `cap` is what
    the gateways ask to authorize, in base units (default: what those of the generation ask). `model` answers instead
    of the script, or the OpenAI-compatible server at the URL `upstream` (see `Upstream` for its options). The
    provider's hidden retries before a 500 take `retry_seconds` (1.35 on the real gateway).
    `generation` is how the gateways behave: `"april"` (as captured), `"verbatim"`, `"reduced"`, `"effort"`, `"search"`
    or `"newest"`, or a `Generation` of your own; `"2026-04"` and `"next"` are old names of april and reduced.
    Hashes of answers are published at `batch_contract`, their trees at `aggregator_url` (not with `evm`).
    Those that take sealed requests have a relay in front of them, at `relay_url`, which serves who shows `relay_token`
    and pays for itself.
    `evm="anvil"` makes the chain a real EVM with real contracts (needs npm and the extra `evm`). `host` is where the
    servers listen, `advertise` the name by which others reach them: in a container, for example. Whoever reaches them
    owns every wallet of the devnet.
    """

    def __init__(
        self,
        enclaves: int = 1,
        clock: Callable[[], float] | None = None,
        *,
        tls: bool = True,
        rpc_port: int = 0,
        gateway_ports: Sequence[int] = (),
        cap: int | None = None,
        model: Model | None = None,
        upstream: str | None = None,
        retry_seconds: float = 0.0,
        generation: str | Generation = "april",
        evm: Evm | None = None,
        host: str = LOOPBACK,
        advertise: str | None = None,
    ) -> None:
        self._host, self._known_as = host, advertise or (host if host != "0.0.0.0" else LOOPBACK)
        self.generation: Generation = find_generation(generation)
        self.clock: Clock = Clock(clock)
        self.journal: Journal = Journal()
        self._background = BackgroundLoop(self._open, self._close)
        self._reaper: asyncio.Task[None] | None = None
        # Before a socket is open: a URL that is none ends here.
        answering: Model = model or (Upstream(upstream) if upstream else Script())
        sockets = listen(rpc_port, *[*gateway_ports, *[0] * enclaves][:enclaves], 0, host=host)
        rpc_socket, *gateway_sockets, redirect_socket = sockets
        self._faults = FaultInjector(redirect_target=self._url(redirect_socket))
        url = self._url(rpc_socket)
        network = dataclasses.replace(DEVNET, rpc_url=url, registry_rpc_url=url)
        self.chain: Chain = open_chain(network, self.clock, evm, sockets)
        self.chain.listed = self._faults.listed
        redirected = HttpServer(RedirectTarget(self.journal, self.clock).handle, redirect_socket)
        self._plain_servers: list[HttpServer | FixedHosts] = [self._node(rpc_socket), redirected]
        self.services: Services | None = None
        self.models: ModelNode | None = self._open_models()
        self._wallets: list[Wallet] = []
        self._watched: list[list[JsonObject]] = []
        self._cap = self.generation.cap if cap is None else cap
        self.authority: Authority = Authority(self.clock)
        options = self._options = self._made(answering, retry_seconds=retry_seconds, tls=tls)
        self._gateways: list[RunningGateway] = [open_gateway(sock, options) for sock in gateway_sockets]
        self.enclaves: list[LocalEnclave] = [gateway.enclave for gateway in self._gateways]
        self._open_services()
        self._owner = self.new_wallet()

    def _listen(self) -> socket.socket:
        return listen(0, host=self._host)[0]

    def _url(self, sock: socket.socket) -> str:
        return url_of(sock, self._known_as)

    def _node(self, sock: socket.socket) -> HttpServer:
        return HttpServer(Node(self.chain, self.journal, self._faults.at_node).handle, sock)

    def _open_services(self) -> None:
        """Open what stands beside the gateways: the aggregator of published blobs, and the relay if there is one."""
        sock = self._listen()
        self._plain_servers.append(HttpServer(self.chain.batches.handle, sock))
        self.aggregator_url: str = self._url(sock)
        self.batch_contract: str = self.chain.batches.contract
        self.relay_token: str = secrets.token_urlsafe(24)
        self.relay_url: str | None = None
        if self.generation.max_sealed is not None:
            self.relay_url = self._open_relay()

    def _open_relay(self) -> str:
        """Return where a relay to these gateways listens."""
        sock = self._listen()
        relay = Relay({gateway.enclave.tee_id: gateway for gateway in self._gateways}, self.chain, self.relay_token)
        self.journal.secrets.add(self.relay_token)
        self._plain_servers.append(HttpServer(relay.handle, sock))
        return self._url(sock)

    def _made(self, model: Model, *, retry_seconds: float, tls: bool) -> GatewayOptions:
        return GatewayOptions(
            chain=self.chain,
            facilitator=facilitator_of(self.chain),
            faults=self._faults,
            journal=self.journal,
            model=model,
            generation=self.generation,
            cap=self._cap,
            retry_seconds=retry_seconds,
            tls=tls,
            advertise=self._known_as,
            authority=self.authority,
        )

    def _open_models(self) -> "ModelNode | None":
        """Put the node that runs models in front of a real EVM; the registry is read through it, too."""
        self.network: Network = self.chain.network
        if not isinstance(self.chain, EvmChain):
            return None
        from og_integrations.devnet.chain._inference import ModelNode

        sock = self._listen()
        models = ModelNode(self.chain.node, self.clock)
        self._plain_servers.append(HttpServer(models.handle, sock))
        url = self._url(sock)
        self.network = dataclasses.replace(self.network, registry_rpc_url=url, node_api_url=url)
        self.chain.network = self.network
        return models

    def start(self) -> None:
        """Start the servers. Raises `RuntimeError` if that fails."""
        self._background.start()

    def stop(self) -> None:
        """Stop the servers and cut every connection; nothing is left behind."""
        self._background.stop()
        for server in self._servers():
            server.release()
        if self.services is not None:
            self.services.close()
        self.chain.close()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    async def _open(self) -> None:
        for server in self._servers():
            await server.start()
        self._reaper = asyncio.create_task(self._reap())

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAP_SECONDS)
            for gateway in self._gateways:
                gateway.paywall.reap()

    async def _close(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
        for server in self._servers():
            await server.close()

    def _servers(self) -> list[HttpServer | FixedHosts]:
        return [*(gateway.server for gateway in self._gateways), *self._plain_servers]

    @property
    def private_key(self) -> str:
        """Return the key of the funded wallet, 0x-hex; made for this devnet and worth nothing elsewhere."""
        return self._owner.private_key

    @property
    def wallet(self) -> str:
        """Return the address of the funded wallet."""
        return self._owner.address

    @property
    def rpc_url(self) -> str:
        """Return the node's URL."""
        return self.network.rpc_url

    @property
    def registry_address(self) -> str:
        """Return where the TEERegistry is."""
        return self.network.registry_address

    def environment(self) -> dict[str, str]:
        """Return the variables that make a child process use this devnet."""
        found = {
            "OG_PRIVATE_KEY": self.private_key,
            "OG_NETWORK": self.network.name,
            "OG_RPC_URL": self.rpc_url,
            "OG_REGISTRY_RPC_URL": self.network.registry_rpc_url,
            "OG_REGISTRY_ADDRESS": self.registry_address,
        }
        if self.relay_url is not None:
            found |= {"OG_RELAY_URL": self.relay_url, "OG_RELAY_TOKEN": self.relay_token}
        return found if self.services is None else found | self.services.environment()

    def open_services(self, folder: str | Path | None = None) -> Services:
        """
        Open the model hub over `folder` (None: one of its own), its login, twins, and a proxy for fixed hosts.

        Once: a second call returns the same ones.
        """
        if self.services is None:
            sockets = listen(0, 0, 0, 0, host=self._host)
            models = None if self.models is None else self.models.models
            urls = list(map(self._url, sockets))
            self.services = Services(self.clock, self.journal, models, sockets, urls, folder)
            for server in self.services.servers:
                self._background.run(server.start)
                self._plain_servers.append(server)
        return self.services

    def new_wallet(self, opg: int = _START_OPG, allowance: int = UNLIMITED, native: int = _START_NATIVE) -> Wallet:
        """Return a new account that owns `opg`, of which Permit2 may take `allowance` (base units)."""
        wallet = Wallet.new()
        self._wallets.append(wallet)
        self._call(lambda: self.chain.fund(wallet.address, opg=opg, allowance=allowance, native=native))
        return wallet

    def inject(
        self,
        fault: str | Fault | ChainFault | ServiceFault,
        *,
        times: int | None = None,
        enclave: LocalEnclave | None = None,
    ) -> None:
        """
        Let `fault` (a name of the catalogue) happen `times` times (default: until `clear_faults`).

        With `enclave` only there. Raises `ConfigurationError` for an unknown name, and with `evm` for a
        fault of the node or the registry, which a real node would not show. Faults of models on chain need `evm`, those
        of the model hub and twins `open_services`.
        """
        of_service = SERVICE_FAULTS.get(fault) if isinstance(fault, str) else fault
        if isinstance(of_service, ServiceFault):
            services = self.services
            if services is None:
                raise ConfigurationError(f"Fault {of_service.name!r} is of services: call open_services first.")
            self._call(lambda: services.inject(of_service, times))
            return
        of_chain = CHAIN_FAULTS.get(fault) if isinstance(fault, str) else fault
        if isinstance(of_chain, ChainFault):
            if self.models is None:
                raise ConfigurationError(f'Fault {of_chain.name!r} is of models on chain: they need evm="anvil".')
            self.models.inject(of_chain)
            return
        found = find_fault(fault) if isinstance(fault, str) else cast(Fault, fault)
        if not self.chain.answered_by_us:
            refuse_without_node(found)
        if found.invents is not None:
            self._open_strangers()
        where = None if enclave is None else enclave.tee_id
        self._call(lambda: self._faults.arm(found, times=times, enclave=where))

    def _open_strangers(self) -> None:
        """Start what somebody else would have to run, once: an enclave with a program of his own, and a relay."""
        if self._faults.strangers is not None:
            return
        own_socket, relay_socket = listen(0, 0, host=self._host)
        own = open_gateway(own_socket, self._options, STRANGERS_BUILD)
        keys, heard = EnclaveKeys(), self._gateways[0]
        relay = HttpServer(heard.gateway.handle, relay_socket, tls=keys.tls_context() if self._options.tls else None)
        scheme = "https" if self._options.tls else "http"
        listed = dataclasses.replace(
            heard.enclave.entry(),
            endpoint=f"{scheme}://{self._known_as}:{relay_socket.getsockname()[1]}",
            certificate=keys.certificate,
        )
        for server in (own.server, relay):
            self._background.run(server.start)
            self._plain_servers.append(server)
        self._faults.strangers = Strangers(enclave=own.enclave.entry(), relay=listed)

    def enclave_policy(self) -> EnclavePolicy:
        """
        Return the strictest policy that accepts the enclaves of this devnet.

        It requires their attestation documents, signed from this devnet's own root down, about the builds they run.
        """
        return EnclavePolicy(
            attestation="require",
            measurements=sorted({enclave.build for enclave in self.enclaves}),
            attestation_roots=[self.authority.root_sha256],
        )

    def clear_faults(self) -> None:
        """Disarm every fault."""
        self._call(self._faults.armed.clear)
        if self.services is not None:
            self._call(self.services.clear_faults)
        if self.models is not None:
            self.models.clear_faults()

    def retire(self, enclave: LocalEnclave) -> None:
        """Take `enclave` off the registry's active list; its gateway goes on answering."""
        self._call(lambda: self.chain.retire(enclave.tee_id))

    def kill(self, enclave: LocalEnclave) -> None:
        """End the gateway of `enclave`: connections are cut, then refused; the registry goes on listing it."""
        for gateway in self._gateways:
            if gateway.enclave is enclave:
                self._background.run(gateway.server.close)
                gateway.server.release()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once, for the whole devnet; idle sessions are settled."""

        def pass_time() -> None:
            self.clock.advance(seconds)
            self.chain.passed(seconds)
            if self.models is not None:
                self.models.tick()
            for gateway in self._gateways:
                gateway.paywall.reap()

        self._call(pass_time)

    def publish_batches(self) -> None:
        """Publish the hashes that wait for their batch, as happens by itself after at most 15 minutes."""
        self._call(self.chain.batches.flush)

    def settle_all(self) -> list[Settlement]:
        """End every session now and return the settlements that this made."""

        def settle() -> list[Settlement]:
            before = len(self.journal.settlements)
            for gateway in self._gateways:
                for session in gateway.paywall.sessions.open_sessions():
                    gateway.paywall.close(session)
            return self.journal.settlements[before:]

        return self._call(settle)

    def stats(self) -> Stats:
        """Return what was seen, in numbers."""

        def count() -> Stats:
            return self.journal.stats(
                handshakes=sum(gateway.server.handshakes for gateway in self._gateways),
                connections=sum(gateway.server.connections for gateway in self._gateways),
            )

        return self._call(count)

    def watch(self, receipts: list[JsonObject]) -> list[JsonObject]:
        """
        Remember a list that receipts are collected in, for `verdict`; return it.

        Every receipt of every call has to end in one of the watched lists.
        """
        self._watched.append(receipts)
        return receipts

    def mark(self) -> Mark:
        """Return this moment, for `verdict(since=…)`: one devnet for many tests, each judged by itself."""
        return self._call(lambda: Mark.of(self.journal, self._watched))

    def unwatch(self, since: Mark) -> None:
        """Forget the lists that are watched since then."""
        del self._watched[len(since.receipts) :]

    def verdict(
        self,
        receipts: Sequence[JsonObject] | None = None,
        *,
        answers: Sequence[str] = (),
        logs: Sequence[str] = (),
        patience: float = PATIENCE,
        since: Mark = START,
    ) -> Judgement:
        """
        Return what the client did wrong so far (`since` a mark); false (and `clean`) if it behaved.

        A server sees only half of it: give all `receipts` (or `watch` them), or the `answers` (texts)
        that the client took for finished, and what it wrote to its `logs`. A stalled answer may be
        waited for `patience` seconds.
        """
        claims = gathered(since.new_receipts(self._watched), receipts, answers, logs)
        claims.spoiled = set() if self.models is None else self.models.spoiled
        asked = functools.partial(judge, claims, cap=self._cap, secrets=self.secrets(), patience=patience)
        return self._call(lambda: asked(since.new_entries(self.journal), self.network))

    def secrets(self) -> set[str]:
        """Return every text that a client must keep to itself: keys, payments, session ids."""
        keys = [wallet.private_key for wallet in self._wallets]
        return self._call(lambda: {*keys, *(key[2:] for key in keys), *self.journal.secrets})

    def _call(self, function: Callable[[], _T]) -> _T:
        return self._background.call(function)


_LOOK_SECONDS = 0.1


def serve(net: Devnet, ready: Callable[[Devnet], None]) -> None:
    """
    Run `net` until SIGINT (Ctrl-C) or SIGTERM; call `ready` once it answers.

    For the main thread of a program. What the signals did before is restored at the end.
    """
    asked_to_stop: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        # Nothing that takes a lock: the handler may run while this very thread holds it.
        asked_to_stop.append(number)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with net:
            ready(net)
            while not asked_to_stop:
                time.sleep(_LOOK_SECONDS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
