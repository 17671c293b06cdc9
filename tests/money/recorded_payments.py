"""Payments made through the devnet, with everything that was signed for them."""

import secrets
from typing import Any, NamedTuple

from og_integrations import SpendPolicy
from og_integrations.client import Client, LocalSigner
from og_integrations.devnet import Devnet, Wallet
from og_integrations.devnet.chain._evm import EvmChain
from og_integrations.protocol._receipt import rebuild_authorization
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from og_integrations.receipt import Receipt

MODEL = "openai/gpt-5-mini"


class Paid(NamedTuple):
    """A receipt, and what its wallet signed."""

    receipt: JsonObject
    authorization: Permit2Authorization
    signature: str


class KeepingSigner(LocalSigner):
    """A wallet that keeps its signatures."""

    def __init__(self, private_key: str) -> None:
        super().__init__(private_key)
        self.signatures: list[str] = []

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        self.signatures.append(super().sign_typed_data(typed_data))
        return self.signatures[-1]


def pay(net: Devnet, wallet: Wallet, *, calls: int = 1) -> Paid:
    """Make `calls` calls in one session, which stays open; on an account of its own, so that it is a payment, too."""
    signer = KeepingSigner(wallet.private_key)
    policy = SpendPolicy(account=secrets.token_hex(8))
    with Client(signer=signer, network=net.network, spend_policy=policy) as client:
        for number in range(calls):
            answer = client.chat(MODEL, [{"role": "user", "content": f"question {number}"}])
    (signature,) = signer.signatures
    payment = Receipt.payment_of(answer.receipt)
    assert payment is not None
    return Paid(answer.receipt, rebuild_authorization(payment), signature)


def chain_of(net: Devnet) -> EvmChain:
    """Return the real chain of `net`."""
    assert isinstance(net.chain, EvmChain)
    return net.chain
