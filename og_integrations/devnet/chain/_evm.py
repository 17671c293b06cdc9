"""
The chain of `Devnet(evm="anvil")` is a real EVM node with contracts at the addresses they have on Base.

anvil and the real bytecode of Permit2 are fetched by the ordinary npm client on first use, in fixed versions, into a
folder of this Python environment; nothing of them is part of this package. The OPG token, the x402 `upto` proxy and
the TEERegistry are our own, in Vyper, and stand in for the real ones. Payments are settled by transactions that the
contracts check; wallets send their approvals themselves.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import httpx
from eth_abi.abi import encode

from og_integrations.devnet._clock import Clock
from og_integrations.devnet._http import listen
from og_integrations.devnet._journal import Settlement
from og_integrations.devnet.chain._chain import Chain
from og_integrations.errors import ConfigurationError
from og_integrations.networks import PERMIT2_ADDRESS, UPTO_PROXY_ADDRESS, Network
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._abi import selector
from og_integrations.protocol.chain._inference import HUB_ADDRESS, PRECOMPILE_ADDRESS
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.chain._workflow import PRICE_PRECOMPILE_ADDRESS, SCHEDULER_ADDRESS
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from og_integrations.protocol.proof._enclave import Enclave
from og_integrations.protocol.proof._registry import ohttp_member

ANVIL = "@foundry-rs/anvil@1.7.1"
PERMIT2 = "@uniswap/v4-periphery@1.0.3"
"""The package (MIT) that ships Permit2's runtime as text, for Uniswap's own tests."""
_PERMIT2_SOURCE = "package/lib/permit2/test/utils/DeployPermit2.sol"
_PERMIT2_HASH = "a1ad0529565c2520"
"""First 16 hex of the runtime's keccak."""
_TIMEOUT = 50.0


def default_folder() -> Path:
    """Return where things are kept: with the Python environment, and gone when that is."""
    return Path(sys.prefix) / "share" / "og-integrations"


def fetch_anvil(folder: Path | None = None) -> Path:
    """
    Return the anvil binary: one on the PATH, the one fetched before, or fetched now.

    Raises `ConfigurationError`.
    """
    if found := shutil.which("anvil"):
        return Path(found)
    system = platform.system().lower().replace("windows", "win32")
    machine = "arm64" if platform.machine().lower() in {"aarch64", "arm64"} else "amd64"
    target = (folder or default_folder()) / "node_modules"
    binary = (
        target / "@foundry-rs" / f"anvil-{system}-{machine}" / "bin" / ("anvil.exe" if os.name == "nt" else "anvil")
    )
    if not binary.exists():
        with _workshop(target.parent) as place:
            _npm("install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", place, ANVIL)
            _keep(Path(place) / "node_modules", target)
    if not binary.exists():
        raise ConfigurationError(f"npm has no anvil for {system}-{machine}. Install Foundry, so that `anvil` is found.")
    return binary


def fetch_permit2(folder: Path | None = None) -> bytes:
    """Return the runtime bytecode of Permit2, as on every real chain. Raises `ConfigurationError`."""
    target = (folder or default_folder()) / "DeployPermit2.sol"
    if not target.exists():
        with _workshop(target.parent) as place:
            _npm("pack", "--silent", "--pack-destination", place, PERMIT2)
            (archive,) = Path(place).glob("*.tgz")
            with tarfile.open(archive) as tar:
                member = tar.extractfile(_PERMIT2_SOURCE)
                text = member.read() if member else b""
            (Path(place) / target.name).write_bytes(text)
            _keep(Path(place) / target.name, target)
    for digits in re.findall(r'hex"([0-9a-f]{1000,})"', target.read_text()):
        code = bytes.fromhex(digits)
        if keccak(code).hex().startswith(_PERMIT2_HASH):
            return code
    raise ConfigurationError(f"{target} does not hold the expected bytecode of Permit2. Delete it and try again.")


def _workshop(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    # Beside its destination, so that `_keep` is one rename; several processes may be at it.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=folder)
    except OSError as exc:
        raise ConfigurationError(f"{folder} cannot be written ({exc.strerror}); use a virtual environment.") from exc


def _keep(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        # Another process was faster, and its result is as good.
        if not target.exists():
            raise


def _npm(*arguments: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError("The EVM node comes from npm, which is not installed. Install Node.js, or Foundry.")
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [npm, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ConfigurationError(f"npm {arguments[0]} {arguments[-1]} took more than {_TIMEOUT:.0f} s.") from exc
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.strip()), "nothing")
        raise ConfigurationError(f"npm {arguments[0]} {arguments[-1]} failed ({said.strip()[:200]}).")


_PORTS_TO_TRY = 3
_READY_SECONDS = 20.0
_MINED_SECONDS = 10.0


class _EndedAtOnceError(ConfigurationError):
    """The node ended before it answered, as it does when its port is taken."""


class NodeRefusedError(Exception):
    """The node answered with an error; `data` is what a reverted call returned (empty if none)."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


class Anvil:
    """
    A running node; `url` is where it listens. Ended by `stop`, at the latest with this process.

    Unlocks every account: it signs for whomever a transaction is from.
    """

    def __init__(self, binary: Path, *, chain_id: int, port: int = 0) -> None:
        (socket,) = listen(port)
        port = socket.getsockname()[1]
        socket.close()
        self.url: str = f"http://127.0.0.1:{port}"
        # Not a pipe: anvil blocks when nobody reads what it prints.
        self._process = subprocess.Popen(  # noqa: S603 - found by devnet.npm
            [binary, "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id), "--silent",
             "--auto-impersonate"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            # Ctrl-C in a terminal is for the devnet, which settles what is open before it ends the node.
            start_new_session=True,
        )  # fmt: skip
        self._http = httpx.Client(trust_env=False, timeout=_MINED_SECONDS)
        self._finalizer = weakref.finalize(self, _end, self._process, self._http)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process; nothing happens the second time."""
        self._finalizer()

    def rpc(self, method: str, *params: object) -> Any:
        """Return the result of one JSON-RPC call. Raises `NodeRefusedError`."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        reply = self._http.post(self.url, json=body).json()
        if error := reply.get("error"):
            data = error.get("data")
            raw = data.removeprefix("0x") if isinstance(data, str) else ""
            raise NodeRefusedError(str(error.get("message")), bytes.fromhex(raw))
        return reply["result"]

    def forward(self, body: bytes) -> bytes:
        """Return the answer to a JSON-RPC request as it came."""
        headers = {"Content-Type": "application/json"}
        return self._http.post(self.url, content=body, headers=headers).content

    def read(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        """Return what a view answers; of any other function, what it would. Raises `NodeRefusedError`."""
        call = {"to": to, "data": "0x" + data.hex()} | ({"from": sender} if sender else {})
        return bytes.fromhex(self.rpc("eth_call", call, "latest")[2:])

    def transact(self, sender: str, to: str, data: bytes) -> JsonObject:
        """Send a transaction from `sender`, paid for by nobody, and return its receipt once it is mined."""
        self.rpc("anvil_setBalance", sender, hex(10**20))
        transaction = {"from": sender, "to": to, "data": "0x" + data.hex()}
        tx_hash = self.rpc("eth_sendTransaction", transaction)
        until = time.monotonic() + _MINED_SECONDS
        while time.monotonic() < until:
            # Mining is asynchronous: a receipt may be null right after sending.
            receipt: JsonObject | None = self.rpc("eth_getTransactionReceipt", tx_hash)
            if receipt is not None:
                return receipt
            time.sleep(0.002)
        raise NodeRefusedError(f"{tx_hash} was not mined within {_MINED_SECONDS:.0f} s", b"")

    def put_code(self, places: Sequence[tuple[str, bytes]]) -> None:
        """Put runtime bytecode at addresses, as if it had been deployed there."""
        for address, code in places:
            self.rpc("anvil_setCode", address, "0x" + code.hex())

    def _wait(self) -> None:
        until = time.monotonic() + _READY_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.rpc("eth_chainId")
                return
            except httpx.TransportError:
                time.sleep(0.01)
        code = self._process.poll()
        error = ConfigurationError if code is None else _EndedAtOnceError
        raise error(f"anvil did not start on {self.url} (exit code {code}).")


def _end(process: "subprocess.Popen[bytes]", http: httpx.Client) -> None:
    http.close()
    process.kill()
    process.wait()


_OPERATOR = "0x000000000000000000000000000000000000d3f7"
"""Sends what sets the stage: balances, allowances, the registry's entries."""
_PERMIT = "((address,uint256),uint256,uint256)"
_WITNESS = "(address,address,uint256)"
_OHTTP = "(uint8,uint16,uint16,uint16,bytes,bytes,uint256)"
_TEE = f"(address,address,string,bytes,bytes,bytes32,uint8,bool,uint256,uint256,{_OHTTP})"
_ERRORS = (
    "AmountExceedsPermitted()",
    "InvalidAmount()",
    "InvalidNonce()",
    "InvalidSigner()",
    "InvalidSignature()",
    "PaymentTooEarly()",
    "SignatureExpired(uint256)",
    "UnauthorizedFacilitator()",
)


def start_anvil(binary: Path, *, chain_id: int) -> Anvil:
    """
    Return a node on a free port of 127.0.0.1. Raises `ConfigurationError` if none starts.

    anvil takes the port only after we gave it back, and another program may have been given it meanwhile.
    """
    for _ in range(_PORTS_TO_TRY - 1):
        with contextlib.suppress(_EndedAtOnceError):
            return Anvil(binary, chain_id=chain_id)
    return Anvil(binary, chain_id=chain_id)


def call_data(function: str, *arguments: object) -> bytes:
    """Return the calldata of `function`, written with its types: `"approve(address,uint256)"`."""
    types = _types(function[function.index("(") + 1 : -1])
    return selector(function) + encode(types, arguments)


def open_evm(network: Network, clock: Clock, folder: Path | None = None) -> "EvmChain":
    """
    Start a node with all contracts and return it as the devnet's chain.

    What is needed of npm is kept in `folder`. Raises `ConfigurationError` if something is missing.
    """
    folder = folder or default_folder()
    permit2, binary = fetch_permit2(folder), fetch_anvil(folder)
    codes = runtime_codes(folder)
    node = start_anvil(binary, chain_id=network.chain_id)
    node.put_code(
        [
            (PERMIT2_ADDRESS, permit2),
            (UPTO_PROXY_ADDRESS, codes["UptoProxy"]),
            (network.token, codes["OPG"]),
            (network.registry_address, codes["TEERegistry"]),
            (PRECOMPILE_ADDRESS, codes["Inference"]),
            (PRICE_PRECOMPILE_ADDRESS, codes["Inference"]),
            (HUB_ADDRESS, codes["InferenceHub"]),
            (SCHEDULER_ADDRESS, codes["Scheduler"]),
        ]
    )
    here = dataclasses.replace(network, rpc_url=node.url, registry_rpc_url=node.url)
    return EvmChain(here, clock, node=node)


@dataclass
class EvmChain(Chain):
    """
    A `Chain` whose state is in the node.

    `advance` moves the node's time as well; a fault that rewrites what the registry lists would have
    no effect here, so `Devnet.inject` refuses it.
    """

    answered_by_us: ClassVar[bool] = False
    node: Anvil = field(kw_only=True)

    def close(self) -> None:
        """End the node."""
        self.node.stop()

    def passed(self, seconds: float) -> None:
        """Let the node's time pass, too; a block says so."""
        self.node.rpc("evm_increaseTime", int(seconds))
        self.node.rpc("evm_mine")

    def fund(self, address: str, *, opg: int, allowance: int, native: int) -> None:
        """Set what `address` owns, and what Permit2 may take of it."""
        token = self.network.token
        self.node.transact(_OPERATOR, token, call_data("setBalance(address,uint256)", address, opg))
        allow = call_data("setAllowance(address,address,uint256)", address, PERMIT2_ADDRESS, allowance)
        self.node.transact(_OPERATOR, token, allow)
        self.node.rpc("anvil_setBalance", address, hex(native))

    def balance(self, address: str) -> int:
        """Return the OPG of `address`."""
        return self._number(self.network.token, call_data("balanceOf(address)", address))

    def allowance(self, owner: str) -> int:
        """Return how much of `owner`'s OPG Permit2 may take."""
        return self._number(self.network.token, call_data("allowance(address,address)", owner, PERMIT2_ADDRESS))

    def nonce_is_used(self, owner: str, nonce: int) -> bool:
        """Return whether Permit2 would refuse `nonce` of `owner`."""
        return bool(self.nonce_bitmap(owner, nonce >> 8) >> (nonce & 255) & 1)

    def nonce_bitmap(self, owner: str, word: int) -> int:
        """Return Permit2's `nonceBitmap(owner, word)`."""
        return self._number(PERMIT2_ADDRESS, call_data("nonceBitmap(address,uint256)", owner, word))

    def block_number(self) -> int:
        """Return the number of the newest block."""
        return int(self.node.rpc("eth_blockNumber"), 16)

    def register(self, enclave: Enclave) -> None:
        """List `enclave` in the TEERegistry."""
        super().register(enclave)
        entry = (
            enclave.owner,
            enclave.payment_address,
            enclave.endpoint,
            enclave.public_key,
            enclave.certificate,
            bytes.fromhex(enclave.pcr_hash[2:]),
            enclave.tee_type,
            enclave.enabled,
            enclave.registered_at,
            enclave.last_heartbeat_at,
            ohttp_member(enclave),
        )
        self.node.transact(_OPERATOR, self.network.registry_address, call_data(f"register({_TEE})", entry))

    def retire(self, tee_id: str) -> None:
        """Take an enclave off the list of active ones."""
        super().retire(tee_id)
        data = call_data("retire(bytes32)", bytes.fromhex(tee_id[2:]))
        self.node.transact(_OPERATOR, self.network.registry_address, data)

    def settle(
        self, authorization: Permit2Authorization, amount: int, signature: str, *, sender: str, session: str = ""
    ) -> Settlement:
        """
        Settle `amount` base units as `sender`; try it first without sending, as facilitators do.

        What would revert is not sent: `error` then is the contract's word, and there is no hash.
        """
        data = settle_data(authorization, amount, signature)
        settlement = Settlement(
            session=session,
            payer=authorization.payer,
            pay_to=authorization.pay_to,
            amount=amount,
            nonce=authorization.nonce,
            transaction_hash="",
        )
        try:
            self.node.read(UPTO_PROXY_ADDRESS, data, sender=sender)
            receipt = self.node.transact(sender, UPTO_PROXY_ADDRESS, data)
        except NodeRefusedError as exc:
            return dataclasses.replace(settlement, error=_revert_of(exc))
        error = None if receipt["status"] == "0x1" else "reverted"
        return dataclasses.replace(settlement, transaction_hash=receipt["transactionHash"], error=error)

    def _number(self, to: str, data: bytes) -> int:
        return int.from_bytes(self.node.read(to, data), "big")


def settle_data(authorization: Permit2Authorization, amount: int, signature: str) -> bytes:
    """Return the calldata of the proxy's `settle`."""
    permit = ((authorization.token, authorization.amount), authorization.nonce, authorization.deadline)
    witness = (authorization.pay_to, authorization.facilitator, authorization.valid_after)
    raw = bytes.fromhex(signature[2:])
    function = f"settle({_PERMIT},uint256,address,{_WITNESS},bytes)"
    return call_data(function, permit, amount, authorization.payer, witness, raw)


def _revert_of(refused: NodeRefusedError) -> str:
    names: Mapping[bytes, str] = {selector(name): name for name in _ERRORS}
    name = names.get(refused.data[:4], "")
    if name.endswith("(uint256)"):
        return name.replace("uint256", str(int.from_bytes(refused.data[4:36], "big")))
    return name or str(refused)


def _types(listed: str) -> list[str]:
    """Split `a,(b,c),d` at its outer commas."""
    found, depth = [""], 0
    for character in listed:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            found.append("")
        else:
            found[-1] += character
    return [kind for kind in found if kind]


Evm = Literal["anvil"]


NAMES = ("OPG", "UptoProxy", "TEERegistry", "Inference", "InferenceHub", "Scheduler")
_CONTRACTS = Path(__file__).parent / "contracts"


@lru_cache
def runtime_codes(cache: Path) -> dict[str, bytes]:
    """
    Return name -> runtime bytecode, compiled once per version of the sources and kept in `cache`.

    Raises `ConfigurationError` if Vyper is missing or fails.
    """
    sources = [_CONTRACTS / f"{name}.vy" for name in NAMES]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    kept = cache / f"contracts-{digest}.hex"
    if not kept.exists():
        text = _compile(sources)
        cache.mkdir(parents=True, exist_ok=True)
        made = cache / f"{kept.name}.{os.getpid()}"  # several processes may be at it
        made.write_text(text)
        made.replace(kept)
    codes = [bytes.fromhex(line.removeprefix("0x")) for line in kept.read_text().split()]
    return dict(zip(NAMES, codes, strict=True))


def _compile(sources: list[Path]) -> str:
    if importlib.util.find_spec("vyper") is None:
        raise ConfigurationError('The devnet\'s contracts need Vyper: pip install "og-integrations[evm]".')
    # A process of its own: the compiler raises the recursion limit and warns about its own parser.
    command = [sys.executable, "-m", "vyper", "-f", "bytecode_runtime", *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our files
    if done.returncode:
        raise ConfigurationError(f"Vyper could not compile the devnet's contracts: {done.stderr[-300:]}")
    return done.stdout


def open_chain(network: Network, clock: Clock, evm: Evm | None, opened: Iterable[socket.socket]) -> Chain:
    """
    Return a chain made of Python, or with `evm` a real one (its `network` then names the node).

    Raises `ConfigurationError` if what the real one needs is missing, after closing the sockets `opened`.
    """
    if evm is None:
        return Chain(network, clock)
    try:
        if clock.is_replaced:
            raise ConfigurationError("A real EVM has a clock of its own: give `evm` or `clock`, and use `advance`.")
        return open_evm(network, clock)
    except ConfigurationError:
        for sock in opened:
            sock.close()
        raise
