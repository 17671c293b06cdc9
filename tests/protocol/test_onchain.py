"""Models and workflows on chain: bytes of the published client, exact numbers in both directions, hostile answers."""

import base64
import json
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from og_integrations.errors import InvalidRequestError, OnchainError, OpenGradientError
from og_integrations.protocol.chain._abi import uint_word
from og_integrations.protocol.chain._inference import (
    HUB_ADDRESS,
    INFERENCE_TOPIC,
    PRECOMPILE_ADDRESS,
    RESULT_TOPIC,
    InferenceEvent,
    InferenceMode,
    JsonScalar,
    Log,
    ModelOutput,
    Request,
    decode_event,
    decode_node_result,
    decode_output,
    decode_request,
    decode_run,
    encode_event,
    encode_output,
    find_result,
    has_node_result,
    request_calldata,
    run_calldata,
)
from og_integrations.protocol.chain._tensors import (
    INT128_MAX,
    MAX_DECIMALS,
    DecimalsPolicy,
    ModelInput,
    Number,
    NumberTensor,
    StringTensor,
    encode_input,
    exact_value,
    output_number,
)
from og_integrations.protocol.chain._workflow import (
    ALL_TASKS_CALLDATA,
    CandleOrder,
    CandleType,
    Query,
    Task,
    constructor_args,
    decode_history,
    decode_price_feed,
    decode_tasks,
    encode_history,
    history_calldata,
    price_feed_calldata,
    register_task_calldata,
    stop_task_calldata,
    update_task_calldata,
)

ROOT = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "tests/vectors/onchain/tensors.json").read_text())
MODEL = "QmbUqS93oc4JTLMHwpVxsE39mhNxy6hpf6Py3r9oANr8aZ"


def vectors(kind: str, *without: str) -> pytest.MarkDecorator:
    cases = [case for case in VECTORS[kind] if case["id"] not in without]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["id"])


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def given_tensor(spec: dict[str, Any]) -> object:
    """Build what the vector's user gave."""
    if spec["kind"] == "python":
        return spec["data"]
    return np.array(spec["data"], dtype=spec["dtype"]).reshape(spec["shape"])


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Return exact outputs as the published client shows them: numbers as float32, texts flat."""
    shown: dict[str, Any] = {}
    for name, value in values.items():
        flat = np.array(value, dtype=object).ravel().tolist()
        if isinstance(value, dict):
            shown[name] = value
        elif flat and isinstance(flat[0], str):
            shown[name] = flat
        else:
            shown[name] = [np.float32(number) for number in flat]
    return shown


def published(result: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, tensor in result.items():
        data = tensor["data"]
        shown[name] = [np.float32(number) for number in data] if tensor["dtype"].startswith("float") else data
    return shown


@vectors("encode_input", "mixed list becomes strings")
def test_published_inputs(case: dict[str, Any]) -> None:
    """Inputs become the published client's calldata, byte for byte, and are read back from it."""
    inputs = encode_input({name: given_tensor(spec) for name, spec in case["input"].items()})
    numbers = [[n, [[str(v), str(d)] for v, d in values], list(shape)] for n, values, shape in inputs.numbers]
    assert numbers == case["abi"]["numbers"]
    assert [[name, list(values)] for name, values in inputs.strings] == case["abi"]["strings"]
    request = Request(case["mode"], case["model_cid"], inputs)
    assert run_calldata(request.model_cid, request.mode, inputs) == raw(case["run_calldata"])
    assert decode_run(raw(case["run_calldata"])) == request
    if "precompile_calldata" in case:
        assert request_calldata(request.model_cid, request.mode, inputs) == raw(case["precompile_calldata"])
        assert decode_request(raw(case["precompile_calldata"])) == request


@vectors("decode_output")
def test_published_outputs(case: dict[str, Any]) -> None:
    """Outputs equal the published client's after rounding to float32, and are exact before."""
    event = case["inference_result_event"]
    output = decode_output(raw(event["data"]))
    assert event["topics"] == [RESULT_TOPIC]
    assert rounded(output.values) == published(case["published_result"])
    assert encode_output(output) == raw(event["data"])
    assert output.is_simulation_result == case["abi"]["is_simulation_result"]
    if "get_inference_result_returndata" in case:
        assert decode_output(raw(case["get_inference_result_returndata"])) == output
    if "model_inference_event" in case:
        read = decode_event(raw(case["model_inference_event"]["data"]))
        assert case["model_inference_event"]["topics"] == [INFERENCE_TOPIC]
        assert read.response == output
        assert encode_event(read) == raw(case["model_inference_event"]["data"])


@vectors("node_result")
def test_published_node_results(case: dict[str, Any]) -> None:
    """The node's API is read in each mode; numbers may be texts."""
    assert has_node_result(case["response"])
    output = decode_node_result(case["mode"], case["response"])
    assert rounded(output.values) == published(case["published_result"])


@vectors("workflow_query")
def test_published_workflows(case: dict[str, Any]) -> None:
    query = Query(*case["query"])
    calldata = price_feed_calldata(case["model_cid"], case["input_name"], query)
    assert constructor_args(case["model_cid"], case["input_name"], query) == raw(case["constructor_args"])
    assert calldata == raw(case["price_feed_calldata"])
    model, name, read = decode_price_feed(calldata)
    assert (model, name, list(read.candle_types)) == (case["model_cid"], case["input_name"], query.candle_types)


@vectors("workflow_history")
def test_published_histories(case: dict[str, Any]) -> None:
    outputs = decode_history(raw(case["returndata"]))
    assert history_calldata(case["num_results"]) == raw(case["calldata"])
    assert [rounded(output.values) for output in outputs] == [published(result) for result in case["published_result"]]
    assert encode_history(outputs) == raw(case["returndata"])


@vectors("register_task")
def test_published_tasks(case: dict[str, Any]) -> None:
    calldata = register_task_calldata(case["contract"], case["end_time"], case["frequency"])
    assert calldata == raw(case["calldata"])


def test_selectors_of_the_scheduler() -> None:
    """Those that no vector has, as the explorer's ABI names them."""
    contract = "0x" + "0a" * 20
    assert update_task_calldata(contract, 1, 1)[:4].hex() == "acac5393"
    assert stop_task_calldata(contract)[:4].hex() == "2f730891"
    assert ALL_TASKS_CALLDATA.hex() == "779900b4"


ITSELF: list[object] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), r"'x'\[0\]: NaN cannot be sent; expected a finite number. Nothing was sent."),
        ([[1.0, 2.0], [3.0, float("-inf")]], r"'x'\[1\]\[1\]: infinity cannot be sent"),
        (np.array([1.0, np.nan], dtype=np.float16), r"'x'\[1\]: NaN"),
        (Decimal("sNaN"), "NaN"),
        (True, r"'x'\[0\]: a bool is no number to the network"),
        ([0, False], r"'x'\[1\]: a bool"),
        (np.array([True]), r"'x'\[0\]: a value of dtype bool is neither a number nor a text"),
        ([[1, 2], [3]], r"'x'\[1\]: ragged: this row has the shape \[1\], those before it \[2\]"),
        ([1, [2]], r"'x'\[1\]: ragged"),
        ([1, "a"], r"'x'\[1\]: texts and other values stand in one tensor"),
        (["a", None], r"'x'\[1\]: texts and other values"),
        (None, r"'x'\[0\]: a NoneType is neither"),
        ({"a": 1}, "a dict is neither"),
        (b"abc", "a bytes is neither"),
        (np.array([b"abc"]), "a bytes_? is neither|dtype"),
        (1j, "a complex is neither"),
        (np.array([1j]), "complex128"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "datetime64"),
        (range(3), "a range is neither"),
        (object(), "a object is neither"),
        (np.ma.masked_array([1, 2], mask=[False, True]), "masked"),
        (INT128_MAX + 1, "does not fit into an int128"),
        (-INT128_MAX - 2, "int128"),
        (1e39, "int128"),
        (Decimal("1e999999999"), "int128"),
        (Decimal("1e-1000000"), "1000000 decimals, expected at most 1100"),
        (Decimal("170000000000000000000000000000000000000.5"), "int128"),
        ("a\ud800", "lone surrogate"),
        (ITSELF, "nested more than 64 levels deep, or it holds itself"),
        (np.empty((0, 2**33)), "32 bits"),
    ],
)
def test_what_cannot_be_sent(value: object, reason: str) -> None:
    """Each refusal names the tensor and, where there is one, the position."""
    with pytest.raises(InvalidRequestError, match=reason):
        encode_input({"ok": [1], "x": value})


@pytest.mark.parametrize("tensors", [None, [("x", 1)], {1: 2}, {"a\ud800": 1}])
def test_input_is_a_dict_of_texts(tensors: Any) -> None:
    with pytest.raises(InvalidRequestError, match="Nothing was sent"):
        encode_input(tensors)


@pytest.mark.parametrize(
    ("value", "numbers", "shape"),
    [
        (1e20, [(10**20, 0)], (1,)),
        (2**63, [(2**63, 0)], (1,)),
        (np.array([2**64 - 1], dtype=np.uint64), [(2**64 - 1, 0)], (1,)),
        (-1e19, [(-(10**19), 0)], (1,)),
        ((1, (2)), [(1, 0), (2, 0)], (2,)),
        (np.float32(0.1), [(1, 1)], (1,)),
        ([np.float32(0.1), np.int64(7)], [(1, 1), (7, 0)], (2,)),
        (np.array(3.5), [(35, 1)], ()),
        ([np.array([1, 2]), np.array([3, 4])], [(1, 0), (2, 0), (3, 0), (4, 0)], (2, 2)),
        (np.array([1, Decimal("0.10")], dtype=object), [(1, 0), (1, 1)], (2,)),
        (Decimal("-12.3400"), [(-1234, 2)], (1,)),
        (Decimal("1.5e3"), [(1500, 0)], (1,)),
        ([2**53 + 1, 0.5], [(2**53 + 1, 0), (5, 1)], (2,)),
        (-0.0, [(0, 0)], (1,)),
        (-INT128_MAX - 1, [(-INT128_MAX - 1, 0)], (1,)),
        ([[], []], [], (2, 0)),
    ],
)
def test_what_the_published_client_cannot_send(value: object, numbers: list[Number], shape: tuple[int, ...]) -> None:
    assert encode_input({"x": value}).numbers == (NumberTensor("x", tuple(numbers), shape),)


def test_digits_do_not_follow_how_numpy_prints() -> None:
    """np.set_printoptions may make str() of a scalar shorter than the number is."""
    with np.printoptions(legacy="1.13"):
        (tensor,) = encode_input({"x": np.array([1 / 3, 0.1])}).numbers
    assert tensor.values == ((3333333333333333, 16), (1, 1))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("exact", (12345678901234567, 19)),
        ("round", (1234567890123457, 18)),
        ("flush", (1234567890123457, 18)),
        ("refuse", "19 decimals, and the node takes at most 18"),
    ],
)
def test_eighteen_decimals(policy: str, expected: Any) -> None:
    """The public node refuses more, after the gas was paid."""
    if isinstance(expected, str):
        with pytest.raises(InvalidRequestError, match=expected):
            encode_input({"x": [0.0012345678901234567]}, decimals=policy)
    else:
        assert encode_input({"x": [0.0012345678901234567]}, decimals=policy).numbers[0].values == (expected,)


def test_rounding_never_makes_a_number_zero_unasked() -> None:
    with pytest.raises(InvalidRequestError, match=r"'x'\[0\]: the number is not 0, and would be after rounding"):
        encode_input({"x": [1.2e-38]}, decimals=DecimalsPolicy.ROUND)
    assert encode_input({"x": [1.2e-38]}, decimals="flush").numbers[0].values == ((0, 0),)
    with pytest.raises(InvalidRequestError, match="'cut' is no policy"):
        encode_input({"x": 1}, decimals="cut")


@given(st.integers(-(10**25), 10**25), st.integers(19, 40))
def test_rounding_is_half_to_even(value: int, decimals: int) -> None:
    exact = Decimal(value).scaleb(-decimals)
    with localcontext() as context:
        context.prec = 80
        expected = exact.quantize(Decimal(1).scaleb(-18))
    (tensor,) = encode_input({"x": [exact]}, decimals="flush").numbers
    assert exact_value(tensor.values[0]) == expected


shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
exact_numbers = st.integers(-INT128_MAX - 1, INT128_MAX) | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=20
)


@settings(deadline=None)
@given(st.dictionaries(names, st.lists(exact_numbers, max_size=4) | st.lists(names, min_size=1, max_size=4)))
def test_inputs_come_back_exactly(tensors: dict[str, list[Any]]) -> None:
    request = decode_run(run_calldata(MODEL, InferenceMode.TEE, encode_input(tensors)))
    numbers, strings = request.inputs
    assert {t.name: [exact_value(n) for n in t.values] for t in numbers} | {
        t.name: list(t.values) for t in strings
    } == tensors


@settings(deadline=None)
@given(st.lists(st.floats(min_value=-(2.0**126), max_value=2.0**126, width=32), min_size=1, max_size=6))
def test_float32_come_back_exactly(numbers: list[float]) -> None:
    """28 digits, as the network writes them, are more than a float32 has."""
    tensor = NumberTensor("y", tuple(output_number(number) for number in numbers), (len(numbers),))
    (values,) = decode_output(encode_output(ModelOutput((tensor,)))).values.values()
    assert [np.float32(value) for value in values] == [np.float32(number) for number in numbers]  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [1010655425488948822021484375, 3774157376028597354888916016])
def test_published_output_numbers(value: int) -> None:
    """The two values that were seen on chain are float32 numbers in this form."""
    decimals = 30 if value < 2 * 10**27 else 31
    number = np.float32(exact_value(Number(value, decimals)))
    assert output_number(float(number)) == (value, decimals)


def test_output_number_must_be_finite() -> None:
    for number in (float("nan"), float("inf"), 1e39):
        with pytest.raises(ValueError, match=r"finite|int128"):
            output_number(number)


number_tensors = st.builds(
    lambda name, shape, number: NumberTensor(name, (number,) * int(np.prod(shape)), shape),
    names,
    shapes,
    st.tuples(st.integers(-INT128_MAX - 1, INT128_MAX), st.integers(-MAX_DECIMALS, MAX_DECIMALS)).map(Number._make),
)
outputs = st.builds(
    ModelOutput,
    st.lists(number_tensors, max_size=2).map(tuple),
    st.lists(st.builds(StringTensor, names, st.lists(names, max_size=3).map(tuple)), max_size=2).map(tuple),
    st.lists(st.builds(JsonScalar, names, st.just('{"k": [1, 0.5]}')), max_size=2).map(tuple),
    st.booleans(),
)


@settings(deadline=None)
@given(outputs, names)
def test_events_come_back(output: ModelOutput, inference_id: str) -> None:
    event = InferenceEvent(inference_id, Request(0, MODEL, encode_input({"x": [1, 0.5], "s": "a"})), output)
    assert decode_event(encode_event(event)) == event
    assert decode_history(encode_history([output, output])) == [output, output]


def test_two_outputs_of_one_name_are_both_there() -> None:
    """The published client shows the last one, and says nothing."""
    number, text = NumberTensor("n", (Number(5, 0),), (1,)), StringTensor("n", ("a",))
    output = decode_output(encode_output(ModelOutput((number,), (text,))))
    assert (output.ambiguous, output.values) == (("n",), {"n": ["a"]})
    assert (output.numbers, output.strings) == ((number,), (text,))


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (ModelOutput((NumberTensor("y", (Number(1, 10**20),), (1,)),)), "decimals, expected at most 1100"),
        (ModelOutput((NumberTensor("y", (Number(1, -(10**9)),), (1,)),)), "decimals, expected at most 1100"),
        (ModelOutput((NumberTensor("y", (Number(1, 0),), (2, 2)),)), r"1 values do not fill the shape \[2, 2\]"),
        (ModelOutput((NumberTensor("y", (), (2**32 - 1, 0)),)), "too many rows"),
        (ModelOutput((NumberTensor("y", (Number(1, 0),), (1,) * 65),)), "65 dimensions"),
        (ModelOutput(jsons=(JsonScalar("j", '{"v": NaN}'),)), "should be JSON is none"),
        (ModelOutput(jsons=(JsonScalar("j", '{"v": 1e999}'),)), "should be JSON is none"),
        (ModelOutput(jsons=(JsonScalar("j", '{"v": 1, "v": 2}'),)), "not of one meaning"),
        (ModelOutput(jsons=(JsonScalar("j", "["),)), "should be JSON is none"),
    ],
)
def test_absurd_outputs(output: ModelOutput, reason: str) -> None:
    with pytest.raises(OnchainError, match=f"The model's output cannot be read: .*{reason}.* Do not use it"):
        decode_output(encode_output(output))


REQUEST = Request(0, MODEL, encode_input({"x": [1, 2]}))
OUTPUT = decode_output(encode_output(ModelOutput((NumberTensor("y", (Number(25, 1),), (1,)),))))
OTHER = decode_output(encode_output(ModelOutput((NumberTensor("y", (Number(26, 1),), (1,)),))))
STRANGER = "0x" + "0b" * 20


def result_log(output: ModelOutput = OUTPUT, address: str = HUB_ADDRESS) -> Log:
    return Log(address, (RESULT_TOPIC,), encode_output(output))


def event_log(request: Request = REQUEST, output: ModelOutput = OUTPUT, address: str = PRECOMPILE_ADDRESS) -> Log:
    return Log(address, (INFERENCE_TOPIC,), encode_event(InferenceEvent("id/1", request, output)))


def test_result_of_our_request_is_found() -> None:
    """Another contract may write the same events before ours; the published client takes the first."""
    forged = [result_log(OTHER, STRANGER), event_log(output=OTHER, address=STRANGER)]
    others = event_log(REQUEST._replace(mode=2), OTHER)
    anonymous = Log(HUB_ADDRESS, (), b"")
    found = find_result([*forged, anonymous, others, event_log(), result_log(address=HUB_ADDRESS.lower())], REQUEST)
    assert (found.inference_id, found.response) == ("id/1", OUTPUT)


@pytest.mark.parametrize(
    ("logs", "reason"),
    [
        ([], "0 InferenceResult events of the hub"),
        ([result_log(address=STRANGER), event_log()], "0 InferenceResult events of the hub"),
        ([result_log(), result_log(), event_log()], "2 InferenceResult events of the hub"),
        ([result_log()], "wrote 0 events"),
        ([result_log(), event_log(address=STRANGER)], "wrote 0 events"),
        ([result_log(), event_log(REQUEST._replace(model_cid="Qm"))], "wrote 1 events in this transaction, 0 of them"),
        ([result_log(), event_log(), event_log()], "2 of them for this request"),
        ([result_log(OTHER), event_log()], "differs from the one that the precompile gave"),
        ([Log(HUB_ADDRESS, (RESULT_TOPIC,), b"\1"), event_log()], "not of the form"),
    ],
)
def test_result_that_is_not_ours_is_refused(logs: list[Log], reason: str) -> None:
    with pytest.raises(OnchainError, match=reason):
        find_result(logs, REQUEST)


def test_request_digest_names_model_mode_and_input() -> None:
    digests = {
        request.digest()
        for request in (
            REQUEST,
            REQUEST._replace(mode=1),
            REQUEST._replace(model_cid="Qm"),
            REQUEST._replace(inputs=ModelInput((), ())),
        )
    }
    assert len(digests) == 4


@pytest.mark.parametrize("model_cid", ["", None, "a\nb"])
def test_model_id_is_a_text(model_cid: Any) -> None:
    with pytest.raises(InvalidRequestError, match="model's id is empty or no text"):
        run_calldata(model_cid, 0, REQUEST.inputs)


@pytest.mark.parametrize("mode", [3, -1, True, None, "TEE"])
def test_mode_is_one_of_three(mode: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"expected VANILLA \(0\), ZKML \(1\), TEE \(2\)"):
        run_calldata(MODEL, mode, REQUEST.inputs)


def node_body(document: object) -> dict[str, object]:
    return {"inference_results": [base64.b64encode(json.dumps(document).encode()).decode()]}


def vanilla(**tensors: object) -> dict[str, object]:
    output = {"numbers": [], "strings": [], "jsons": []} | tensors
    return node_body({"InferenceResult": {"VanillaResult": {"model_output": output}}})


def test_node_keeps_the_shape_of_texts() -> None:
    """Only the node's API has one."""
    square = {"name": "s", "values": ["a", "b", "c", "d"], "shape": [2, 2]}
    flat = {"name": "t", "values": ["a"], "shape": None}
    number = {"name": "y", "values": [{"value": 25, "decimals": 1}], "shape": []}
    output = decode_node_result(0, vanilla(strings=[square, flat], numbers=[number]))
    assert output.values == {"y": Decimal("2.5"), "s": [["a", "b"], ["c", "d"]], "t": ["a"]}


@pytest.mark.parametrize("body", [{}, {"inference_results": []}, {"inference_results": None}, [], None])
def test_node_without_a_result(body: Any) -> None:
    """The published client ends with an AttributeError."""
    assert not has_node_result(body)
    with pytest.raises(OnchainError, match=r"has no result of this inference \(yet\)"):
        decode_node_result(0, body)


@pytest.mark.parametrize(
    ("mode", "body", "reason"),
    [
        (1, vanilla(), "it has no member 'ZkmlResult'"),
        (7, vanilla(), "no such mode"),
        (0, {"inference_results": ["%"]}, "no model output"),
        (0, {"inference_results": [7]}, "no model output"),
        (0, node_body([]), "no model output"),
        (0, vanilla(numbers=[{"name": "y", "values": [{"value": "1e5", "decimals": "0"}], "shape": [1]}]), "no int128"),
        (0, vanilla(numbers=[{"name": "y", "values": [{"value": True, "decimals": "0"}], "shape": [1]}]), "no int128"),
        (0, vanilla(numbers=[{"name": "y", "values": [], "shape": [-1]}]), "no list of sizes"),
        (0, vanilla(strings=[{"name": "y", "values": [1], "shape": [1]}]), "stands where a text should"),
        (0, vanilla(jsons=[{"name": "\ud800", "value": "1"}]), "no model output"),
    ],
)
def test_node_that_answers_something_else(mode: int, body: Any, reason: str) -> None:
    with pytest.raises(OnchainError, match=reason):
        decode_node_result(mode, body)


@pytest.mark.parametrize(
    "change",
    [
        {"base": ""},
        {"quote": None},
        {"total_candles": 0},
        {"total_candles": 2**32},
        {"total_candles": True},
        {"candle_duration_in_mins": 1.5},
        {"order": 2},
        {"candle_types": []},
        {"candle_types": [5]},
        {"candle_types": [True]},
    ],
    ids=str,
)
def test_query_that_makes_no_sense(change: dict[str, Any]) -> None:
    members: dict[str, Any] = {
        "base": "ETH",
        "quote": "USD",
        "total_candles": 10,
        "candle_duration_in_mins": 30,
        "order": CandleOrder.ASCENDING,
        "candle_types": [CandleType.OPEN],
    }
    assert constructor_args(MODEL, "x", Query(**members))
    with pytest.raises(InvalidRequestError, match=rf"{next(iter(change))}.*Nothing was sent"):
        constructor_args(MODEL, "x", Query(**members | change))


def test_schedule_that_makes_no_sense() -> None:
    with pytest.raises(InvalidRequestError, match="num_results is 0, expected an int from 1"):
        history_calldata(0)
    with pytest.raises(InvalidRequestError, match="frequency is 0"):
        register_task_calldata(STRANGER, 1, 0)
    for contract in ("", "0x12", STRANGER[2:], "0x" + "g" * 40, None):
        with pytest.raises(InvalidRequestError, match="is no address"):
            stop_task_calldata(contract)  # type: ignore[arg-type]


def test_tasks_are_read() -> None:
    word = bytes(12) + bytes.fromhex(STRANGER[2:])
    data = b"".join(
        [(32).to_bytes(32, "big"), (1).to_bytes(32, "big"), word, word, b"\0" * 31 + b"\7", b"\0" * 31 + b"\5"]
    )
    assert decode_tasks(data) == [Task(STRANGER, STRANGER, 7, 5)]


READERS = (decode_output, decode_event, decode_history, decode_run, decode_request, decode_tasks, decode_price_feed)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes(read: Any, data: bytes) -> None:
    try:
        read(data)
    except OpenGradientError:
        return


def test_pointers_to_one_place_are_not_followed_for_ever() -> None:
    """200 kB whose 3,000 tensors are all the same one of 3,000 numbers would be nine million numbers."""
    count = 3_000
    tensor = (
        uint_word(96)
        + uint_word(128)
        + uint_word(160 + 64 * count)
        + uint_word(0)
        + uint_word(count)
        + uint_word(1) * 2 * count
        + uint_word(0)
    )
    numbers = uint_word(count) + uint_word(32 * count) * count + tensor
    output = uint_word(128) + uint_word(128 + len(numbers)) * 2 + uint_word(0) + numbers + uint_word(0)
    with pytest.raises(OnchainError, match="not of the form"):
        decode_output(uint_word(32) + output)


def test_numpy_is_not_needed() -> None:
    """Plain lists load neither NumPy nor, before something is encoded, eth-abi."""
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from og_integrations.protocol.chain import _inference as inference, _tensors as tensors\n"
        "from og_integrations.protocol.chain import _workflow as workflow\n"
        "assert 'eth_abi' not in sys.modules\n"
        "inputs = tensors.encode_input({'x': [[1, 0.5]], 's': 'a'})\n"
        "print(inference.decode_run(inference.run_calldata('Qm', 0, inputs)).inputs == inputs)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.stdout.strip(), ran.returncode) == ("True", 0), ran.stderr
