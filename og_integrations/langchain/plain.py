"""Networks and policies as plain values, which LangChain can dump and our constructors read again."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from og_integrations.networks import Network

if TYPE_CHECKING:
    from og_integrations.protocol.payment.policy import SpendPolicy
    from og_integrations.protocol.proof.enclave import EnclavePolicy


def plain_settings(
    network: str | Network | None, spend_policy: "SpendPolicy | None", enclave_policy: "EnclavePolicy | None"
) -> dict[str, Any]:
    """Return those of the settings that are not plain already."""
    settings: dict[str, Any] = {}
    if isinstance(network, Network):
        settings["network"] = asdict(network)
    if spend_policy is not None:
        settings["spend_policy"] = spend_policy.plain()
    if enclave_policy is not None:
        settings["enclave_policy"] = {
            name: None if values is None else sorted(values)
            for name, values in (
                ("allowed_pcr_hashes", enclave_policy.allowed_pcr_hashes),
                ("allowed_tee_ids", enclave_policy.allowed_tee_ids),
            )
        }
    return settings
