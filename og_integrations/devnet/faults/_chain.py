"""
Faults of the chain, its node and its models, by name: `net.inject("forged_result")`.

A result that one of them has spoiled must not be shown as verified: `net.models.unsafe(receipts)` lists those.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

from og_integrations.devnet._fault import ChainFault
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._inference import (
    INFERENCE_TOPIC,
    RESULT_TOPIC,
    InferenceEvent,
    JsonScalar,
    ModelOutput,
    decode_output,
    encode_output,
)
from og_integrations.protocol.chain._tensors import Number

_STRANGER = "0x" + "0b" * 20


def _numbers(output: ModelOutput, change: Callable[[Number], Number]) -> ModelOutput:
    tensors = (tensor._replace(values=tuple(map(change, tensor.values))) for tensor in output.numbers)
    return replace(output, numbers=tuple(tensors))


def _more(output: ModelOutput) -> ModelOutput:
    return _numbers(output, lambda number: Number(number.value + 1, number.decimals))


def _wide(output: ModelOutput) -> ModelOutput:
    tensors = (tensor._replace(shape=(*tensor.shape, 7)) for tensor in output.numbers)
    return replace(output, numbers=tuple(tensors))


def _forged(receipt: JsonObject) -> JsonObject:
    logs = [log | {"address": _STRANGER} if log["topics"][0] == RESULT_TOPIC else log for log in receipt["logs"]]
    return receipt | {"logs": logs}


def _changed(receipt: JsonObject) -> JsonObject:
    def change(log: JsonObject) -> JsonObject:
        if log["topics"][0] != RESULT_TOPIC:
            return log
        output = _more(decode_output(bytes.fromhex(log["data"][2:])))
        return log | {"data": "0x" + encode_output(output).hex()}

    return receipt | {"logs": list(map(change, receipt["logs"]))}


def _without_event(receipt: JsonObject) -> JsonObject:
    return receipt | {"logs": [log for log in receipt["logs"] if log["topics"][0] != INFERENCE_TOPIC]}


def _of_another(event: InferenceEvent) -> InferenceEvent:
    return event._replace(request=event.request._replace(model_cid="QmAnotherModel"))


def _of_the_node(text: str) -> str:
    said = json.loads(base64.b64decode(text))
    for number in _values(said):
        number["value"] = str(int(number["value"]) + 7)
    return base64.b64encode(json.dumps(said).encode()).decode()


def _values(part: object) -> Iterator[JsonObject]:
    """Yield the numbers, wherever a mode has them."""
    if isinstance(part, dict) and "value" in part and "decimals" in part:
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _values(inner)


_FAULTS = (
    ChainFault(name="forged_result", about="the result event comes from another contract", receipt=_forged),
    ChainFault(
        name="changed_result", about="the hub's event has another result than the precompile's", receipt=_changed
    ),
    ChainFault(name="no_inference_event", about="the precompile wrote no event", receipt=_without_event),
    ChainFault(name="other_request", about="the precompile's event is of another request", event=_of_another),
    ChainFault(
        name="simulated",
        about="the result says itself that it is a simulation",
        output=lambda output: replace(output, is_simulation_result=True),
    ),
    ChainFault(
        name="absurd_decimals",
        about="a number has 10**20 decimals",
        output=lambda output: _numbers(output, lambda number: Number(number.value, 10**20)),
    ),
    ChainFault(name="wrong_shape", about="the values do not fill the shape", output=_wide),
    ChainFault(
        name="nan_json",
        about="an output that should be JSON holds NaN",
        output=lambda output: replace(output, jsons=(JsonScalar("j", "[NaN]"),)),
    ),
    ChainFault(name="wrong_value", about="the network answers another number than the model gives", output=_more),
    ChainFault(name="reverts", about="the transaction reverts although its estimate did not", reverts=True),
    ChainFault(
        name="mined_late",
        about="the transaction is mined, and the node does not tell its receipt",
        spoils=False,
        receipt=lambda _: None,
    ),
    ChainFault(
        name="lost_answer", about="the node takes the transaction, and its answer is lost", spoils=False, loses=True
    ),
    ChainFault(
        name="stale_count",
        about="a node that is behind counts none of the wallet's transactions, three times",
        spoils=False,
        call=lambda method: "0x0" if method == "eth_getTransactionCount" else None,
        times=3,
    ),
    ChainFault(
        name="ignored_tasks", about="the scheduler calls no workflow any more", spoils=False, ignores_tasks=True
    ),
    ChainFault(name="dropped", about="the node forgets the transaction, once", spoils=False, drops=True),
    ChainFault(
        name="wrong_chain",
        about="the node serves another chain",
        call=lambda method: "0x1" if method == "eth_chainId" else None,
    ),
    ChainFault(
        name="other_result",
        about="the node's API has the result of another inference",
        api=lambda results: [_of_the_node(results[0])] if results else [],
    ),
    ChainFault(name="garbled_api", about="the node's API answers with something else", api=lambda _: ["e30="]),
    ChainFault(name="silent_api", about="the node's API never has the result", spoils=False, api=lambda _: []),
)
CHAIN_FAULTS = {fault.name: fault for fault in _FAULTS}
"""Name -> fault."""
