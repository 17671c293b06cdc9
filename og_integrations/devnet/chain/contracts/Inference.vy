# pragma version ^0.4.2
"""
@title The inference and price-feed precompiles of the devnet
@notice A model cannot run inside the EVM. Whoever calls this twice with the same data finds the answer in an
    account whose address is a hash of the question; until the node has put it there, the call reverts with
    InferenceNeeded (the loop of ERC-3668). The answer is (ok, event, output), and output the reason if not ok.
"""

MAX: constant(uint256) = 32768
IDENTITY: constant(address) = 0x0000000000000000000000000000000000000004
MODEL_INFERENCE_EVENT: constant(bytes32) = 0x1b283af3452f3718585ce100f80d9aa81fc60924db4a582a36db6aae3b109d87


@external
@raw_return
def __default__() -> Bytes[MAX]:
    asked: Bytes[MAX] = raw_call(IDENTITY, msg.data, max_outsize=MAX, is_static_call=True)
    question: bytes32 = keccak256(concat(convert(self, bytes32), asked))
    place: address = convert(convert(question, uint256) & (2**160 - 1), address)
    if place.codesize == 0:
        raw_revert(abi_encode(self, asked, method_id=method_id("InferenceNeeded(address,bytes)")))
    answer: Bytes[2 * MAX + 256] = raw_call(place, b"", max_outsize=2 * MAX + 256, is_static_call=True)
    ok: bool = False
    written: Bytes[MAX] = b""
    output: Bytes[MAX] = b""
    ok, written, output = abi_decode(answer, (bool, Bytes[MAX], Bytes[MAX]))
    if not ok:
        raw_revert(output)
    if len(written) > 0:
        raw_log([MODEL_INFERENCE_EVENT], written)
    return output
