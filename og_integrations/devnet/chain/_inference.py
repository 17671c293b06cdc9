"""
The OpenGradient chain's node: anvil's JSON-RPC with models behind it, a price feed, and the scheduler's clock.

A model cannot run inside the EVM. The precompile's double asks an account for its answer and reverts with
`InferenceNeeded` while that is empty; before the node passes a call or a transaction on, it tries it, runs the
models that are needed, and puts their answers there. So an inference is atomic for whoever calls, in anybody's
contract, and costs no transaction of its own.
"""

import asyncio
import base64
import json
import math
from collections import Counter
from collections.abc import Iterator
from urllib.parse import unquote

from og_integrations.devnet._clock import Clock
from og_integrations.devnet._fault import ChainFault
from og_integrations.devnet._http import Reply
from og_integrations.devnet._http import Request as HttpRequest
from og_integrations.devnet.chain._evm import Anvil, NodeRefusedError
from og_integrations.devnet.chain.models import Models
from og_integrations.errors import OnchainError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._abi import decode_values, encode_values, selector
from og_integrations.protocol.chain._inference import (
    PRECOMPILE_ADDRESS,
    PRECOMPILE_SELECTOR,
    InferenceEvent,
    InferenceMode,
    ModelOutput,
    Request,
    decode_request,
    encode_event,
    encode_output,
)
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.chain._tensors import ModelInput, encode_input
from og_integrations.protocol.chain._workflow import (
    ALL_TASKS_CALLDATA,
    RUN_CALLDATA,
    SCHEDULER_ADDRESS,
    CandleOrder,
    CandleType,
    Query,
    decode_price_feed,
    decode_tasks,
)
from og_integrations.receipt import Receipt

NODE_API = "/artela-network/artela-rollkit/inference/tx/"
KEEPER = "0x000000000000000000000000000000000000c10c"
"""Calls workflows when their time has come."""
_NEEDED = selector("InferenceNeeded(address,bytes)")
_ERROR = selector("Error(string)")
_TAIL_RETURNER = bytes.fromhex("600b380380600b5f395ff3")
"""A program of 11 bytes that returns what stands behind it."""
_MOST_MODELS = 16
"""Inferences in one transaction."""


class ModelNode:
    """
    Answers the JSON-RPC of the OpenGradient chain and the API of deferred results.

    `models` are found by id. `deferred` makes results come late: the events are empty, and the API has the result
    after it was asked `deferred` times. `faults` are armed by `inject` until `clear_faults`; the scheduler never calls
    `ignored` contracts.
    """

    def __init__(self, anvil: Anvil, clock: Clock, models: Models | None = None) -> None:
        self._anvil = anvil
        self._clock = clock
        self.models: Models = models or Models()
        self.deferred: int | None = None
        self.faults: list[ChainFault] = []
        self.ignored: set[str] = set()
        self.spoiled: set[str] = set()
        """The hashes of transactions whose results no client may take."""
        self._late: dict[str, tuple[int, str]] = {}
        self._asked: dict[str, int] = {}
        self._answers: set[str] = set()
        self._prices: set[str] = set()
        self._ran: dict[tuple[str, str], int] = {}
        self._used: Counter[str] = Counter()

    async def handle(self, request: HttpRequest) -> Reply:
        """Answer one HTTP request."""
        status, body = await asyncio.to_thread(self.answer, request.method, request.path, request.body)
        return Reply(status=status, headers=[("Content-Type", "application/json")], body=body)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        if method == "GET" and path.startswith(NODE_API):
            return 200, json.dumps({"inference_results": self._results(unquote(path[len(NODE_API) :]))}).encode()
        if method != "POST":
            return 405, b'{"error": "POST JSON-RPC here"}'
        try:
            asked = json.loads(body)
        except ValueError:
            return 200, self._anvil.forward(body)
        if not isinstance(asked, dict):
            return 200, self._anvil.forward(body)
        return 200, self._passed_on(asked, body)

    def inject(self, fault: ChainFault) -> None:
        """Let a fault happen from now on."""
        self.faults.append(fault)
        self._used[fault.name] = 0
        self._forget(self._answers)

    def clear_faults(self) -> None:
        """Go back to the truth."""
        self.faults.clear()
        self.deferred = None
        self._forget(self._answers)

    def tick(self) -> list[str]:
        """Call the workflows whose time has come, by the node's clock, and return their addresses."""
        self._forget(self._prices)
        now = int(self._anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        called = []
        for task in decode_tasks(self._anvil.read(SCHEDULER_ADDRESS, ALL_TASKS_CALLDATA)):
            key = (task.user, task.contract)
            due = self._ran.get(key, 0) + task.frequency <= now <= task.end_time
            ignored = task.contract.lower() in self.ignored or any(fault.ignores_tasks for fault in self.faults)
            if due and not ignored:
                self.prepare({"from": KEEPER, "to": task.contract, "data": "0x" + RUN_CALLDATA.hex()})
                self._anvil.transact(KEEPER, task.contract, RUN_CALLDATA)
                self._ran[key] = now
                called.append(task.contract)
        return called

    def prepare(self, call: JsonObject) -> None:
        """Run every model that `call` needs and put the answers where the precompiles look for them."""
        for _ in range(_MOST_MODELS):
            try:
                self._anvil.rpc("eth_call", call, "latest")
            except NodeRefusedError as exc:
                if exc.data[:4] != _NEEDED:
                    return
                self._answer_question(*decode_values(["address", "bytes"], exc.data[4:]))
            else:
                return

    def unsafe(self, receipts: list[JsonObject]) -> list[str]:
        """Return the hashes of spoiled transactions that `receipts` show as verified."""
        read = [Receipt(receipt) for receipt in receipts]
        return sorted(self.spoiled & {str(receipt.transaction_hash) for receipt in read if receipt.verified})

    def _passed_on(self, asked: JsonObject, body: bytes) -> bytes:
        method, params = str(asked.get("method")), asked.get("params") or []
        for fault in self.faults:
            if fault.call is not None and (said := fault.call(method)) is not None:
                self._count_use(fault)
                return json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": said}).encode()
        if method in ("eth_call", "eth_estimateGas") and params and isinstance(params[0], dict):
            self.prepare(params[0])
        if method == "eth_sendRawTransaction" and params:
            self._before_sending(str(params[0]))
        reply = self._anvil.forward(body)
        if method == "eth_sendRawTransaction":
            self._after_sending(json.loads(reply))
            if any(fault.loses for fault in self.faults):
                error = {"code": -32000, "message": "the connection to the node was reset"}
                return json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "error": error}).encode()
        if method == "eth_getTransactionReceipt":
            return self._told(json.loads(reply))
        return reply

    def _count_use(self, fault: ChainFault) -> None:
        self._used[fault.name] += 1
        if fault.times is not None and self._used[fault.name] >= fault.times:
            self.faults = [other for other in self.faults if other is not fault]

    def _before_sending(self, raw: str) -> None:
        try:
            call = _call_of(bytes.fromhex(raw.removeprefix("0x")))
        except ValueError:
            return  # anvil says what is wrong with it
        self.prepare(call)
        if any(fault.reverts for fault in self.faults):
            # What the simulation found is there no more when the transaction is mined.
            for place in self._asked_places(call):
                self._anvil.rpc("anvil_setCode", place, _holding(False, b"", _reason("the model is gone")))

    def _asked_places(self, call: JsonObject) -> Iterator[str]:
        data = bytes.fromhex(str(call["data"])[2:])
        if len(data) < 100:
            return
        # The hub's double asks the precompile with the same words in another order.
        asked = PRECOMPILE_SELECTOR + (32).to_bytes(32, "big") + data[36:68] + data[4:36] + data[68:]
        yield _place(PRECOMPILE_ADDRESS, asked)

    def _after_sending(self, reply: JsonObject) -> None:
        tx_hash = reply.get("result")
        if not isinstance(tx_hash, str):
            return
        if any(fault.spoils for fault in self.faults):
            self.spoiled.add(tx_hash)
        if any(fault.drops for fault in self.faults):
            self.faults = [fault for fault in self.faults if not fault.drops]
            self._anvil.rpc("anvil_dropTransaction", tx_hash)

    def _told(self, reply: JsonObject) -> bytes:
        receipt = reply.get("result")
        if isinstance(receipt, dict):
            for fault in self.faults:
                receipt = receipt if fault.receipt is None or receipt is None else fault.receipt(receipt)
        return json.dumps(reply | {"result": receipt} if "result" in reply else reply).encode()

    def _answer_question(self, precompile: str, asked: bytes) -> None:
        ok, event, output = self._inferred(precompile, asked)
        place = _place(precompile, asked)
        self._answers.add(place)
        if precompile.lower() != PRECOMPILE_ADDRESS.lower():
            self._prices.add(place)
        self._anvil.rpc("anvil_setCode", place, _holding(ok, event, output))

    def _inferred(self, precompile: str, asked: bytes) -> tuple[bool, bytes, bytes]:
        try:
            if precompile.lower() == PRECOMPILE_ADDRESS.lower():
                request = decode_request(asked)
            else:
                model_cid, name, query = decode_price_feed(asked)
                request = Request(InferenceMode.VANILLA, model_cid, _candles(name, query, self._now()))
            response = self._run(request)
        except OnchainError as exc:
            return False, b"", _reason(str(exc))
        if precompile.lower() != PRECOMPILE_ADDRESS.lower():
            return True, b"", encode_output(response)
        identity = f"{keccak(asked).hex()[:32]}/{len(self._late)}"
        event = InferenceEvent(identity, request, response)
        for fault in self.faults:
            event = event if fault.event is None else fault.event(event)
        if self.deferred is not None:
            self._late[identity] = (self.deferred, _api_text(request.mode, response))
            event = event._replace(response=ModelOutput(is_simulation_result=True))
            response = event.response
        return True, encode_event(event), encode_output(response)

    def _run(self, request: Request) -> ModelOutput:
        if request.mode not in tuple(InferenceMode):
            raise OnchainError(f"Unknown inference mode {request.mode}.")
        model = self.models.find(request.model_cid)
        if model is None:
            raise OnchainError(f"Model not found: {request.model_cid}")
        response = model.run(request.inputs)
        for fault in self.faults:
            response = response if fault.output is None else fault.output(response)
        return response

    def _results(self, identity: str) -> list[str]:
        polls, text = self._late.get(identity, (0, ""))
        self._asked[identity] = self._asked.get(identity, 0) + 1
        results = [text] if text and self._asked[identity] > polls else []
        for fault in self.faults:
            results = results if fault.api is None else fault.api(results)
        return results

    def _now(self) -> int:
        return int(self._clock.now())

    def _forget(self, places: set[str]) -> None:
        """Have the models run again where they are asked the same."""
        for place in places:
            self._anvil.rpc("anvil_setCode", place, "0x")
        places.clear()


def _place(precompile: str, asked: bytes) -> str:
    return "0x" + keccak(bytes(12) + bytes.fromhex(precompile[2:]) + asked)[12:].hex()


def _holding(ok: bool, event: bytes, output: bytes) -> str:
    return "0x" + (_TAIL_RETURNER + encode_values(["bool", "bytes", "bytes"], [ok, event, output])).hex()


def _reason(text: str) -> bytes:
    return _ERROR + encode_values(["string"], [text])


def _call_of(raw: bytes) -> JsonObject:
    """Return sender, target and data of a signed transaction. Raises `ValueError` if it cannot be read."""
    import rlp
    from eth_account import Account

    sender = Account.recover_transaction(raw)
    if raw[:1] == b"\x02":
        fields = rlp.decode(raw[1:])
        to, data = fields[5], fields[7]
    else:
        fields = rlp.decode(raw)
        to, data = fields[3], fields[5]
    return {"from": sender, "data": "0x" + data.hex()} | ({"to": "0x" + to.hex()} if to else {})


def _candles(name: str, query: Query, now: int) -> ModelInput:
    """Return made-up prices, the same for all who ask for the same time: a slow wave with small ripples."""
    length = 60 * max(1, query.candle_duration_in_mins)
    newest = now // length
    rows = [_candle(query, (newest - index) * length, length) for index in range(query.total_candles)]
    if query.order == CandleOrder.ASCENDING:
        rows.reverse()
    return encode_input({name: [[row[CandleType(kind)] for kind in query.candle_types] for row in rows]})


def _candle(query: Query, begins: int, length: int) -> dict[CandleType, float]:
    level = 100 + int.from_bytes(keccak(f"{query.base}/{query.quote}".encode())[:2], "big") / 16

    def price(at: float) -> float:
        return round(level * (1 + 0.05 * math.sin(at / 40_000) + 0.01 * math.sin(at / 700)), 6)

    inside = [price(begins + length * step / 8) for step in range(9)]
    return {
        CandleType.OPEN: inside[0],
        CandleType.CLOSE: inside[-1],
        CandleType.HIGH: max(inside),
        CandleType.LOW: min(inside),
        CandleType.VOLUME: round(1000 + 500 * math.sin(begins / 3_000), 3),
    }


def _api_text(mode: int, output: ModelOutput) -> str:
    """Return a result as the node's API has it: base64 of JSON, in another place for each mode."""
    numbers = [
        {
            "name": tensor.name,
            "values": [{"value": str(number.value), "decimals": str(number.decimals)} for number in tensor.values],
            "shape": list(tensor.shape),
        }
        for tensor in output.numbers
    ]
    strings = [{"name": t.name, "values": list(t.values), "shape": [len(t.values)]} for t in output.strings]
    jsons = [{"name": scalar.name, "value": scalar.value} for scalar in output.jsons]
    inner: JsonObject = {"model_output": {"numbers": numbers, "strings": strings, "jsons": jsons}}
    result = {
        InferenceMode.VANILLA: {"VanillaResult": inner},
        InferenceMode.ZKML: {"ZkmlResult": inner},
        InferenceMode.TEE: {"TeeNodeResult": {"Response": {"VanillaResponse": inner}}},
    }[InferenceMode(mode)]
    return base64.b64encode(json.dumps({"InferenceResult": result}).encode()).decode()
