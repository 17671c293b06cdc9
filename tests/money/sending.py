"""
Transactions of one wallet, sent by threads, tasks and processes at once.

As a program it is another process with the same wallet: `python -m tests.money.sending URL KEY TOKEN FIRST COUNT`
prints the nonce and hash of each transaction; with `--die before|after` it writes the first one down and ends
without a word, before or after it was sent.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from og_integrations.client._runner import adrive, drive
from og_integrations.client._signer import LocalSigner, TransactionSigner
from og_integrations.client.chain._transactions import (
    AsyncSender,
    GasLimits,
    Place,
    Sending,
    SentTransaction,
    SyncSender,
    Waiting,
    draft,
    transact,
)
from og_integrations.client.channels._connections import AsyncConnections, SyncConnections
from og_integrations.devnet import Devnet
from og_integrations.protocol.chain._abi import encode_approve

LIMITS = GasLimits(cost=10**16)
Sent = tuple[SentTransaction, dict[str, Any]]


def place_of(net: Devnet) -> Place:
    return Place(url=net.network.rpc_url, chain_id=net.network.chain_id, name="devnet")


def spender(number: int) -> str:
    """Return an address that stands for one transaction: what is approved to it tells that it was mined."""
    return "0x" + number.to_bytes(20, "big").hex()


def approving(place: Place, token: str, owner: str, number: int, timeout: float = 60) -> Sending[Sent]:
    """Send the transaction that `spender(number)` stands for."""
    data = encode_approve(spender(number), number)
    transaction = yield from draft(place, owner, token, data, LIMITS, "The test")
    return (yield from transact(place, owner, transaction, Waiting("The test", timeout)))


def run(flow: Sending[Any], signer: TransactionSigner, **callbacks: Any) -> Any:
    """Run one flow with connections of its own."""
    connections = SyncConnections()
    try:
        return drive(flow, SyncSender(lambda: signer, connections, **callbacks).perform)
    finally:
        connections.close()


def in_threads(flows: list[Sending[Any]], signer: TransactionSigner) -> list[Any]:
    """Run all flows at once; an exception is its own outcome."""
    outcomes: list[Any] = [None] * len(flows)

    def work(index: int) -> None:
        try:
            outcomes[index] = run(flows[index], signer)
        except Exception as exc:  # noqa: BLE001 - an outcome like others
            outcomes[index] = exc

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(flows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def in_tasks(flows: list[Sending[Any]], signer: TransactionSigner) -> list[Any]:
    """Run all flows as tasks of one loop; an exception is its own outcome."""

    async def main() -> list[Any]:
        connections = AsyncConnections()
        sender = AsyncSender(lambda: signer, connections)
        try:
            return await asyncio.gather(*(adrive(flow, sender.perform) for flow in flows), return_exceptions=True)
        finally:
            await connections.aclose()

    return asyncio.run(main())


def saved(sent: SentTransaction) -> str:
    """Write a transaction down, as a program does that wants to resume it."""
    return json.dumps([sent.chain_id, sent.sender, sent.nonce, sent.transaction_hash, sent.raw.hex()])


def loaded(line: str) -> SentTransaction:
    chain_id, sender, nonce, tx_hash, raw = json.loads(line)
    return SentTransaction(
        chain_id=chain_id, sender=sender, nonce=nonce, transaction_hash=tx_hash, raw=bytes.fromhex(raw)
    )


def dying(when: str) -> dict[str, Callable[[Any], None]]:
    def write_down(sent: SentTransaction) -> None:
        sys.stdout.write(saved(sent))
        sys.stdout.flush()
        if when == "before":
            os._exit(9)

    return {"leaving": write_down, "tell": lambda _: os._exit(9)}


def main(url: str, key: str, token: str, first: str, count: str, *die: str) -> None:
    signer, place = LocalSigner(key), Place(url=url, chain_id=8453, name="devnet")
    flows = [approving(place, token, signer.address, int(first) + index) for index in range(int(count))]
    if die:
        run(flows[0], signer, **dying(die[1]))
    sent = in_threads(flows, signer)
    sys.stdout.write(json.dumps([[one.nonce, one.transaction_hash] for one, _ in sent]))


if __name__ == "__main__":
    main(*sys.argv[1:])
