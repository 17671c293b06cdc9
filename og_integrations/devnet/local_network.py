"""The devnet as a whole: one chain, some gateways, one funded wallet, on free ports of this machine."""

import asyncio
import dataclasses
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from eth_account import Account

from og_integrations.devnet.answering import Answerer
from og_integrations.devnet.background import BackgroundLoop
from og_integrations.devnet.chain import UNLIMITED, Chain
from og_integrations.devnet.clock import Clock
from og_integrations.devnet.data_settlement import DataSettler
from og_integrations.devnet.enclave import EnclaveKeys, LocalEnclave, random_address
from og_integrations.devnet.facilitator import Facilitator
from og_integrations.devnet.faulting import Fault, FaultBoard
from og_integrations.devnet.faults import find_fault
from og_integrations.devnet.gateway import Gateway
from og_integrations.devnet.journal import Journal, Settlement, Stats
from og_integrations.devnet.model import Model
from og_integrations.devnet.offer import requirement
from og_integrations.devnet.paywall import Paywall
from og_integrations.devnet.rpc import Node
from og_integrations.devnet.script import Script
from og_integrations.devnet.server import HttpServer, listen
from og_integrations.networks import DEVNET, OPG, Network

_T = TypeVar("_T")
DEFAULT_CAP = OPG // 10
"""What the real gateways ask to authorize: 0.1 OPG."""
FACILITATOR_ADDRESS = "0xfdC9A10526e3535770E5Ad8aa082165A2D49d4E3"
"""The facilitator of the captures."""
_START_OPG = 1_000 * OPG
_START_NATIVE = 10**18
_REAP_SECONDS = 25
"""How often the real gateway looks for idle sessions."""


class Wallet(NamedTuple):
    """A throw-away account: its address (EIP-55) and private key (0x-hex)."""

    address: str
    private_key: str

    def __repr__(self) -> str:
        """Name the account, never its key."""
        return f"Wallet({self.address})"


class Devnet:
    """
    The whole OpenGradient network on 127.0.0.1, in a background thread; a context manager.

    `enclaves` gateways are started, with TLS unless `tls` is False. `rpc_port` and `gateway_ports`
    fix the ports (0: any free one). `clock` replaces the machine's time (unix seconds). `cap` is what
    the gateways ask to authorize, in base units. `model` answers instead of the script. The provider's
    hidden retries before a 500 take `retry_seconds` (1.35 on the real gateway).
    """

    def __init__(
        self,
        enclaves: int = 1,
        clock: Callable[[], float] | None = None,
        *,
        tls: bool = True,
        rpc_port: int = 0,
        gateway_ports: Sequence[int] = (),
        cap: int = DEFAULT_CAP,
        model: Model | None = None,
        retry_seconds: float = 0.0,
    ) -> None:
        self.clock = Clock(clock)
        self.journal = Journal()
        self._faults = FaultBoard()
        self._background = BackgroundLoop(self._open, self._close)
        self._reaper: asyncio.Task[None] | None = None
        ports = [*gateway_ports, *[0] * enclaves][:enclaves]
        rpc_socket, *gateway_sockets = listen(rpc_port, *ports)
        url = f"http://127.0.0.1:{rpc_socket.getsockname()[1]}"
        self.network: Network = dataclasses.replace(DEVNET, rpc_url=url, registry_rpc_url=url)
        self.chain = Chain(self.network, self.clock)
        self.chain.listed = self._faults.listed
        node = Node(self.chain, self.journal.rpc_calls)
        node.broken = self._faults.rpc
        self._rpc_server = HttpServer(node.handle, rpc_socket)
        self._facilitator = Facilitator(self.chain, FACILITATOR_ADDRESS)
        self._gateway_servers: list[HttpServer] = []
        self._paywalls: list[Paywall] = []
        self._wallets: list[Wallet] = []
        self.enclaves: list[LocalEnclave] = []
        self._model: Model = model or Script()
        self._cap = cap
        self._retry_seconds = retry_seconds
        for sock in gateway_sockets:
            self._add_gateway(sock, tls=tls)
        self._owner = self.new_wallet()

    def _add_gateway(self, sock: socket.socket, *, tls: bool) -> None:
        keys = EnclaveKeys()
        enclave = LocalEnclave(
            keys=keys,
            endpoint=f"{'https' if tls else 'http'}://127.0.0.1:{sock.getsockname()[1]}",
            payment_address=random_address(),
            wallet_address=random_address(),
            started_at=self.clock.seconds(),
        )
        paywall = Paywall(
            enclave=enclave.tee_id,
            requirement=requirement(
                self.network, cap=self._cap, pay_to=enclave.payment_address, facilitator=self._facilitator.address
            ),
            facilitator=self._facilitator,
            clock=self.clock,
            journal=self.journal,
        )
        answerer = Answerer(keys, self._model, self.clock, DataSettler(self.journal), retry_seconds=self._retry_seconds)
        gateway = Gateway(
            enclave=enclave,
            paywall=paywall,
            answerer=answerer,
            faults=self._faults,
            journal=self.journal,
            clock=self.clock,
        )

        def impostor() -> ssl.SSLContext | None:
            shown = self._faults.shows_wrong_certificate(enclave.tee_id)
            return self._faults.impostor.tls_context() if shown else None

        server = HttpServer(gateway.handle, sock, tls=keys.tls_context() if tls else None, impostor_tls=impostor)
        self.enclaves.append(enclave)
        self.chain.enclaves.append(enclave.entry())
        self._paywalls.append(paywall)
        self._gateway_servers.append(server)

    def start(self) -> None:
        """Start the servers. Raises `RuntimeError` if that fails."""
        self._background.start()

    def stop(self) -> None:
        """Stop the servers and cut every connection; nothing is left behind."""
        self._background.stop()
        for server in (self._rpc_server, *self._gateway_servers):
            server.release()

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
        for server in (self._rpc_server, *self._gateway_servers):
            await server.start()
        self._reaper = asyncio.create_task(self._reap())

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAP_SECONDS)
            for paywall in self._paywalls:
                paywall.reap()

    async def _close(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
        for server in (*self._gateway_servers, self._rpc_server):
            await server.close()

    @property
    def private_key(self) -> str:
        """The key of the funded wallet, 0x-hex; made for this devnet and worth nothing elsewhere."""
        return self._owner.private_key

    @property
    def wallet(self) -> str:
        """The address of the funded wallet."""
        return self._owner.address

    @property
    def rpc_url(self) -> str:
        """The node's URL."""
        return self.network.rpc_url

    @property
    def registry_address(self) -> str:
        """Where the TEERegistry is."""
        return self.network.registry_address

    def environment(self) -> dict[str, str]:
        """Return the variables that make a child process use this devnet."""
        return {
            "OG_PRIVATE_KEY": self.private_key,
            "OG_NETWORK": self.network.name,
            "OG_RPC_URL": self.rpc_url,
            "OG_REGISTRY_RPC_URL": self.rpc_url,
            "OG_REGISTRY_ADDRESS": self.registry_address,
        }

    def new_wallet(self, opg: int = _START_OPG, allowance: int = UNLIMITED, native: int = _START_NATIVE) -> Wallet:
        """Return a new account that owns `opg`, of which Permit2 may take `allowance` (base units)."""
        account = Account.from_key("0x" + secrets.token_hex(32))
        wallet = Wallet(str(account.address), "0x" + bytes(account.key).hex())
        self._wallets.append(wallet)
        self._call(lambda: self.chain.fund(wallet.address, opg=opg, allowance=allowance, native=native))
        return wallet

    def inject(self, fault: str | Fault, *, times: int | None = None, enclave: LocalEnclave | None = None) -> None:
        """
        Let `fault` (a name of the catalogue) happen `times` times (default: until
        `clear_faults`).

        With `enclave` only there. Raises `ConfigurationError` for an unknown name.
        """
        found = find_fault(fault) if isinstance(fault, str) else fault
        where = None if enclave is None else enclave.tee_id
        self._call(lambda: self._faults.arm(found, times=times, enclave=where))

    def clear_faults(self) -> None:
        """Disarm every fault."""
        self._call(self._faults.armed.clear)

    def retire(self, enclave: LocalEnclave) -> None:
        """Take `enclave` off the registry's active list; its gateway goes on answering."""
        self._call(lambda: self.chain.retired.add(enclave.tee_id))

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once, for the whole devnet; idle sessions are settled."""

        def pass_time() -> None:
            self.clock.advance(seconds)
            for paywall in self._paywalls:
                paywall.reap()

        self._call(pass_time)

    def settle_all(self) -> list[Settlement]:
        """End every session now and return the settlements that this made."""

        def settle() -> list[Settlement]:
            before = len(self.journal.settlements)
            for paywall in self._paywalls:
                for session in paywall.sessions.open_sessions():
                    paywall.close(session)
            return self.journal.settlements[before:]

        return self._call(settle)

    def stats(self) -> Stats:
        """Return what was seen, in numbers."""

        def count() -> Stats:
            return self.journal.stats(
                handshakes=sum(server.handshakes for server in self._gateway_servers),
                connections=sum(server.connections for server in self._gateway_servers),
            )

        return self._call(count)

    def secrets(self) -> set[str]:
        """Return every text that a client must keep to itself: keys, payments, session ids."""
        keys = [wallet.private_key for wallet in self._wallets]
        return self._call(lambda: {*keys, *(key[2:] for key in keys), *self.journal.secrets})

    def _call(self, function: Callable[[], _T]) -> _T:
        return self._background.call(function)
