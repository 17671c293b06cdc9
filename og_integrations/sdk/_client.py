"""This module has `init`, `Client` and the global client of the versions before 0.8."""

import re
import warnings
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from og_integrations.client import Client as PayingClient
from og_integrations.errors import ConfigurationError
from og_integrations.sdk._alpha import Alpha
from og_integrations.sdk._errors import OldErrors, WrongArgumentError, hidden
from og_integrations.sdk._llm import SyncLLM
from og_integrations.sdk._services import ModelHub, NoTwins, Twins

_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_OLD_SERVERS = ("og_llm_server_url", "og_llm_streaming_server_url")
_current: "list[Client | None]" = [None]


class Client:
    """
    This client has `.llm` and `.alpha` over one wallet, `.model_hub` and `.twins`, synchronous, as before 0.8.

    `alpha_private_key` pays the gas of models on chain, `private_key` the rest. `wallet_address` was ignored, and is
    refused unless it is the key's. The fixed LLM server of that time is gone: enclaves come from the registry. With an
    `email` it logs in at the model hub at once. Without `twins_api_key` (or `OG_TWINS_API_KEY`) each use of `.twins`
    says that there is none.
    """

    def __init__(
        self,
        private_key: str | SecretStr,
        alpha_private_key: str | SecretStr | None = None,
        email: str | None = None,
        password: str | SecretStr | None = None,
        twins_api_key: str | SecretStr | None = None,
        wallet_address: str | None = None,
        rpc_url: str | None = None,
        api_url: str | None = None,
        contract_address: str | None = None,
        **options: Any,
    ) -> None:
        # Errors pass this frame: from here on it holds no secret in clear.
        key, gas_key = hidden(private_key), hidden(alpha_private_key)
        password, twins_api_key = hidden(password), hidden(twins_api_key)
        del private_key, alpha_private_key
        if key is None or not _KEY.fullmatch(key.get_secret_value()):
            # Before 0.6 the first argument was an email.
            raise WrongArgumentError("The first argument is no private key, expected 64 hex digits. Nothing was sent.")
        for name in _OLD_SERVERS:
            if options.pop(name, None) is not None:
                warnings.warn(
                    f"{name} is not used any more: enclaves come from the registry.", DeprecationWarning, stacklevel=2
                )
        node: dict[str, Any] = {} if rpc_url is None else {"registry_rpc_url": rpc_url}
        with OldErrors():
            self._client = PayingClient(private_key=key, **node, **options)
        self.wallet_address: str = self._client.engine.settings.require_signer().address
        if wallet_address is not None and wallet_address.lower() != self.wallet_address.lower():
            raise WrongArgumentError(f"wallet_address is not that of the key, {self.wallet_address}.")
        self.llm: SyncLLM = SyncLLM(self._client)
        network = options.get("network")
        self.alpha: Alpha = Alpha(
            gas_key or key,
            rpc_url,
            contract_address,
            api_url,
            **({"network": network} if network else {}),
        )
        self.model_hub: ModelHub = ModelHub(email, password)
        self.twins: Twins | NoTwins = _twins(twins_api_key)

    def close(self) -> None:
        """Close the connections; a second time is harmless."""
        self._client.close()
        self.alpha.close()
        self.model_hub.close()
        self.twins.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def init(private_key: str | SecretStr, alpha_private_key: str | SecretStr | None = None, **options: Any) -> Client:
    """Return a `Client`, which is `global_client` from now on."""
    key, gas_key = hidden(private_key), hidden(alpha_private_key)
    del private_key, alpha_private_key
    options |= {name: hidden(options[name]) for name in ("password", "twins_api_key") if name in options}
    made = Client(key or SecretStr(""), gas_key, **options)
    _current[0] = made
    return made


def _twins(api_key: SecretStr | None) -> Twins | NoTwins:
    try:
        return Twins(api_key)
    except ConfigurationError as exc:
        if api_key is not None:
            raise
        return NoTwins(exc)


def current_client() -> Client | None:
    """Return what the last `init` made."""
    return _current[0]
