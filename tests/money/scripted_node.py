"""A node of the payment chain, made of Python: it says what a test wants it to say, true or not."""

import json
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from og_integrations.client._runner import drive
from og_integrations.errors import ConnectionFailedError
from og_integrations.protocol.payment._flow import Fetch
from tests.protocol.test_settlement import SETTLED, calldata, transfer

T = TypeVar("T")
TX = "0x" + "ab" * 32


class Node:
    """
    Blocks are two seconds long, the newest is at `time`. `settled` is what was taken of every permit, None
    if nothing was; `lies` replace the results of methods; `dead` cuts the connection.
    """

    def __init__(self, time: int, settled: int | None = None, **lies: Any) -> None:
        self.time = time
        self.settled = settled
        self.lies = lies
        self.dead = False
        self.calls: Counter[str] = Counter()

    def run(self, flow: Generator[Fetch, bytes, T]) -> T:
        """Answer all that `flow` asks."""
        return drive(flow, self._reply)

    def _reply(self, effect: Fetch) -> bytes:
        if self.dead:
            raise ConnectionFailedError("No connection to the node.")
        asked = json.loads(effect.body or b"{}")
        self.calls[asked["method"]] += 1
        answer: Callable[..., Any] = getattr(self, asked["method"])
        result = self.lies.get(asked["method"], answer(*asked["params"]))
        return json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()

    def eth_chainId(self) -> str:  # noqa: N802 - the node's own name, as are the others
        return hex(8453)

    def eth_blockNumber(self) -> str:  # noqa: N802
        return hex(self.time // 2)

    def eth_getBlockByNumber(self, block: str, _: bool) -> Any:  # noqa: N802
        number = self.time // 2 if block == "latest" else int(block, 16)
        return {"number": hex(number), "timestamp": hex(self.time if block == "latest" else 2 * number)}

    def eth_call(self, *_: Any) -> str:
        return "0x" + ("ff" if self.settled is not None else "00") * 32

    def eth_getLogs(self, log_filter: Any) -> Any:  # noqa: N802
        return [{"transactionHash": TX}] if log_filter["address"] == transfer(1)["address"] else []

    def eth_getTransactionByHash(self, _: str) -> Any:  # noqa: N802
        return {"hash": TX, "input": "0x" + calldata(self.settled or 0).hex()}

    def eth_getTransactionReceipt(self, _: str) -> Any:  # noqa: N802
        logs = [transfer(self.settled or 0), SETTLED]
        return {"transactionHash": TX, "status": "0x1", "blockNumber": hex(750), "logs": logs}


def receipt_of(node: Node, **changed: Any) -> Any:
    """Return the receipt that an honest `node` would show, changed."""
    return node.eth_getTransactionReceipt(TX) | changed
