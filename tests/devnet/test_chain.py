"""The node: what a wallet and a client read from it (docs/protocol.md §1, §6, §7)."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from og_integrations.devnet import Devnet
from og_integrations.devnet.chain._chain import UNLIMITED
from tests.devnet.bare_caller import OPG_TOKEN, Raw, ask

PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
STRUCT = (
    "(address,address,string,bytes,bytes,bytes32,uint8,bool,uint256,uint256,"
    "(uint8,uint16,uint16,uint16,bytes,bytes,uint256))"
)
Call = Callable[..., bytes]


@pytest.fixture
def rpc(net: Devnet) -> Callable[..., Any]:
    def ask_node(method: str, *params: object) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return httpx.post(net.rpc_url, json=body).json()

    return ask_node


@pytest.fixture
def call(rpc: Callable[..., Any]) -> Call:
    def view(to: str, signature: str, *arguments: object) -> bytes:
        types = [kind for kind in signature.partition("(")[2].rstrip(")").split(",") if kind]
        data = "0x" + (keccak(text=signature)[:4] + encode(types, arguments)).hex()
        return bytes.fromhex(rpc("eth_call", {"to": to, "data": data}, "latest")["result"][2:])

    return view


def test_registry_lists_each_active_enclave() -> None:
    with Devnet(enclaves=3) as net:
        data = "0x" + (keccak(text="getActiveTEEs(uint8)")[:4] + encode(["uint8"], [0])).hex()
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{"to": net.registry_address, "data": data}]}

        def listed() -> list[str]:
            result = httpx.post(net.rpc_url, json=body).json()["result"]
            (entries,) = decode([STRUCT + "[]"], bytes.fromhex(result[2:]))
            return [entry[2] for entry in entries]

        assert listed() == [enclave.endpoint for enclave in net.enclaves]
        net.retire(net.enclaves[1])
        assert listed() == [net.enclaves[0].endpoint, net.enclaves[2].endpoint]


def test_registry_entry_holds_key_and_certificate(net: Devnet, call: Call) -> None:
    enclave = net.enclaves[0]
    identity = bytes.fromhex(enclave.tee_id[2:])
    (entry,) = decode([STRUCT], call(net.registry_address, "getTEE(bytes32)", identity))
    assert keccak(entry[3]) == identity
    assert entry[4] == enclave.entry().certificate
    assert entry[5].hex() == "b4c9585138438b60a72e11257b3c8a96d20c621e53d016f27657285361f77e87"
    assert abs(entry[9] - net.clock.seconds()) < 60


def test_registry_views_follow_retirement(net: Devnet, call: Call) -> None:
    identity = bytes.fromhex(net.enclaves[0].tee_id[2:])
    assert call(net.registry_address, "isTEEActive(bytes32)", identity)[-1] == 1
    assert decode(["bytes32[]"], call(net.registry_address, "getTEEsByType(uint8)", 0)) == ((identity,),)
    net.retire(net.enclaves[0])
    assert call(net.registry_address, "isTEEActive(bytes32)", identity)[-1] == 0
    assert call(net.registry_address, "isTEEEnabled(bytes32)", identity)[-1] == 1
    assert call(net.registry_address, "isTEEActive(bytes32)", bytes(32))[-1] == 0


def test_balance_allowance_and_nonce_follow_settlement(net: Devnet, raw: Raw, call: Call) -> None:
    wallet = net.new_wallet(opg=10**18, allowance=10**18)
    nonce = (7 << 8) + 5
    reply = raw.post(ask("hi"), PAYMENT_SIGNATURE=raw.payment(wallet=wallet, nonce=nonce))
    assert reply.status_code == 200

    def number(to: str, signature: str, *arguments: object) -> int:
        return int.from_bytes(call(to, signature, *arguments), "big")

    assert number(PERMIT2, "nonceBitmap(address,uint256)", wallet.address, 7) == 0
    (settlement,) = net.settle_all()
    left = 10**18 - settlement.amount
    assert number(OPG_TOKEN, "balanceOf(address)", wallet.address) == left
    assert number(OPG_TOKEN, "allowance(address,address)", wallet.address, PERMIT2) == left
    assert number(OPG_TOKEN, "allowance(address,address)", wallet.address, wallet.address) == 0
    assert number(PERMIT2, "nonceBitmap(address,uint256)", wallet.address, 7) == 1 << 5
    assert number(OPG_TOKEN, "decimals()") == 18


def test_unlimited_allowance_is_not_used_up(net: Devnet, raw: Raw) -> None:
    raw.session()
    net.settle_all()
    assert net.chain.allowance(net.wallet) == UNLIMITED


def test_plain_methods_answer(net: Devnet, rpc: Callable[..., Any]) -> None:
    assert rpc("eth_chainId")["result"] == "0x2105"
    assert int(rpc("eth_blockNumber")["result"], 16) > 0
    assert rpc("eth_getBalance", net.wallet, "latest")["result"] == hex(10**18)
    assert net.stats().rpc_calls == {"eth_chainId": 1, "eth_blockNumber": 1, "eth_getBalance": 1}


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_sendFlowers", [], -32601),
        ("eth_call", [], -32602),
        ("eth_call", [{"to": OPG_TOKEN, "data": "0xzz"}], -32602),
        ("eth_call", [{"to": OPG_TOKEN, "data": "0x12345678"}], 3),
        ("eth_call", [{"to": OPG_TOKEN, "data": "0x70a08231"}], 3),
        ("eth_getBalance", [], -32602),
    ],
)
def test_bad_calls_are_json_rpc_errors(rpc: Callable[..., Any], method: str, params: list[Any], code: int) -> None:
    assert rpc(method, *params)["error"]["code"] == code


def test_missing_method_says_who_has_it(rpc: Callable[..., Any]) -> None:
    """`settlement` and `approve` show this to somebody who tries them here."""
    assert "only on one with --evm" in rpc("eth_getLogs", {})["error"]["message"]


def test_address_without_code_answers_nothing(rpc: Callable[..., Any]) -> None:
    assert rpc("eth_call", {"to": "0x" + "11" * 20, "data": "0x"}, "latest")["result"] == "0x"


def test_batch_and_garbage(net: Devnet) -> None:
    one = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
    assert [item["id"] for item in httpx.post(net.rpc_url, json=[one, one | {"id": 2}]).json()] == [1, 2]
    assert httpx.post(net.rpc_url, content=b"{oops").json()["error"]["code"] == -32700
    assert httpx.post(net.rpc_url, json=7).json()["error"]["code"] == -32600
