"""Approvals whose signer, callback, price or company misbehaves: errors of ours, with the hash where one was sent."""

import asyncio
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.client import Approval, ApprovalProgress, AsyncClient, Client, LocalSigner
from og_integrations.devnet import Devnet, Wallet
from og_integrations.errors import ApprovalError, ConfigurationError, OpenGradientError, SigningError
from og_integrations.networks import OPG
from tests.money.recorded_payments import chain_of

Returned = Callable[[dict[str, Any]], Any]


class Odd:
    """A wallet whose `sign_transaction` does what it is told."""

    def __init__(self, wallet: Wallet, sign_transaction: Returned) -> None:
        self.address = wallet.address
        self.sign_transaction = sign_transaction

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        raise NotImplementedError


def by_sync(net: Devnet, signer: Any, **options: Any) -> Approval:
    with Client(signer=signer, network=net.network) as client:
        return client.ensure_opg_approval("1", **options)


def by_async(net: Devnet, signer: Any, **options: Any) -> Approval:
    async def approve() -> Approval:
        async with AsyncClient(signer=signer, network=net.network) as client:
            return await client.ensure_opg_approval("1", **options)

    return asyncio.run(approve())


both = pytest.mark.parametrize("approve", [by_sync, by_async])


def locked(transaction: dict[str, Any]) -> str:
    raise RuntimeError("secret of the vault")


async def nothing(transaction: dict[str, Any]) -> None: ...


@both
@pytest.mark.parametrize(
    ("sign", "said"),
    [
        (locked, "failed with RuntimeError"),
        (lambda transaction: b"\x02", "returned a bytes, expected the transaction as 0x-hex"),
        (lambda transaction: None, "returned a NoneType"),
        (lambda transaction: "0xzz", "returned a str"),
    ],
)
def test_broken_signer_is_a_signing_error(
    evm: Devnet, approve: Callable[..., Approval], sign: Returned, said: str
) -> None:
    """What it says itself is not repeated."""
    with pytest.raises(SigningError, match=f"{said}.* Nothing was sent") as caught:
        approve(evm, Odd(evm.new_wallet(allowance=0), sign))
    assert "secret" not in str(caught.value)


def test_asynchronous_signer_that_returns_nothing_is_a_signing_error(evm: Devnet) -> None:
    with pytest.raises(SigningError, match="returned a NoneType"):
        by_async(evm, Odd(evm.new_wallet(allowance=0), nothing))


def test_asynchronous_signer_needs_an_asynchronous_client(evm: Devnet) -> None:
    with pytest.raises(ConfigurationError, match="The signer is asynchronous"):
        by_sync(evm, Odd(evm.new_wallet(allowance=0), nothing))


@both
@pytest.mark.parametrize("step", ["sent", "mined", "visible"])
def test_raising_callback_does_not_lose_the_hash(evm: Devnet, approve: Callable[..., Approval], step: str) -> None:
    """The transaction was sent: whoever catches this can look it up."""

    def fail(progress: ApprovalProgress) -> None:
        if progress.step == step:
            raise RuntimeError("the display is gone")

    with pytest.raises(ApprovalError, match=f"it is {step}.*, but on_progress failed with RuntimeError") as caught:
        approve(evm, LocalSigner(evm.new_wallet(allowance=0).private_key), on_progress=fail)
    assert chain_of(evm).node.rpc("eth_getTransactionByHash", caught.value.transaction_hash) is not None


@both
@pytest.mark.parametrize("timeout", [math.nan, math.inf, -1, 0, "5", None])
def test_time_that_never_ends_is_refused(evm: Devnet, approve: Callable[..., Approval], timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"timeout is .*, expected a number of seconds above 0"):
        approve(evm, LocalSigner(evm.private_key), timeout=timeout)


@pytest.mark.parametrize("timeout", ["-1", "nan", "inf", "0", "soon"])
def test_command_refuses_it_too(timeout: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["approve", f"--timeout={timeout}"])
    assert "is no time to wait" in capsys.readouterr().err


def raise_base_fee(net: Devnet, wei: int) -> None:
    chain_of(net).node.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))
    chain_of(net).node.rpc("evm_mine")


@pytest.mark.parametrize(("factor", "sent"), [(1.5, True), (4, False)])
def test_command_pays_no_more_than_it_showed(
    own_evm: Devnet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    factor: float,
    sent: bool,
) -> None:
    """The base fee rises while the question waits: within the limit it is sent, over it nothing is."""
    wallet = own_evm.new_wallet(allowance=0)
    for name, value in (own_evm.environment() | {"OG_PRIVATE_KEY": wallet.private_key}).items():
        monkeypatch.setenv(name, value)
    raise_base_fee(own_evm, 10**9)

    def agree(question: str) -> str:
        raise_base_fee(own_evm, int(factor * 10**9))
        return "y"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", agree)
    assert main(["approve"]) == (0 if sent else 1)
    shown = capsys.readouterr()
    assert (own_evm.chain.allowance(wallet.address) > 0) is sent
    assert sent or "ETH of gas, expected at most" in shown.err


@both
def test_transaction_that_somebody_else_has_sent_is_waited_for(evm: Devnet, approve: Callable[..., Approval]) -> None:
    """Two processes approve at once: the node knows the second one's transaction, which is the first one's."""
    wallet = evm.new_wallet(allowance=0)
    signer, node = LocalSigner(wallet.private_key), chain_of(evm).node

    def sent_before(transaction: dict[str, Any]) -> str:
        raw = signer.sign_transaction(transaction)
        node.rpc("eth_sendRawTransaction", raw)
        return raw

    assert approve(evm, Odd(wallet, sent_before)).allowance_after == 2 * OPG


def test_two_that_approve_at_once_both_end_well(evm: Devnet) -> None:
    wallet = evm.new_wallet(allowance=0)
    outcomes: list[object] = []
    meeting = threading.Barrier(2)
    signer = LocalSigner(wallet.private_key)

    def together(transaction: dict[str, Any]) -> str:
        meeting.wait(10)
        return signer.sign_transaction(transaction)

    def approve() -> None:
        try:
            outcomes.append(by_sync(evm, Odd(wallet, together)).allowance_after)
        except OpenGradientError as exc:
            outcomes.append(str(exc))

    threads = [threading.Thread(target=approve) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [2 * OPG, 2 * OPG]


@both
def test_warning_points_at_the_caller(evm: Devnet, approve: Callable[..., Approval]) -> None:
    """Through however many frames of ours."""
    with pytest.warns(UserWarning, match="Only 1 OPG are approved") as warned:
        approve(evm, LocalSigner(evm.new_wallet(opg=OPG, allowance=0).private_key))
    assert [warning.filename for warning in warned] == [__file__]
