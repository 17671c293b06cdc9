# pragma version ^0.4.2
"""
@title A workflow: one model on one price feed
@notice Written from the published interface. run() asks the price precompile and keeps what it answers; anybody may
    call it. Results are kept as the bytes that came, because their encoding is the same everywhere.
"""

struct Query:
    base: String[64]
    quote: String[64]
    total_candles: uint32
    candle_duration_in_mins: uint32
    order: uint8
    candle_types: DynArray[uint8, 16]

SIZE: constant(uint256) = 4096
KEPT: constant(uint256) = 10
RUN_ON_PRICE_FEED: constant(bytes4) = 0xa192a0f9
RESULT_EMITTED: constant(bytes32) = 0x5a1ed425a160d1bc929890b991acc0e3d25a6f5db1ac65c07ee4c917708f76d4

historicalContract: public(constant(address)) = 0x00000000000000000000000000000000000000F5
modelId: public(String[128])
inputName: public(String[128])
_query: Query
_results: HashMap[uint256, Bytes[SIZE]]
_count: uint256


@deploy
def __init__(model_id: String[128], input_name: String[128], query: Query):
    self.modelId = model_id
    self.inputName = input_name
    self._query = query


@external
def run():
    asked: Bytes[1536] = abi_encode(self.modelId, self.inputName, self._query, method_id=RUN_ON_PRICE_FEED)
    ok: bool = False
    response: Bytes[SIZE] = b""
    ok, response = raw_call(historicalContract, asked, max_outsize=SIZE, revert_on_failure=False)
    if not ok:
        raw_revert(response)
    self._results[self._count % KEPT] = response
    self._count += 1
    raw_log([RESULT_EMITTED, convert(msg.sender, bytes32)], response)


@external
@view
@raw_return
def getInferenceResult() -> Bytes[SIZE]:
    if self._count == 0:
        # Three empty lists, and no simulation.
        return abi_encode(
            convert(32, bytes32),
            convert(128, bytes32),
            convert(160, bytes32),
            convert(192, bytes32),
            empty(bytes32),
            empty(bytes32),
            empty(bytes32),
            empty(bytes32),
        )
    return self._results[(self._count - 1) % KEPT]


@external
@view
@raw_return
def getLastInferenceResults(num: uint256) -> Bytes[64 + KEPT * (SIZE + 32)]:
    assert num > 0, "Number of results must be positive"
    found: uint256 = min(min(num, self._count), KEPT)
    heads: Bytes[32 * KEPT] = b""
    tails: Bytes[SIZE * KEPT] = b""
    for index: uint256 in range(found, bound=KEPT):
        kept: Bytes[SIZE] = self._results[(self._count - 1 - index) % KEPT]
        # Encoded and decoded again, because the compiler adds up the lengths that these could have.
        heads = abi_decode(abi_encode(concat(heads, convert(32 * found + len(tails), bytes32))), Bytes[32 * KEPT])
        tails = abi_decode(abi_encode(concat(tails, slice(kept, 32, len(kept) - 32))), Bytes[SIZE * KEPT])
    return concat(convert(32, bytes32), convert(found, bytes32), heads, tails)


@external
@view
def inputQuery() -> (String[64], String[64], uint32, uint32, uint8):
    query: Query = self._query
    return query.base, query.quote, query.total_candles, query.candle_duration_in_mins, query.order
