"""
How settings that are values of ours are written into `to_dict` and read back.

Limits and policies survive the round trip, or come back stricter: an LLM restored from a dict must
never spend more or trust more than the one that was saved.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, SkipValidation

from og_integrations.networks import Network
from og_integrations.protocol.payment.policy import SpendPolicy
from og_integrations.protocol.proof.enclave import EnclavePolicy
from og_integrations.protocol.strict_json import JsonObject


def _read_network(value: Any) -> Any:
    return Network(**value) if isinstance(value, Mapping) else value


def _write_network(value: str | Network | None) -> str | JsonObject | None:
    # A value is written whole: by its name alone the environment could change it.
    return asdict(value) if isinstance(value, Network) else value


def _read_spend_policy(value: Any) -> SpendPolicy | None:
    return None if value is None else SpendPolicy.of(value)


def _write_spend_policy(policy: SpendPolicy | None) -> JsonObject | None:
    return None if policy is None else policy.plain()


def _read_enclave_policy(value: Any) -> EnclavePolicy | None:
    return None if value is None else EnclavePolicy.of(value)


def _write_enclave_policy(policy: EnclavePolicy | None) -> JsonObject | None:
    if policy is None:
        return None
    if type(policy) is not EnclavePolicy:
        # Rules of a class of its own cannot be written: the copy accepts nobody until it is given them again.
        return {"allowed_pcr_hashes": None, "allowed_tee_ids": []}
    return {
        name: None if listed is None else sorted(listed)
        for name, listed in (
            ("allowed_pcr_hashes", policy.allowed_pcr_hashes),
            ("allowed_tee_ids", policy.allowed_tee_ids),
        )
    }


def _read_stop(value: Any) -> Any:
    return [value] if isinstance(value, str) else value or None


StopField = Annotated[list[str] | None, BeforeValidator(_read_stop)]
NetworkField = Annotated[
    SkipValidation[str | Network | None], BeforeValidator(_read_network), PlainSerializer(_write_network)
]
SpendPolicyField = Annotated[
    SkipValidation[SpendPolicy | None], BeforeValidator(_read_spend_policy), PlainSerializer(_write_spend_policy)
]
EnclavePolicyField = Annotated[
    SkipValidation[EnclavePolicy | None], BeforeValidator(_read_enclave_policy), PlainSerializer(_write_enclave_policy)
]
