"""`ensure_opg_approval` on a real EVM: the one transaction that a wallet sends (docs/protocol.md §6)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from og_integrations.client import Approval, ApprovalProgress, AsyncClient, Client
from og_integrations.devnet import Devnet, Wallet
from og_integrations.devnet.chain._chain import UNLIMITED
from og_integrations.errors import ApprovalError, ConfigurationError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.networks import OPG
from tests.money.recorded_payments import chain_of

MakeClient = Callable[..., Client]


def by_sync(net: Devnet, wallet: Wallet, *amounts: Any, **options: Any) -> Approval:
    with Client(private_key=wallet.private_key, network=net.network) as client:
        return client.ensure_opg_approval(*amounts, **options)


def by_async(net: Devnet, wallet: Wallet, *amounts: Any, **options: Any) -> Approval:
    async def approve() -> Approval:
        async with AsyncClient(private_key=wallet.private_key, network=net.network) as client:
            return await client.ensure_opg_approval(*amounts, **options)

    return asyncio.run(approve())


def by_model(net: Devnet, wallet: Wallet, *amounts: Any, made_by: Any, awaited: bool, **options: Any) -> Approval:
    model = made_by(model="openai/gpt-5-mini", private_key=wallet.private_key, network=net.network)
    if awaited:
        return asyncio.run(model.aensure_opg_approval(*amounts, **options))  # type: ignore[no-any-return]
    approval: Approval = model.ensure_opg_approval(*amounts, **options)
    model.close()
    return approval


both = pytest.mark.parametrize("approve", [by_sync, by_async])
BY_MODELS = [
    partial(by_model, made_by=made_by, awaited=awaited)
    for made_by in (ChatOpenGradient, OpenGradientLLM)
    for awaited in (False, True)
]


@pytest.mark.parametrize("approve", [by_sync, by_async, *BY_MODELS])
def test_approval_is_sent_where_it_is_needed(evm: Devnet, approve: Callable[..., Approval]) -> None:
    """Twice the minimum; every step is told; the chain agrees."""
    wallet = evm.new_wallet(allowance=OPG // 2)
    steps: list[ApprovalProgress] = []
    done = approve(evm, wallet, "1", on_progress=steps.append)
    assert (done.allowance_before, done.allowance_after) == (OPG // 2, 2 * OPG)
    assert evm.chain.allowance(wallet.address) == 2 * OPG
    assert [step.step for step in steps if step.step != "waiting"] == ["sent", "mined", "visible"]
    assert {step.transaction_hash for step in steps} == {done.tx_hash}
    receipt = chain_of(evm).node.rpc("eth_getTransactionReceipt", done.tx_hash)
    assert (receipt["from"], receipt["status"], receipt["type"]) == (wallet.address.lower(), "0x1", "0x2")


def test_progress_callback_may_be_asynchronous(evm: Devnet) -> None:
    """It is awaited."""
    told: list[str] = []

    async def tell(progress: ApprovalProgress) -> None:
        await asyncio.sleep(0)
        told.append(progress.step)

    by_async(evm, evm.new_wallet(allowance=0), "1", on_progress=tell)
    assert told[0] == "sent"


@both
def test_nothing_is_sent_where_it_is_not_needed(evm: Devnet, approve: Callable[..., Approval]) -> None:
    """Not even a look at the balance: this wallet owns nothing."""
    wallet = evm.new_wallet(opg=0, native=0, allowance=OPG)
    assert approve(evm, wallet, 1) == Approval(allowance_before=OPG, allowance_after=OPG, tx_hash=None)


@both
def test_amount_is_capped_to_the_balance_with_a_warning(evm: Devnet, approve: Callable[..., Approval]) -> None:
    """An allowance for more than one owns helps nobody."""
    wallet = evm.new_wallet(opg=3 * OPG, allowance=0)
    with pytest.warns(UserWarning, match="Only 3 OPG are approved"):
        assert approve(evm, wallet, "2", "10").allowance_after == 3 * OPG


@both
@pytest.mark.parametrize(("owned", "text"), [(0, "has 0 OPG"), (OPG - 1, "has 0.999999999999999999 OPG")])
def test_too_small_a_balance_is_refused_before_any_transaction(
    evm: Devnet, approve: Callable[..., Approval], owned: int, text: str
) -> None:
    """It says what is there and what is needed."""
    wallet = evm.new_wallet(opg=owned, allowance=0)
    with pytest.raises(ApprovalError, match=text) as caught:
        approve(evm, wallet, "1")
    assert caught.value.transaction_hash is None
    assert evm.chain.allowance(wallet.address) == 0


@both
def test_no_gas_is_refused_before_any_transaction(evm: Devnet, approve: Callable[..., Approval]) -> None:
    """It says how much is needed."""
    with pytest.raises(ApprovalError, match=r"has 0 ETH for gas on devnet, expected 0\.0"):
        approve(evm, evm.new_wallet(native=0, allowance=0), "1")


@pytest.mark.parametrize(
    ("amounts", "text"),
    [
        (("0.05",), r"min_allowance is 0\.05 OPG, expected at least 0\.1"),
        (("2", "1"), "approve_amount is 1 OPG, expected at least min_allowance, 2 OPG"),
        ((float("nan"),), "negative, infinite or finer"),
        (("-1",), "negative"),
    ],
)
def test_wrong_amounts_are_refused(evm: Devnet, make_client: MakeClient, amounts: Any, text: str) -> None:
    """Before anything is asked of the node."""
    with pytest.raises(ConfigurationError, match=text):
        make_client(evm.new_wallet()).ensure_opg_approval(*amounts)


def test_node_of_another_chain_is_detected(evm: Devnet) -> None:
    """A wallet's transaction does not go where its owner did not mean it."""
    wallet = evm.new_wallet(allowance=0)
    elsewhere = replace(evm.network, chain_id=84532)
    with (
        Client(private_key=wallet.private_key, network=elsewhere) as client,
        pytest.raises(ConfigurationError, match="serves chain 8453, expected 84532"),
    ):
        client.ensure_opg_approval("1")


def test_unlimited_allowance_is_left_alone(evm: Devnet, make_client: MakeClient) -> None:
    """As wallets that came through other applications have it."""
    done = make_client(evm.new_wallet(allowance=UNLIMITED)).ensure_opg_approval("100")
    assert (done.allowance_after, done.tx_hash) == (UNLIMITED, None)


def test_timeout_keeps_the_hash(evm: Devnet, make_client: MakeClient) -> None:
    """A node that stopped mining: the transaction may still come."""
    client = make_client(evm.new_wallet(allowance=0))
    node = chain_of(evm).node
    node.rpc("evm_setAutomine", False)
    try:
        with pytest.raises(ApprovalError, match="is not mined yet") as caught:
            client.ensure_opg_approval("1", timeout=0.1)
        assert node.rpc("eth_getTransactionByHash", caught.value.transaction_hash) is not None
    finally:
        node.rpc("evm_setAutomine", True)
        node.rpc("evm_mine")


def test_transaction_that_reverts_is_said_with_its_hash(evm: Devnet, make_client: MakeClient) -> None:
    """It was fine when it was tried, and not any more when it was mined."""
    client = make_client(evm.new_wallet(allowance=0))
    node, token = chain_of(evm).node, evm.network.token
    code = node.rpc("eth_getCode", token, "latest")

    def break_the_token(progress: ApprovalProgress) -> None:
        if progress.step == "sent":
            node.rpc("anvil_setCode", token, "0x5f5ffd")  # revert, always
            node.rpc("evm_mine")

    node.rpc("evm_setAutomine", False)
    try:
        with pytest.raises(ApprovalError, match="was mined and reverted") as caught:
            client.ensure_opg_approval("1", timeout=5, on_progress=break_the_token)
    finally:
        node.rpc("anvil_setCode", token, code)
        node.rpc("evm_setAutomine", True)
    assert caught.value.transaction_hash is not None


def test_signer_without_transactions_is_said_plainly(evm: Devnet) -> None:
    """A remote signer may know typed data only."""
    wallet = evm.new_wallet(allowance=0)

    class TypedDataOnly:
        address = wallet.address

        def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
            raise NotImplementedError

    with (
        Client(signer=TypedDataOnly(), network=evm.network) as client,
        pytest.raises(ConfigurationError, match=r"TypedDataOnly.*cannot sign transactions"),
    ):
        client.ensure_opg_approval("1")


def test_absurd_gas_price_is_refused(own_evm: Devnet) -> None:
    """A node cannot make the wallet burn its ETH as fees."""
    wallet = own_evm.new_wallet(allowance=0, native=10**20)
    chain_of(own_evm).node.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**15))
    chain_of(own_evm).node.rpc("evm_mine")
    with pytest.raises(ApprovalError, match=r"expected at most 0\.001 ETH"):
        by_sync(own_evm, wallet, "1")
