"""`Receipt`: the dict with names and types. What the chain says of it is tested in tests/money."""

import asyncio
import copy
import dataclasses
import json
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

import og_integrations
from og_integrations import _warnings
from og_integrations.client import Client, Receipt, collect_receipts
from og_integrations.devnet import Devnet, Fault
from og_integrations.devnet._http import Reply
from og_integrations.errors import ConfigurationError, OpenGradientError
from og_integrations.protocol.payment.schemes._settlement import SettlementStatus
from tests.client.ways_to_ask import MODEL, user


@pytest.fixture
def receipt(client: Client) -> dict[str, Any]:
    """The receipt of one call, as it left a serializer."""
    found: dict[str, Any] = json.loads(json.dumps(client.chat(MODEL, user("hi")).receipt))
    return found


def test_members_have_names_and_types(receipt: dict[str, Any], net: Devnet) -> None:
    seen = Receipt(receipt)
    assert (seen.verified, seen.model, seen.tee_id) == (True, MODEL, net.enclaves[0].tee_id)
    assert "usage" in seen.unsigned
    assert seen.payment_hash == "0x" + seen.authorization.digest().hex()
    assert (seen.authorization.payer, seen.transaction_hash) == (net.wallet, None)
    assert og_integrations.Receipt is Receipt


def test_view_does_not_change(receipt: dict[str, Any]) -> None:
    """Neither by itself nor with the dict that it was made from; it can be copied and sent."""
    seen = Receipt(receipt)
    receipt["payment"]["payer"] = "somebody else"
    assert seen.authorization.payer != "somebody else"
    with pytest.raises(FrozenInstanceError):
        seen.status = "unverified"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(seen)) == copy.deepcopy(seen) == seen
    assert hash(seen) == hash(copy.deepcopy(seen))


def test_receipt_without_payment_says_so(net: Devnet) -> None:
    """Refused before anything was signed."""
    options: dict[str, Any] = {"private_key": net.private_key, "network": net.network}
    with (
        collect_receipts() as receipts,
        Client(**options, spend_policy={"total": "0.01"}) as client,
        pytest.raises(OpenGradientError),
    ):
        client.chat(MODEL, user("hi"))
    (failed,) = map(Receipt, receipts)
    assert (failed.verified, failed.payment_hash, failed.transaction_hash) == (False, None, None)
    for look in (lambda: failed.authorization, failed.settlement, lambda: asyncio.run(failed.asettlement())):
        with pytest.raises(ConfigurationError, match="holds no Permit2 payment"):
            look()


@pytest.mark.parametrize("value", [None, "receipt", [], {}, {"status": 1}, {"exchange": None, "receipt": {}}])
def test_what_is_no_receipt_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="This is no receipt"):
        Receipt(value)


def test_individual_settlement_that_nobody_tells_of_is_warned_of_once(
    net: Devnet, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that quietly settles all calls together leaves a call unpublished that was to be published."""
    monkeypatch.setattr(_warnings, "_warned", set())

    def silenced(reply: Reply) -> Reply:
        reply.headers = [(name, value) for name, value in reply.headers if not name.lower().startswith("x-settlement")]
        return reply

    net.inject(Fault(name="silent", about="no header tells of the settlement", spoils=False, reply=silenced))
    with pytest.warns(UserWarning, match="the gateway says nothing of a transaction"):
        client.chat("openai/gpt-4.1", user("hi"), settlement_mode="individual")
    # A second warning would be an error here, as all are.
    client.chat("openai/gpt-4.1", user("hi"), settlement_mode="individual")
    net.clear_faults()
    _warnings._warned.clear()
    client.chat("openai/gpt-4.1", user("hi"), settlement_mode="individual")


def on_chain(receipt: dict[str, Any], chain_id: int) -> dict[str, Any]:
    """Return a receipt of the same words, signed for another chain."""
    signed = dataclasses.replace(Receipt(receipt).authorization, chain_id=chain_id)
    changed = {"network": f"eip155:{chain_id}", "payment_hash": "0x" + signed.digest().hex()}
    return receipt | {"payment": receipt["payment"] | changed}


def test_settlement_is_asked_of_the_node_that_is_named(receipt: dict[str, Any], net: Devnet) -> None:
    """Both ways; of a chain that nobody knows, a node has to be named."""
    seen = Receipt(receipt)
    assert seen.settlement(net.rpc_url).status is SettlementStatus.PENDING
    assert asyncio.run(seen.asettlement(net.rpc_url)).status is SettlementStatus.PENDING
    with pytest.raises(ConfigurationError, match="No node is known for chain 31337"):
        Receipt(on_chain(receipt, 31337)).settlement()
    with pytest.raises(ConfigurationError, match=r"^rpc_url is no address of a server"):
        seen.settlement("node.example/SECRET")
