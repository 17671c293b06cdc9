"""The node answers JSON-RPC over HTTP: the read-only methods that the client and tools use."""

import json
import time
from collections.abc import Callable

from og_integrations.devnet._fault import Fault
from og_integrations.devnet._http import Reply, Request
from og_integrations.devnet._journal import FaultMet, Journal, record_stray_credentials, tracked
from og_integrations.devnet.chain._chain import Chain
from og_integrations.networks import PERMIT2_ADDRESS
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._abi import selector, uint_word
from og_integrations.protocol.proof._enclave import Enclave
from og_integrations.protocol.proof._registry import SELECTORS, encode_enclave, encode_enclaves

_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS = -32700, -32600, -32601, -32602
_REVERTED = 3
_NOBODY = Enclave(tee_id="0x" + "00" * 32, endpoint="", public_key=b"")


class RpcError(Exception):
    """An error member of a JSON-RPC answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Node:
    """Answers JSON-RPC requests (single or in a batch) from a `Chain`; a `fault` may answer instead."""

    def __init__(self, chain: Chain, journal: Journal, fault: Callable[[], Fault | None]) -> None:
        self._chain = chain
        self._journal = journal
        self._fault = fault
        self._methods: dict[str, Callable[[object], object]] = {
            "eth_chainId": lambda _: hex(chain.network.chain_id),
            "net_version": lambda _: str(chain.network.chain_id),
            "eth_blockNumber": lambda _: hex(chain.block_number()),
            "eth_getBlockByNumber": self._block,
            "eth_getLogs": self._logs,
            "eth_gasPrice": lambda _: hex(10**6),
            "eth_getBalance": lambda params: hex(chain.native.get(_address(params, 0), 0)),
            "eth_getCode": self._code,
            "eth_getTransactionCount": lambda _: hex(0),
            "eth_call": self._call,
        }
        self._contracts = {
            chain.network.registry_address.lower(): self._registry_views(),
            chain.network.token.lower(): self._token_views(),
            PERMIT2_ADDRESS.lower(): self._permit2_views(),
        }

    async def handle(self, request: Request) -> Reply:
        """Answer one HTTP request."""
        record_stray_credentials(request, self._journal, enclave="", place="the node")
        fault = self._fault()
        if fault is not None and fault.rpc is not None:
            met = FaultMet(fault=fault.name, began=time.monotonic(), peer=request.peer)
            self._journal.faults_met.append(met)
            return tracked(fault.rpc(), met)
        if request.method != "POST":
            reply = _json_reply({"error": "POST JSON-RPC here"}, status=405)
            reply.headers.append(("Allow", "POST"))
            return reply
        try:
            asked = json.loads(request.body)
        except (ValueError, RecursionError):
            return _json_reply(_error(None, _PARSE_ERROR, "parse error"))
        if isinstance(asked, list):
            return _json_reply([self._answer(item) for item in asked])
        return _json_reply(self._answer(asked))

    def _answer(self, asked: object) -> JsonObject:
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return _error(None, _INVALID_REQUEST, "invalid request")
        name, params = asked["method"], asked.get("params") or []
        self._journal.rpc_calls[name] += 1
        method = self._methods.get(name)
        if method is None:
            return _error(asked.get("id"), _NO_METHOD, _unavailable(name))
        try:
            return {"jsonrpc": "2.0", "id": asked.get("id"), "result": method(params)}
        except RpcError as exc:
            return _error(asked.get("id"), exc.code, str(exc))

    def _block(self, params: object) -> JsonObject:
        number = self._number(params[0] if isinstance(params, list) and params else "latest")
        return {"number": hex(number), "timestamp": hex(self._chain.block_time(number))}

    def _logs(self, params: object) -> list[JsonObject]:
        wanted = params[0] if isinstance(params, list) and params else None
        batches = self._chain.batches
        if not isinstance(wanted, dict) or str(wanted.get("address")).lower() != batches.contract.lower():
            # Of transfers this chain keeps no logs.
            raise RpcError(_NO_METHOD, _unavailable("eth_getLogs"))
        return batches.logs(self._number(wanted.get("fromBlock")), self._number(wanted.get("toBlock")))

    def _number(self, word: object) -> int:
        newest = self._chain.block_number()
        try:
            return min(int(word, 16), newest) if isinstance(word, str) and word.startswith("0x") else newest
        except ValueError as exc:
            raise RpcError(_INVALID_PARAMS, "invalid block number") from exc

    def _code(self, params: object) -> str:
        return "0xfe" if _address(params, 0) in self._contracts else "0x"

    def _call(self, params: object) -> str:
        call = params[0] if isinstance(params, list) and params else None
        if not isinstance(call, dict):
            raise RpcError(_INVALID_PARAMS, "missing value for required argument 0")
        try:
            data = bytes.fromhex(str(call.get("data") or call.get("input") or "0x").removeprefix("0x"))
        except ValueError as exc:
            raise RpcError(_INVALID_PARAMS, "invalid hex string") from exc
        views = self._contracts.get(str(call.get("to")).lower())
        if views is None:
            return "0x"  # as a real node answers for an address without code
        view = views.get(data[:4])
        if view is None:
            raise RpcError(_REVERTED, "execution reverted")
        return "0x" + view(data[4:]).hex()

    def _registry_views(self) -> dict[bytes, Callable[[bytes], bytes]]:
        def entry(data: bytes) -> bytes:
            return encode_enclave(chain.enclave(_tee_id(data)) or _NOBODY)

        def active(data: bytes) -> bytes:
            return uint_word(any(item.tee_id == _tee_id(data) for item in chain.active_enclaves(0)))

        def enabled(data: bytes) -> bytes:
            found = chain.enclave(_tee_id(data))
            return uint_word(found is not None and found.enabled)

        def ids(data: bytes) -> bytes:
            found = [item for item in chain.enclaves if item.tee_type == _int(data)]
            return uint_word(32) + uint_word(len(found)) + b"".join(bytes.fromhex(item.tee_id[2:]) for item in found)

        chain = self._chain
        views = {
            "getActiveTEEs": lambda data: encode_enclaves(chain.active_enclaves(_int(data)), chain.key_signatures),
            "getEnabledTEEs": lambda data: encode_enclaves(
                [item for item in chain.enclaves if item.enabled and item.tee_type == _int(data)], chain.key_signatures
            ),
            "getTEEsByType": ids,
            "getTEE": entry,
            "isTEEActive": active,
            "isTEEEnabled": enabled,
        }
        return {bytes.fromhex(SELECTORS[name][2:]): view for name, view in views.items()}

    def _token_views(self) -> dict[bytes, Callable[[bytes], bytes]]:
        chain = self._chain

        def allowance(data: bytes) -> bytes:
            owner, spender = _word_address(data, 0), _word_address(data, 1)
            return uint_word(chain.allowance(owner) if spender == PERMIT2_ADDRESS.lower() else 0)

        return {
            selector("balanceOf(address)"): lambda data: uint_word(chain.balance(_word_address(data, 0))),
            selector("allowance(address,address)"): allowance,
            selector("decimals()"): lambda _: uint_word(18),
            selector("symbol()"): lambda _: uint_word(32) + uint_word(3) + b"OPG".ljust(32, b"\0"),
            selector("name()"): lambda _: uint_word(32) + uint_word(12) + b"OpenGradient".ljust(32, b"\0"),
        }

    def _permit2_views(self) -> dict[bytes, Callable[[bytes], bytes]]:
        def bitmap(data: bytes) -> bytes:
            return uint_word(self._chain.nonce_bitmap(_word_address(data, 0), _int(data, 1)))

        return {selector("nonceBitmap(address,uint256)"): bitmap}


def _unavailable(method: str) -> str:
    return f"the method {method} does not exist/is not available on this devnet, only on one with --evm"


def _argument(data: bytes, index: int) -> bytes:
    word = data[32 * index : 32 * index + 32]
    if len(word) != 32:
        raise RpcError(_REVERTED, "execution reverted")
    return word


def _int(data: bytes, index: int = 0) -> int:
    return int.from_bytes(_argument(data, index), "big")


def _tee_id(data: bytes) -> str:
    return "0x" + _argument(data, 0).hex()


def _word_address(data: bytes, index: int) -> str:
    return "0x" + _argument(data, index)[12:].hex()


def _address(params: object, index: int) -> str:
    if not isinstance(params, list) or len(params) <= index:
        raise RpcError(_INVALID_PARAMS, f"missing value for required argument {index}")
    return str(params[index]).lower()


def _error(identity: object, code: int, message: str) -> JsonObject:
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": message}}


def _json_reply(value: object, status: int = 200) -> Reply:
    return Reply(status=status, headers=[("Content-Type", "application/json")], body=json.dumps(value).encode())
