"""
The x402 facilitator says whether a payment is good, and settles sessions on the chain.

It makes the checks in the order of the published facilitator, with its words (docs/protocol.md §3.5).
"""

import secrets
from dataclasses import dataclass, replace

from eth_account import Account
from eth_account.messages import encode_typed_data

from og_integrations.devnet._journal import Settlement
from og_integrations.devnet.chain._chain import UNLIMITED, Chain, Wallet
from og_integrations.devnet.chain._evm import EvmChain
from og_integrations.networks import UPTO_PROXY_ADDRESS
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization

FACILITATOR_ADDRESS = "0xfdC9A10526e3535770E5Ad8aa082165A2D49d4E3"
"""The facilitator of the captures."""

DEADLINE_BUFFER_SECONDS = 6
"""A permit must outlive the check by this much: three Base blocks."""
_FIELD_PRIME = 2**256 - 2**32 - 977
_CURVE_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """This is a readable payment: what was signed, and the signature as 0x-hex (65 bytes if it is good)."""

    authorization: Permit2Authorization
    signature: str


class Facilitator:
    """Verifies and settles `upto` payments; `address` is the only one that may settle them."""

    def __init__(self, chain: Chain, address: str) -> None:
        self._chain = chain
        self.address = address

    def verify(self, payment: Payment, requirement: JsonObject) -> str | None:
        """Return why `payment` does not satisfy `requirement`, in the facilitator's words, or None."""
        permit = payment.authorization
        return self._check_terms(permit, requirement) or self._check_money(payment)

    def _check_terms(self, permit: Permit2Authorization, requirement: JsonObject) -> str | None:
        now = self._chain.clock.seconds()
        if not _same(permit.spender, UPTO_PROXY_ADDRESS):
            return "invalid_permit2_spender"
        if not _same(permit.pay_to, requirement["payTo"]):
            return "invalid_permit2_recipient_mismatch"
        if not _same(permit.facilitator, self.address):
            return "upto_facilitator_mismatch"
        if permit.deadline < now + DEADLINE_BUFFER_SECONDS:
            return "permit2_deadline_expired"
        if permit.valid_after > now:
            return "permit2_not_yet_valid"
        if str(permit.amount) != requirement["amount"]:
            # The published facilitator says "exact" here, also for upto (wire/11).
            return "invalid_exact_evm_payload_amount_mismatch"
        if not _same(permit.token, requirement["asset"]):
            return "permit2_token_mismatch"
        return None

    def _check_money(self, payment: Payment) -> str | None:
        permit = payment.authorization
        signer = recover_signer(permit, payment.signature)
        if signer is None or not _same(signer, permit.payer):
            return "invalid_permit2_signature"
        if self._chain.allowance(permit.payer) < permit.amount:
            return "permit2_allowance_required"
        if self._chain.balance(permit.payer) < permit.amount:
            return "insufficient_balance"
        if self._chain.nonce_is_used(permit.payer, permit.nonce):
            return "permit2_invalid_nonce"
        return None

    def paid_by_another(self, permit: Permit2Authorization) -> Payment:
        """Return a payment like `permit` of a wallet made for this, which can afford it."""
        wallet = Wallet.new()
        self._chain.fund(wallet.address, opg=permit.amount, allowance=UNLIMITED, native=10**18)
        theirs = replace(permit, payer=wallet.address, nonce=secrets.randbits(256))
        signable = encode_typed_data(full_message=theirs.typed_data())
        signature = bytes(Account.sign_message(signable, wallet.private_key).signature)
        return Payment(authorization=theirs, signature="0x" + signature.hex())

    def settle(self, authorization: Permit2Authorization, amount: int, *, session: str) -> Settlement | None:
        """Settle `amount` base units of a session; None for 0, which sends no transaction."""
        return self._chain.transfer(authorization, amount, session=session) if amount else None


def recover_signer(authorization: Permit2Authorization, signature: str) -> str | None:
    """
    Return the address that signed `authorization` (EIP-712), or None if the signature is none.

    Permit2 takes 65 bytes r‖s‖v with v = 27 or 28. The typed data goes through eth_account, not
    through our own digest, so that an error in the latter is seen.
    """
    try:
        raw = bytes.fromhex(signature.removeprefix("0x"))
    except ValueError:
        return None
    if len(raw) != 65 or raw[64] not in {27, 28} or not _is_point(raw):
        return None
    signable = encode_typed_data(full_message=authorization.typed_data())
    return str(Account.recover_message(signable, signature=raw))


def _is_point(raw: bytes) -> bool:
    # Recovery raises for an r that is no x coordinate of secp256k1; its exceptions are not public.
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big")
    if not (0 < r < _CURVE_ORDER and 0 < s < _CURVE_ORDER):
        return False
    return pow(pow(r, 3, _FIELD_PRIME) + 7, (_FIELD_PRIME - 1) // 2, _FIELD_PRIME) == 1


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()


def facilitator_of(chain: Chain) -> Facilitator:
    """Return the facilitator that settles on `chain`."""
    return (
        EvmFacilitator(chain, FACILITATOR_ADDRESS)
        if isinstance(chain, EvmChain)
        else Facilitator(chain, FACILITATOR_ADDRESS)
    )


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
