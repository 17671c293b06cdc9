"""
The chain of the devnet as a real EVM: anvil, the real Permit2, and our own contracts beside it.

Everything lies at the address it has on Base. Payments are settled by transactions that the contracts
check; wallets send their approvals themselves.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from eth_abi.abi import encode

from og_integrations.devnet.anvil import Anvil, NodeRefusedError
from og_integrations.devnet.chain import Chain
from og_integrations.devnet.clock import Clock
from og_integrations.devnet.contracts import runtime_codes
from og_integrations.devnet.facilitator import Facilitator, Payment
from og_integrations.devnet.journal import Settlement
from og_integrations.devnet.npm import default_folder, fetch_anvil, fetch_permit2
from og_integrations.networks import PERMIT2_ADDRESS, UPTO_PROXY_ADDRESS, Network
from og_integrations.protocol.abi import selector
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.enclave import Enclave
from og_integrations.protocol.permit2 import Permit2Authorization

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
    node = Anvil(binary, chain_id=network.chain_id)
    node.put_code(
        [
            (PERMIT2_ADDRESS, permit2),
            (UPTO_PROXY_ADDRESS, codes["UptoProxy"]),
            (network.token, codes["OPG"]),
            (network.registry_address, codes["TEERegistry"]),
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
        """The OPG of `address`."""
        return self._number(self.network.token, call_data("balanceOf(address)", address))

    def allowance(self, owner: str) -> int:
        """How much of `owner`'s OPG Permit2 may take."""
        return self._number(self.network.token, call_data("allowance(address,address)", owner, PERMIT2_ADDRESS))

    def nonce_is_used(self, owner: str, nonce: int) -> bool:
        """Whether Permit2 would refuse `nonce` of `owner`."""
        return bool(self.nonce_bitmap(owner, nonce >> 8) >> (nonce & 255) & 1)

    def nonce_bitmap(self, owner: str, word: int) -> int:
        """Permit2's `nonceBitmap(owner, word)`."""
        return self._number(PERMIT2_ADDRESS, call_data("nonceBitmap(address,uint256)", owner, word))

    def block_number(self) -> int:
        """The number of the newest block."""
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
            (0, 0, 0, 0, b"", b"", 0),
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


class EvmFacilitator(Facilitator):
    """Settles with the signature that it verified."""

    def __init__(self, chain: EvmChain, address: str) -> None:
        super().__init__(chain, address)
        self._evm = chain
        self._signatures: dict[bytes, str] = {}

    def verify(self, payment: Payment, requirement: JsonObject) -> str | None:
        """Return why `payment` is not good, or None and keep its signature."""
        word = super().verify(payment, requirement)
        if word is None:
            self._signatures[payment.authorization.digest()] = payment.signature
        return word

    def settle(self, authorization: Permit2Authorization, amount: int, *, session: str) -> Settlement | None:
        """Settle a session on the chain; None for 0, which sends no transaction."""
        if not amount:
            return None
        signature = self._signatures[authorization.digest()]
        return self._evm.settle(authorization, amount, signature, sender=self.address, session=session)


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
