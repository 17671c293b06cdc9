"""
This module has `ConfidentialLLM` of the published package (since 1.1.0) and its parts, over our sealed channel (OHTTP).

The request is sealed for the enclave, and a relay carries and pays it: no wallet is needed. Everything is verified
before it is returned, by the rules and receipts of all other calls here. `_chat_auth` has the login whose token relays
take. For new programs: `Client(channel="ohttp", relay_url=…)`, see docs/security.md.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from og_integrations._urls import NodeUrl
from og_integrations.client import Answer, Client, collect_receipts
from og_integrations.client._call import pem_of
from og_integrations.client._directory import accepted_enclaves, read_enclaves
from og_integrations.client._runner import drive, fetch
from og_integrations.client._settings import keyless_settings
from og_integrations.client.channels._connections import SyncConnections
from og_integrations.client.channels._relay import Relay
from og_integrations.errors import (
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    EnclaveRejectedError,
    GatewayError,
    InvalidRequestError,
    MalformedReplyError,
    OpenGradientError,
    SealedChannelError,
    VerificationError,
)
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.chat._sse import SSEDecoder
from og_integrations.protocol.chat._wire import CHAT_PATH
from og_integrations.protocol.proof import _canonical as canonical
from og_integrations.protocol.proof._enclave import Enclave, EnclavePolicy, OhttpKey, normalize_hash, tee_id_of
from og_integrations.protocol.proof._verification import is_signed_by
from og_integrations.receipt import Receipt
from og_integrations.sdk._errors import CallFailedError, OldErrors, WrongArgumentError, as_old_error
from og_integrations.sdk.types import ResponseFormat

AuthHeaderProvider = Callable[[], Mapping[str, str]]
_FROM_BODY = ("max_tokens", "temperature", "tools", "tool_choice", "response_format", "stop")


class RelayError(CallFailedError):
    """
    The relay, or the gateway behind it, refused: `status_code` is its HTTP status, 0 where none came.

    Nothing that a relay says in clear is believed, paid or quoted, so `message` is ours.
    """

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(f"relay error {status_code}: {message}")
        self.status_code: int = status_code
        self.message: str = message


class SealedAnswerError(VerificationError, CallFailedError):
    """What came through the relay is not the enclave's answer to this request, or was cut."""


@dataclass(frozen=True)
class TEEEndpoint:
    """This is an enclave as the registry lists it; `ohttp_config` is the key that requests are sealed to, or None."""

    tee_id: str
    endpoint: str
    tls_cert_der: bytes = field(repr=False)
    payment_address: str
    signing_public_key_der: bytes = field(default=b"", repr=False)
    ohttp_config: OhttpKey | None = None
    pcr_hash: str = ""
    registry: "TEERegistry | None" = field(default=None, repr=False, compare=False)
    """Where it was found; None if it was made by hand."""


@dataclass(frozen=True)
class TeeProof:
    """This is the enclave's signed statement about an answer, checked; hashes are hex without 0x."""

    tee_id: str
    request_hash: str
    output_hash: str
    timestamp: int
    signature: str
    signing_key_pem: str
    tee_host: str | None = None


@dataclass
class VerifiedChatResponse:
    """
    This is a verified answer: `body` is what the enclave sent, of a stream its signed event, `content` what it signed.

    `stream_frames` are the events of a stream. `receipt` says the rest; `payment_hash` is None, since the relay pays.
    """

    body: JsonObject
    content: str
    proof: TeeProof
    stream_frames: list[str] | None = None
    receipt: JsonObject = field(default_factory=dict, repr=False)
    payment_hash: str | None = None


class TEERegistry:
    """This reads the registry of enclaves at `registry_address`, by the node at `rpc_url` (default: the network's)."""

    def __init__(self, rpc_url: str | None = None, registry_address: str | None = None) -> None:
        self.places: dict[str, Any] = {
            name: value
            for name, value in (("registry_rpc_url", rpc_url), ("registry_address", registry_address))
            if value is not None
        }

    def get_active_tees_by_type(self, tee_type: int) -> list[TEEEndpoint]:
        """Return the enclaves of that type that may be asked (0: LLM). Raises `RuntimeError`."""
        if tee_type != 0:
            raise WrongArgumentError(f"tee_type is {tee_type!r:.20}, expected 0: only enclaves of LLMs are read here.")
        connections = SyncConnections()
        with OldErrors():
            try:
                settings = keyless_settings(**self.places)
                found = drive(read_enclaves(settings), lambda effect: fetch(connections, effect))
                accepted = accepted_enclaves(found, EnclavePolicy()) if found else {}
            except EnclaveRejectedError:
                accepted = {}
            finally:
                connections.close()
        return [self._endpoint(enclave) for enclave in accepted.values()]

    def get_llm_tee(self) -> TEEEndpoint | None:
        """Return an enclave for LLMs, None if there is none."""
        return next(iter(self.get_active_tees_by_type(0)), None)

    def get_llm_tee_ohttp_config(self) -> TEEEndpoint | None:
        """Return an enclave that takes sealed requests, None if there is none."""
        return next((found for found in self.get_active_tees_by_type(0) if found.ohttp_config is not None), None)

    def _endpoint(self, enclave: Enclave) -> TEEEndpoint:
        return TEEEndpoint(
            tee_id=enclave.tee_id,
            endpoint=enclave.endpoint,
            tls_cert_der=enclave.certificate,
            payment_address=enclave.payment_address,
            signing_public_key_der=enclave.public_key,
            ohttp_config=enclave.ohttp,
            pcr_hash=enclave.pcr_hash,
            registry=self,
        )


class OhttpRelayClient:
    """
    This sends chats to the enclave `tee` through the relay at `relay_url`, and returns them verified. Not awaited.

    `auth_headers` is called before each request, and returns `{"Authorization": "Bearer …"}` or nothing. The enclave's
    keys are those of the registry, whatever `tee` says: one that is not listed there is not asked. `session` is
    refused: connections are our own. Other options are those of `Client`.
    """

    def __init__(
        self,
        relay_url: str,
        tee: TEEEndpoint,
        *,
        auth_headers: AuthHeaderProvider | None = None,
        session: object = None,
        timeout: float = 120.0,
        **options: Any,
    ) -> None:
        if session is not None:
            raise WrongArgumentError("session is not used: connections are made and pinned here. Leave it out.")
        if tee.ohttp_config is None:
            raise WrongArgumentError("TEEEndpoint has no usable OHTTP config. Nothing was sent.")
        if not tee.signing_public_key_der or tee_id_of(tee.signing_public_key_der) != tee.tee_id:
            raise WrongArgumentError("TEEEndpoint's signing public key is not that of its tee_id. Nothing was sent.")
        self.tee = tee
        places = {} if tee.registry is None else tee.registry.places
        with OldErrors():
            self._client: Client = Client(
                channel="ohttp",
                relay_url=relay_url,
                relay_token=None if auth_headers is None else _token_of(auth_headers),
                enclave_policy=EnclavePolicy(allowed_tee_ids=[tee.tee_id]),
                timeout=timeout,
                **places,
                **options,
            )
            relay = Relay.of(relay_url, None)
        self._url = NodeUrl(relay_url) if relay is None else relay.url

    @property
    def relay_url(self) -> str:
        """Return where sealed requests are brought, with the path, as the published client has it."""
        return self._url.reveal()

    def chat_completion(self, body: JsonObject) -> VerifiedChatResponse:
        """Ask with a body of `/v1/chat/completions`; raises `RelayError` or `VerificationError`."""
        return self._asked(body, stream=False)

    def stream_chat_completion(self, body: JsonObject) -> VerifiedChatResponse:
        """Ask for a stream, and return it once it is verified; raises `RelayError` or `VerificationError`."""
        return self._asked(body, stream=True)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _asked(self, body: JsonObject, *, stream: bool) -> VerifiedChatResponse:
        model, messages = body.get("model"), body.get("messages")
        if not isinstance(model, str) or not isinstance(messages, list) or not messages:
            raise WrongArgumentError("The request's body needs a model and messages. Nothing was sent.")
        options: JsonObject = {name: body[name] for name in _FROM_BODY if body.get(name) is not None}
        if body.get("web_search"):
            options["extra"] = {"web_search": True}
        try:
            with collect_receipts(keep_exchanges=True) as kept:
                if stream:
                    # Nothing is shown before the proof, which the last piece has.
                    pieces = list(self._client.stream(model, messages, **options))
                    (answer,) = (piece for piece in pieces if isinstance(piece, Answer))
                else:
                    answer = self._client.chat(model, messages, **options)
        except OpenGradientError as exc:
            raise _as_published(exc) from exc
        return self._verified(answer, str((kept.exchanges[-1] or {}).get("response", "")), stream=stream)

    def _verified(self, answer: Answer, text: str, *, stream: bool) -> VerifiedChatResponse:
        said, completion = Receipt(answer.receipt), answer.completion
        frames = [f"{frame}\n\n" for frame in text.split("\n\n") if frame.strip()] if stream else None
        events = _objects_in(text) if stream else [json.loads(text)]
        signed = canonical.canonical_output(completion.text, completion.tool_calls, completion.finish_reason)
        return VerifiedChatResponse(
            body=next((event for event in reversed(events) if "tee_signature" in event), {}),
            content=signed.decode(),
            proof=TeeProof(
                tee_id=said.tee_id or "",
                request_hash=said.request_hash or "",
                output_hash=said.output_hash or "",
                timestamp=said.tee_timestamp or 0,
                signature=said.tee_signature or "",
                signing_key_pem=pem_of(self.tee.signing_public_key_der),
                tee_host=self.tee.endpoint,
            ),
            stream_frames=frames,
            receipt=answer.receipt,
            payment_hash=said.payment_hash,
        )


class ConfidentialLLM:
    """
    This seals chats for an enclave of the registry, and a relay carries and pays them. Not awaited.

    `relay_url` is the relay, with or without its path; `auth_headers` is called before each request. Raises
    `RuntimeError` if the registry lists no enclave that takes sealed requests.
    """

    def __init__(
        self,
        relay_url: str,
        *,
        rpc_url: str | None = None,
        registry_address: str | None = None,
        auth_headers: AuthHeaderProvider | None = None,
        session: object = None,
        timeout: float = 120.0,
        **options: Any,
    ) -> None:
        tee = TEERegistry(rpc_url, registry_address).get_llm_tee_ohttp_config()
        if tee is None:
            raise CallFailedError("No active OHTTP-capable LLM TEE found in the registry. Nothing was sent.")
        self._relay = OhttpRelayClient(
            relay_url, tee, auth_headers=auth_headers, session=session, timeout=timeout, **options
        )

    @classmethod
    def from_tee(cls, relay_url: str, tee: TEEEndpoint, **options: Any) -> Self:
        """Return one for an enclave that was found before; options are those of `OhttpRelayClient`."""
        made = cls.__new__(cls)
        vars(made)["_relay"] = OhttpRelayClient(relay_url, tee, **options)
        return made

    @property
    def tee(self) -> TEEEndpoint:
        """Return the enclave that requests are sealed for."""
        return self._relay.tee

    @property
    def relay_url(self) -> str:
        """Return where sealed requests are brought, with the path."""
        return self._relay.relay_url

    def chat(
        self,
        model: str | Enum,
        messages: Sequence[JsonObject],
        max_tokens: int = 100,
        stop_sequence: Sequence[str] | None = None,
        temperature: float = 0.0,
        tools: Sequence[JsonObject] | None = None,
        tool_choice: str | None = None,
        response_format: ResponseFormat | Mapping[str, object] | None = None,
        web_search: bool = False,
        stream: bool = False,
    ) -> VerifiedChatResponse:
        """
        Ask, and return the verified answer; a stream is returned when it is verified, with its `stream_frames`.

        Raises `RelayError`, `VerificationError`, or a `ValueError` for what is wrong with the request.
        """
        form = response_format.to_dict() if isinstance(response_format, ResponseFormat) else response_format
        given = {"stop": stop_sequence, "tools": tools, "response_format": form, "web_search": web_search}
        body: JsonObject = {
            "model": str(model.value if isinstance(model, Enum) else model),
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
        } | {name: value for name, value in given.items() if value}
        if tools:
            body["tool_choice"] = tool_choice or "auto"
        return self.stream_chat_completion(body) if stream else self.chat_completion(body)

    def chat_completion(self, body: JsonObject) -> VerifiedChatResponse:
        """Ask with a body of `/v1/chat/completions`; see `chat`."""
        return self._relay.chat_completion(body)

    def stream_chat_completion(self, body: JsonObject) -> VerifiedChatResponse:
        """Ask for a stream with a body of `/v1/chat/completions`; see `chat`."""
        return self._relay.stream_chat_completion(body)

    def close(self) -> None:
        """Close the connections."""
        self._relay.close()


def build_inner_request(body: JsonObject) -> tuple[JsonObject, JsonObject]:
    """
    Return what is sent of a request's body, and what the enclave commits to of it (rule `reduced`).

    Raises `ValueError` for a body that no gateway takes.
    """
    with OldErrors():
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InvalidRequestError("The request is missing 'messages'. Nothing was sent.")
        hashed: JsonObject = json.loads(canonical.canonical_request(CHAT_PATH, body, canonical.REDUCED))
    contents = [
        {**kept, "content": sent.get("content")} if kept["role"] == "user" else kept
        for kept, sent in zip(hashed["messages"], messages, strict=True)
    ]
    choice = {} if body.get("tool_choice") is None else {"tool_choice": body["tool_choice"]}
    return {**hashed, "messages": contents, **choice}, hashed


def verify_response(
    *,
    canonical_request: JsonObject,
    response_body: JsonObject,
    response_content: str,
    signing_key_pem: str,
    expected_tee_id: str | None = None,
    tee_host: str | None = None,
) -> TeeProof:
    """
    Return the proof of an answer, given what `build_inner_request` says is hashed, and what the enclave hashed.

    `signing_key_pem` is the enclave's key, as the registry has it. Raises `VerificationError`.
    """
    names = ("tee_id", "tee_request_hash", "tee_output_hash", "tee_signature")
    tee_id, request, output, signature = (response_body.get(name) for name in names)
    told = response_body.get("tee_timestamp")
    if not all(isinstance(value, str) for value in (tee_id, request, output, signature)) or type(told) is not int:
        raise SealedAnswerError("The answer is not signed: its tee_* members are missing or of another kind.")
    try:
        key = load_pem_public_key(signing_key_pem.encode()).public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        signed = base64.b64decode(str(signature), validate=True)
    except ValueError as exc:
        raise SealedAnswerError("The key is no PEM, or the signature no base64.") from exc
    request_hash = keccak(json.dumps(canonical_request, sort_keys=True).encode())
    output_hash = keccak(response_content.encode())
    own = tee_id_of(key)
    found = {
        "the answer's tee_id is not that of the key": normalize_hash(str(tee_id)) == own,
        "the enclave is not the expected one": expected_tee_id is None or normalize_hash(expected_tee_id) == own,
        "the enclave signed another request": str(request).removeprefix("0x") == request_hash.hex(),
        "the enclave signed another answer": str(output).removeprefix("0x") == output_hash.hex(),
    }
    for problem, holds in found.items():
        if not holds:
            raise SealedAnswerError(f"Not proven: {problem}.")
    if told < 0 or not is_signed_by(key, canonical.signed_digest(request_hash, output_hash, told), signed):
        raise SealedAnswerError("Not proven: the signature is not by this key.")
    return TeeProof(own, request_hash.hex(), output_hash.hex(), told, str(signature), signing_key_pem, tee_host)


def _token_of(auth_headers: AuthHeaderProvider) -> Callable[[], str]:
    def token() -> str:
        shown = {name.lower(): value for name, value in auth_headers().items()}
        kind, _, text = shown.pop("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not text or shown:
            raise WrongArgumentError(
                'auth_headers gave other headers, expected {"Authorization": "Bearer …"} alone. Nothing was sent.'
            )
        return text

    return token


def _as_published(error: OpenGradientError) -> OpenGradientError:
    """Return `error` as the class that was documented for it, with everything it carries."""
    made: OpenGradientError
    if isinstance(error, MalformedReplyError) or (isinstance(error, SealedChannelError) and error.status is None):
        made = SealedAnswerError(str(error))
    elif isinstance(error, SealedChannelError | GatewayError):
        made = RelayError(error.status or 0, str(error))
    elif isinstance(error, ConnectionFailedError | ConnectionLostError | DiscoveryError):
        made = RelayError(0, str(error))
    else:
        return error if isinstance(error, ValueError | RuntimeError) else as_old_error(error)
    made.__dict__ = error.__dict__ | made.__dict__
    return made


def _objects_in(stream: str) -> list[JsonObject]:
    """Return the events of a stream that are JSON objects: `[DONE]` is none."""
    found: list[JsonObject] = []
    for event in SSEDecoder().feed(stream.encode() + b"\n"):
        with suppress(ValueError):
            value = json.loads(event)
            found += [value] if isinstance(value, dict) else []
    return found
