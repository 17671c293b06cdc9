"""These faults are about identity: the certificate, the registry, the node."""

import dataclasses

from og_integrations.devnet._enclave import STRANGER
from og_integrations.devnet._fault import Fault
from og_integrations.devnet._http import Reply
from og_integrations.devnet.faults._wire import stall_first
from og_integrations.protocol.proof._enclave import DEBUG_PCR_HASH, Enclave

_DAY = 24 * 60 * 60
_NOWHERE = "https://127.0.0.1:9"


def _debug(enclaves: list[Enclave]) -> list[Enclave]:
    return [dataclasses.replace(enclave, pcr_hash=DEBUG_PCR_HASH) for enclave in enclaves]


def _retired(enclaves: list[Enclave]) -> list[Enclave]:
    return [dataclasses.replace(enclave, enabled=False) for enclave in enclaves]


def _other_certificate(enclaves: list[Enclave]) -> list[Enclave]:
    return [dataclasses.replace(enclave, certificate=STRANGER.certificate) for enclave in enclaves]


def _other_key(enclaves: list[Enclave]) -> list[Enclave]:
    return [
        dataclasses.replace(enclave, public_key=STRANGER.public_key, tee_id=STRANGER.tee_id) for enclave in enclaves
    ]


def _stale(enclaves: list[Enclave]) -> list[Enclave]:
    return [dataclasses.replace(enclave, last_heartbeat_at=enclave.last_heartbeat_at - _DAY) for enclave in enclaves]


def _with_incomplete(enclaves: list[Enclave]) -> list[Enclave]:
    """Add, in front, what the real registry has held too: entries without endpoint or certificate."""
    bare = [dataclasses.replace(item, endpoint="", tee_id="") for item in enclaves]
    return bare + [dataclasses.replace(item, certificate=b"") for item in enclaves] + enclaves


def _unreachable(enclaves: list[Enclave]) -> list[Enclave]:
    return [dataclasses.replace(enclave, endpoint=_NOWHERE) for enclave in enclaves]


def _text(status: int, body: bytes) -> Reply:
    return Reply(status=status, headers=[("Content-Type", "text/html")], body=body)


TRUST_FAULTS = (
    Fault(
        name="wrong_certificate",
        about="the TLS handshake shows a certificate that the registry does not list",
        certificate=True,
    ),
    Fault(name="empty_registry", about="the registry lists no enclave", registry=lambda _: []),
    Fault(name="debug_enclave", about="the registry lists enclaves in debug mode (all-zero PCRs)", registry=_debug),
    Fault(name="retired_enclave", about="the registry still lists enclaves that it has retired", registry=_retired),
    Fault(
        name="registry_other_certificate",
        about="the registry lists another certificate than the gateway shows",
        registry=_other_certificate,
    ),
    Fault(
        name="registry_other_key",
        about="the registry lists another signing key than the gateway signs with",
        registry=_other_key,
    ),
    Fault(name="stale_heartbeat", about="the registry still lists enclaves silent for a day", registry=_stale),
    Fault(
        name="incomplete_enclaves",
        about="the registry lists entries without endpoint or certificate first",
        spoils=False,
        registry=_with_incomplete,
    ),
    Fault(name="dead_endpoint", about="nobody listens where the registry says", registry=_unreachable),
    Fault(name="dead_registry", about="the node answers 503", rpc=lambda: _text(503, b"no healthy upstream")),
    Fault(name="garbage_registry", about="the node answers HTML", rpc=lambda: _text(200, b"<html></html>")),
    Fault(name="silent_registry", about="the node never answers", rpc=lambda: Reply(status=200, wire=stall_first)),
)
