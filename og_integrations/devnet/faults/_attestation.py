"""
These faults are about what an enclave is: its attestation document, and registries or nodes that invent one.

A client that asks for no document is not hurt by those of the document, and cannot see the others.
"""

import dataclasses

from og_integrations.devnet._attestation import STRANGERS_BUILD, Claims
from og_integrations.devnet._enclave import STRANGER
from og_integrations.devnet._fault import Fault, Strangers
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH, SEARCH_PATH
from og_integrations.protocol.proof._canonical import without_nonce
from og_integrations.protocol.proof._enclave import Enclave

_HOUR_MS = 60 * 60 * 1000


def _old(claims: Claims) -> Claims:
    return dataclasses.replace(claims, measured_at=claims.measured_at - _HOUR_MS)


def _replayed(claims: Claims) -> Claims:
    return dataclasses.replace(claims, nonce=bytes(20))


def _other_build(claims: Claims) -> Claims:
    return dataclasses.replace(claims, measurements=STRANGERS_BUILD)


def _debug(claims: Claims) -> Claims:
    return dataclasses.replace(claims, measurements=("00" * 48,) * 3)


def _other_certificate(claims: Claims) -> Claims:
    return dataclasses.replace(claims, certificate=STRANGER.certificate)


def _foreign(claims: Claims) -> Claims:
    return dataclasses.replace(claims, foreign=True)


def _missing(_: Claims) -> None:
    return None


def _invented(enclaves: list[Enclave], strangers: Strangers) -> list[Enclave]:
    return [dataclasses.replace(strangers.enclave, pcr_hash=enclave.pcr_hash) for enclave in enclaves[:1]]


def _approved(_: list[Enclave], strangers: Strangers) -> list[Enclave]:
    return [strangers.enclave]


def _relayed(enclaves: list[Enclave], strangers: Strangers) -> list[Enclave]:
    relay = strangers.relay
    return [dataclasses.replace(item, endpoint=relay.endpoint, certificate=relay.certificate) for item in enclaves]


def _without_nonce(request: JsonObject) -> JsonObject:
    path = CHAT_PATH if "messages" in request else COMPLETION_PATH if "prompt" in request else SEARCH_PATH
    return without_nonce(path, request)


ATTESTATION_FAULTS = (
    Fault(name="no_attestation", about="the enclave answers 503 instead of a document", attestation=_missing),
    Fault(name="stale_attestation", about="the enclave shows a document of an hour ago", attestation=_old),
    Fault(
        name="attestation_replayed",
        about="the enclave shows a document that was made for somebody else's nonce",
        attestation=_replayed,
    ),
    Fault(
        name="attacker_root_in_bundle",
        about="the document's chain begins with a root of the attacker's",
        attestation=_foreign,
    ),
    Fault(
        name="debug_attestation",
        about="the document says debug mode, while the registry lists the published build",
        attestation=_debug,
    ),
    Fault(
        name="other_build", about="the document is of another build than the registry lists", attestation=_other_build
    ),
    Fault(
        name="certificate_not_attested",
        about="the document was made for another TLS certificate",
        attestation=_other_certificate,
    ),
    Fault(
        name="lying_node",
        about="the node lists an enclave that somebody else runs, with the published pcr hash",
        invents=_invented,
    ),
    Fault(
        name="lying_registry",
        about="the registry's owner lists an enclave with a build of his own",
        invents=_approved,
    ),
    Fault(
        name="swapped_endpoint",
        about="the registry lists the endpoint and certificate of a relay, which reads what it hands on",
        invents=_relayed,
    ),
    Fault(
        name="nonce_ignored",
        about="an answer that was signed for the request without its nonce",
        hashed_request=_without_nonce,
    ),
)
