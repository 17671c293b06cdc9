"""Faults about who is who: the certificate, the registry, the node."""

import ssl
from typing import Any

import httpx
import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet._enclave import STRANGER, EnclaveKeys
from og_integrations.protocol.proof._registry import decode_enclaves, encode_get_active_tees
from tests.devnet.bare_caller import CHAT, Raw, ask
from tests.sizes import SPARE_KEYS


def test_wrong_certificate_aborts_the_handshake(net: Devnet, raw: Raw) -> None:
    net.inject("wrong_certificate", times=1)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        raw.offer()
    assert net.journal.exchanges == []
    assert (net.stats().handshakes, net.stats().connections) == (1, 0)
    raw.offer()


def test_prompt_sent_to_impostor_is_noted(net: Devnet) -> None:
    """A client that does not pin sends the prompt to whoever answers; the journal shows it."""
    net.inject("wrong_certificate", times=1)
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(verify=blind) as http:
        http.post(net.enclaves[0].endpoint + CHAT, json=ask("a secret"))
    (exchange,) = net.journal.exchanges
    assert (exchange.impostor, exchange.prompt) == (True, "a secret")


def listed(net: Devnet) -> list[Any]:
    call = {"to": net.registry_address, "data": encode_get_active_tees(0)}
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]}
    return decode_enclaves(bytes.fromhex(httpx.post(net.rpc_url, json=body).json()["result"][2:]))


def test_registry_lies(net: Devnet) -> None:
    (honest,) = listed(net)
    net.inject("empty_registry", times=1)
    assert listed(net) == []
    net.inject("debug_enclave", times=1)
    assert listed(net)[0].pcr_hash.startswith("0xcd2e66bf")
    net.inject("registry_other_certificate", times=1)
    assert listed(net)[0].certificate != honest.certificate
    net.inject("registry_other_key", times=1)
    assert listed(net)[0].tee_id != honest.tee_id
    assert listed(net)[0].tee_id == honest.tee_id


def test_no_enclave_has_the_strangers_key() -> None:
    """Enclaves of the tests go round in a few keys; a fault that names one of them as another's would be no fault."""
    found = {EnclaveKeys().public_key for _ in range(SPARE_KEYS + 1)}
    assert len(found) == SPARE_KEYS
    assert STRANGER.public_key not in found


@pytest.mark.parametrize(("fault", "status"), [("dead_registry", 503), ("garbage_registry", 200)])
def test_node_is_broken(net: Devnet, fault: str, status: int) -> None:
    net.inject(fault, times=1)
    reply = httpx.post(net.rpc_url, json={})
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, "text/html")
