"""Reading the TEERegistry about one enclave, without a wallet and without calling a model."""

from typing import Self

from og_integrations.client._settings import keyless_settings
from og_integrations.client.chain.jsonrpc import Reader, eth_call
from og_integrations.protocol.proof.enclave import Enclave
from og_integrations.protocol.proof.registry import decode_bool, decode_enclave, encode_get_tee, encode_is_active


class RegistryReader:
    """The registry that the environment names (OG_NETWORK, OG_REGISTRY_…). Reads raise `DiscoveryError`."""

    def __init__(self) -> None:
        network = keyless_settings().network
        self.address = network.registry_address
        self._url = network.registry_rpc_url
        self._reader = Reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._reader.__exit__(*exc_info)

    def enclave(self, tee_id: str) -> Enclave | None:
        """Return what the registry says about `tee_id`, None if it does not list it."""
        return decode_enclave(self._reader.run(eth_call(self._url, self.address, encode_get_tee(tee_id))))

    def is_active(self, tee_id: str) -> bool:
        """Whether the registry hands this enclave out now."""
        return decode_bool(self._reader.run(eth_call(self._url, self.address, encode_is_active(tee_id))))
