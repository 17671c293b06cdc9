"""The devnet's chain keeps OPG balances, Permit2 allowances and nonces, and the TEERegistry."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, NamedTuple, Self

from eth_account import Account

from og_integrations.devnet._clock import Clock
from og_integrations.devnet._journal import Settlement
from og_integrations.devnet.chain._batches import Batches
from og_integrations.networks import Network
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from og_integrations.protocol.proof._enclave import DEBUG_PCR_HASH, Enclave


class Wallet(NamedTuple):
    """This is a throw-away account: its address (EIP-55) and private key (0x-hex)."""

    address: str
    private_key: str

    @classmethod
    def new(cls) -> Self:
        """Return an account that nobody had before."""
        account = Account.from_key("0x" + secrets.token_hex(32))
        return cls(str(account.address), "0x" + bytes(account.key).hex())

    def __repr__(self) -> str:
        """Name the account, never its key."""
        return f"Wallet({self.address})"


UNLIMITED = 2**256 - 1
"""An allowance of this size is not used up (OpenZeppelin's ERC-20)."""
_BLOCK_SECONDS = 2
_GENESIS = 1_686_789_347
"""Base's first block: it has one every two seconds since."""


@dataclass
class Chain:
    """What a node would know. Only the facilitator moves money here; approvals are set by `fund`."""

    answered_by_us: ClassVar[bool] = True
    """Whether clients read it from the devnet's own node, which can lie."""
    network: Network
    clock: Clock
    balances: dict[str, int] = field(default_factory=dict)
    allowances: dict[str, int] = field(default_factory=dict)
    native: dict[str, int] = field(default_factory=dict)
    used_nonces: set[tuple[str, int]] = field(default_factory=set)
    enclaves: list[Enclave] = field(default_factory=list)
    key_signatures: dict[bytes, bytes] | None = None
    """Signatures of OHTTP keys, by public key; None: this registry has no room for them."""
    retired: set[str] = field(default_factory=set)
    listed: Callable[[list[Enclave]], list[Enclave]] | None = None
    """A fault may rewrite what the registry lists."""
    was_read: bool = False
    vouched: set[bytes] = field(default_factory=set)
    """The certificates in the listings as they were sent, those of debug and retired enclaves aside."""

    @cached_property
    def batches(self) -> Batches:
        """Return the contract and the store that hashes of answers are published at."""
        return Batches(self.clock, self.block_number)

    def close(self) -> None:
        """Stop with the devnet."""

    def passed(self, seconds: float) -> None:
        """Note that the devnet's clock was moved forward by `seconds`."""
        self.batches.flush_due()

    def register(self, enclave: Enclave) -> None:
        """List `enclave` in the TEERegistry."""
        self.enclaves.append(enclave)

    def retire(self, tee_id: str) -> None:
        """Take an enclave off the list of active ones."""
        self.retired.add(tee_id)

    def fund(self, address: str, *, opg: int, allowance: int, native: int) -> None:
        """Set what `address` owns, and what Permit2 may take of it."""
        key = address.lower()
        self.balances[key], self.allowances[key], self.native[key] = opg, allowance, native

    def balance(self, address: str) -> int:
        """Return the OPG of `address`."""
        return self.balances.get(address.lower(), 0)

    def allowance(self, owner: str) -> int:
        """Return how much of `owner`'s OPG Permit2 may take."""
        return self.allowances.get(owner.lower(), 0)

    def nonce_is_used(self, owner: str, nonce: int) -> bool:
        """Return whether Permit2 would refuse `nonce` of `owner`."""
        return (owner.lower(), nonce) in self.used_nonces

    def nonce_bitmap(self, owner: str, word: int) -> int:
        """Return Permit2's `nonceBitmap(owner, word)`: bit i is nonce `word * 256 + i` (docs/protocol.md §7)."""
        nonces = (nonce for payer, nonce in self.used_nonces if payer == owner.lower() and nonce >> 8 == word)
        return sum(1 << (nonce & 255) for nonce in nonces)

    def block_number(self) -> int:
        """Return the number of the newest block."""
        return max(0, (self.clock.seconds() - _GENESIS) // _BLOCK_SECONDS)

    def block_time(self, number: int) -> int:
        """Return when block `number` was made, unix seconds; the newest one is as old as the clock says."""
        return self.clock.seconds() if number >= self.block_number() else _GENESIS + number * _BLOCK_SECONDS

    def active_enclaves(self, tee_type: int) -> list[Enclave]:
        """Return what `getActiveTEEs(tee_type)` lists, after any fault."""
        now = self.clock.seconds()
        active = [
            # A real enclave sends a heartbeat every few minutes; a retired one stops.
            replace(enclave, last_heartbeat_at=now)
            for enclave in self.enclaves
            if enclave.tee_type == tee_type and enclave.tee_id not in self.retired
        ]
        shown = active if self.listed is None else self.listed(active)
        self.was_read = True
        good = (item for item in shown if item.enabled and item.pcr_hash != DEBUG_PCR_HASH)
        self.vouched |= {item.certificate for item in good}
        return shown

    def vouches_for(self, certificate: bytes) -> bool | None:
        """Return whether any listing so far held that certificate, None if there was no listing."""
        return certificate in self.vouched if self.was_read else None

    def enclave(self, tee_id: str) -> Enclave | None:
        """Return the registered enclave with that id, active or not."""
        return next((enclave for enclave in self.enclaves if enclave.tee_id == tee_id), None)

    def transfer(self, authorization: Permit2Authorization, amount: int, *, session: str) -> Settlement:
        """
        Send the settlement transaction of a session: `amount` > 0, at most the permit's.

        A transaction that reverts moves nothing and says so in `error`, with the contract's word.
        """
        payer = authorization.payer.lower()
        error = self._revert(authorization, amount)
        if error is None:
            self.used_nonces.add((payer, authorization.nonce))
            self.balances[payer] -= amount
            self.balances[authorization.pay_to.lower()] = self.balance(authorization.pay_to) + amount
            if self.allowances[payer] != UNLIMITED:
                self.allowances[payer] -= amount
        digest = keccak(authorization.digest() + amount.to_bytes(32, "big") + self.block_number().to_bytes(8, "big"))
        return Settlement(
            session=session,
            payer=authorization.payer,
            pay_to=authorization.pay_to,
            amount=amount,
            nonce=authorization.nonce,
            transaction_hash="0x" + digest.hex(),
            error=error,
        )

    def _revert(self, authorization: Permit2Authorization, amount: int) -> str | None:
        if amount > authorization.amount:
            return "AmountExceedsPermitted()"
        if self.clock.seconds() > authorization.deadline:
            return f"SignatureExpired({authorization.deadline})"
        if self.nonce_is_used(authorization.payer, authorization.nonce):
            return "InvalidNonce()"
        if min(self.balance(authorization.payer), self.allowance(authorization.payer)) < amount:
            return "TRANSFER_FROM_FAILED"
        return None
