"""
The options of clients and adapters, defined once: names, types and meaning are the same everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, TypedDict

from og_integrations.client.connections import Borrowed, HttpClient
from og_integrations.client.signer import Signer
from og_integrations.errors import ConfigurationError
from og_integrations.networks import Network
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.enclave import EnclavePolicy
from og_integrations.protocol.settlement_mode import SettlementMode
from og_integrations.protocol.spend_policy import SpendPolicy

if TYPE_CHECKING:
    import httpx
    import httpx2

    _Sync = httpx.Client | httpx2.Client
    _Async = httpx.AsyncClient | httpx2.AsyncClient
    SyncHttpClient = _Sync | Callable[[SSLContext | None], _Sync]
    AsyncHttpClient = _Async | Callable[[SSLContext | None], _Async]


class ClientOptions(TypedDict, total=False):
    """
    What a client is made with. Everything is optional; see `client.settings` for the environment.

    `private_key` or `signer`: the wallet. `network`: `"base"`, `"base-sepolia"`, `"devnet"` or a
    `Network`; `rpc_url`, `registry_rpc_url`, `registry_address` override parts of a named one.
    `gateway_url`: one gateway without registry, for development; its answers are not attested.
    `spend_policy`: limits (a `SpendPolicy` or its fields as dict). `enclave_policy`: whom to accept (the same).
    `settlement_mode` (also `x402_settlement_mode`): what is published about calls.
    `verification`: `"end"` (text of a stream is shown before its proof, tool calls are not) or
    `"buffer"` (nothing is). `timeout`: seconds for each wait. `max_retries`: how many other enclaves
    to try when one cannot be connected to. `spread`: let calls take turns on all enclaves, for more of
    them at once than one enclave likes; each has its own session, so the first round authorizes one
    payment per enclave. `default_headers`: sent with every request.
    `gateway_generation`: `"2026-04"`, which drops images before the model sees them (so they are
    refused here), or `"next"`, which takes them; both kinds of hashing are always recognised.
    """

    private_key: str | None
    signer: Signer | None
    network: str | Network | None
    rpc_url: str | None
    registry_rpc_url: str | None
    registry_address: str | None
    gateway_url: str | None
    spend_policy: SpendPolicy | dict[str, Any] | None
    enclave_policy: EnclavePolicy | dict[str, Any] | None
    settlement_mode: SettlementMode | Enum | str | None
    x402_settlement_mode: SettlementMode | Enum | str | None
    verification: str
    timeout: float | None
    max_retries: int
    spread: bool
    default_headers: Mapping[str, str] | None
    gateway_generation: str


class CallOptions(TypedDict, total=False):
    """Options of one call, of either endpoint; `stop` is applied here, not by the gateway."""

    temperature: float | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    settlement_mode: SettlementMode | Enum | str | None
    x402_settlement_mode: SettlementMode | Enum | str | None
    timeout: float | None


class ChatOptions(CallOptions, total=False):
    """Options of one chat call. `tool_choice` is sent but not enforced by the gateway."""

    tools: Sequence[JsonObject] | None
    tool_choice: str | JsonObject | None
    response_format: JsonObject | None


def http_client_factory(
    http_client: "HttpClient | Callable[[SSLContext | None], HttpClient] | None", *, gateway_url: str | None
) -> "Callable[[SSLContext | None], HttpClient] | None":
    """
    Return how HTTP clients are made: None means our own way.

    A ready client is accepted only with `gateway_url`: httpx cannot change a client's TLS afterwards,
    so it could not be pinned to an enclave of the registry. Otherwise give a function that takes the
    `ssl_context` (None for RPC nodes) and returns a client. Raises `ConfigurationError`.
    """
    if http_client is None or (callable(http_client) and not hasattr(http_client, "build_request")):
        return http_client
    if gateway_url is None:
        raise ConfigurationError(
            f"http_client is a ready {type(http_client).__name__}, which cannot be pinned to an enclave's "
            "certificate. Give a function that takes ssl_context and returns one, or set gateway_url."
        )
    ready: HttpClient = http_client  # type: ignore[assignment]
    return Borrowed(ready)
