"""
A receipt with names and types, and what the chain says about its payment.

Receipts travel as plain dicts (`protocol.receipt`), which every serializer keeps; this is a way to look at
one. It says what stands in the dict, and checks nothing of it: that is what `og-integrations verify` does.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from og_integrations.client._settings import rpc_url_setting
from og_integrations.client.chain.jsonrpc import Fetching, Reader, aread
from og_integrations.client.chain.settlement import default_node, find_settlement
from og_integrations.client.channels.connections import AsyncConnections
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.payment.reconcile import Settlement
from og_integrations.protocol.payment.schemes.upto import Permit2Authorization
from og_integrations.protocol.receipt import read_authorization
from og_integrations.protocol.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class Receipt:
    """
    A view of one receipt; `data` is a copy of the dict. Raises `ConfigurationError` if it is none.

    ```python
    Receipt(answer.response_metadata["opengradient"]).settlement().status
    ```
    """

    data: JsonObject = field(repr=False)

    def __post_init__(self) -> None:
        given: object = self.data
        if not isinstance(given, dict) or not isinstance(given.get("status"), str):
            raise ConfigurationError(
                'This is no receipt: expected the dict under "opengradient" of an answer, or one of collect_receipts.'
            )
        object.__setattr__(self, "data", deepcopy(given))

    @property
    def verified(self) -> bool:
        """Whether the answer was proven when it came."""
        return bool(self.data["status"] == "verified")

    @property
    def model(self) -> str | None:
        """The model that was asked for."""
        return self.data.get("model")

    @property
    def tee_id(self) -> str | None:
        """The enclave that was asked."""
        return self.data.get("tee_id")

    @property
    def unsigned(self) -> tuple[str, ...]:
        """The parts of the answer that the enclave's signature does not cover."""
        return tuple(self.data.get("unsigned") or ())

    @property
    def payment_hash(self) -> str | None:
        """What names the authorization that paid; None if nothing was signed."""
        return self._payment.get("payment_hash")

    @property
    def transaction_hash(self) -> str | None:
        """The transaction that posted the answer's hashes, where the gateway told it at once."""
        return self._payment.get("transaction_hash")

    @property
    def authorization(self) -> Permit2Authorization:
        """
        What the wallet signed, rebuilt.

        Raises `ConfigurationError` if that was no Permit2 payment, or not the one that the receipt names.
        """
        return read_authorization(self._payment)

    def settlement(self, rpc_url: str | None = None) -> Settlement:
        """
        Return what became of the payment that the receipt names; only the chain is asked.

        `rpc_url` is a node of the payment chain (default: `OG_RPC_URL`, or a public one of the receipt's
        network). What is pending can still be settled until the permit's deadline; everything else is
        final, as far as the node's newest block is.

        Raises `ConfigurationError` (no Permit2 payment in the receipt, no or a wrong node) or
        `DiscoveryError`.
        """
        flow = self._find(rpc_url)
        with Reader() as reader:
            return reader.run(flow)

    async def asettlement(self, rpc_url: str | None = None) -> Settlement:
        """Return what `settlement` returns."""
        flow = self._find(rpc_url)
        connections = AsyncConnections()
        try:
            return await aread(connections, flow)
        finally:
            await connections.aclose()

    def _find(self, rpc_url: str | None) -> Fetching[Settlement]:
        authorization = self.authorization
        return find_settlement(authorization, rpc_url_setting(rpc_url) or default_node(authorization.chain_id))

    @property
    def _payment(self) -> dict[str, Any]:
        payment = self.data.get("payment")
        return payment if isinstance(payment, dict) else {}
