"""
This module says who signs payments, and is the only place that touches a private key.

Payments are signed by libsecp256k1 (coincurve). eth-account, which takes most of a second to load, is imported for
what it alone knows: keystores, transactions, and typed data that is none of a payment.

Anything with an `address` and a `sign_typed_data`, synchronous or asynchronous, can be a signer: a
KMS, a remote wallet, a hardware key.
"""

import re
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast, runtime_checkable

from og_integrations.errors import ConfigurationError
from og_integrations.protocol._redact import Secret, emptied_frames
from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.protocol.chain import _eip712
from og_integrations.protocol.chain._ecrecover import SECP256K1_ORDER, address_of_key
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.payment._x402 import checksum_address

if TYPE_CHECKING:
    from pydantic import SecretStr

KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_TAKEN_FOR_KEYS = (
    (r"sk-.*", "is the API key of a model provider (sk-…), and no wallet"),
    (r"(AIza|gsk_|hf_|xai-|pplx-|r8_|Bearer ).*", "is the API key or token of a model provider, and no wallet"),
    (r"0x[0-9a-fA-F]{40}", "is an address, and not the key behind it"),
    (r"([a-z]+\s+){11,23}[a-z]+", "is a recovery phrase: give the private key that a wallet derives from it"),
    (r"\{.*|.*\.json", "is a keystore: name its file in OG_KEYSTORE, or use LocalSigner.from_keystore"),
    (r"([\"']).*\1", "stands in quotes"),
    (r"(0x)?[0-9a-fA-F]{64}", "has white space around it"),
    (r"0X[0-9a-fA-F]{64}", "begins with 0X, expected 0x"),
    (r"(0x)?04[0-9a-fA-F]{128}", "is a public key, and not the key behind it"),
    (
        r"[xyz]prv[1-9A-Za-z]+",
        "is the extended key of a wallet: give that of one account, which a wallet derives from it",
    ),
    (r"[5KL][1-9A-HJ-NP-Za-km-z]{50,51}", "is a key of Bitcoin (WIF), and of no wallet of this network"),
    (r"-----BEGIN .*", "is a PEM file, expected the 64 hex digits"),
    (r"(gh[pousr]_|github_pat_|glpat-|xox[bp]-|AKIA).*", "is a token of another service, and no wallet"),
    (r"", "is empty"),
    (r"\$.*", "is the name of a variable, which nobody has replaced by its value"),
)
"""What people take for a private key, and what it is."""


@runtime_checkable
class Signer(Protocol):
    """
    A signer is a wallet. `address` is its 0x-hex address.

    `sign_typed_data` takes a whole EIP-712 message (`types`, `primaryType`, `domain`, `message`) and
    returns the 65-byte signature r‖s‖v as 0x-hex, or an awaitable of it. An asynchronous signer
    needs an asynchronous client.
    """

    @property
    def address(self) -> str: ...

    def sign_typed_data(self, typed_data: JsonObject) -> str | Awaitable[str]:
        """Return the signature of the EIP-712 message `typed_data`: 65 bytes r, s, v as 0x-hex."""
        ...


@runtime_checkable
class TransactionSigner(Signer, Protocol):
    """This signer can also sign transactions, which only `ensure_opg_approval` and models on chain need."""

    def sign_transaction(self, transaction: JsonObject) -> str | Awaitable[str]:
        """
        Sign an EIP-1559 transaction and return it ready to send, 0x-hex.

        Its members are those of JSON-RPC (`chainId`, `nonce`, `to`, `data`, `value`, `gas`,
        `maxFeePerGas`, `maxPriorityFeePerGas`), numbers as int. On a chain whose blocks have no base fee there is a
        `gasPrice` instead of the last two and of `type`; where a contract is deployed, no `to`.
        """
        ...


def typed_data_digest(typed_data: JsonObject) -> bytes:
    """Return the 32 bytes that are signed for an EIP-712 message: what a KMS wants, which signs digests."""
    if _eip712.covers(typed_data):
        return _eip712.digest(typed_data)
    # A message of somebody else's may have any type there is.
    _load_account()
    from eth_account.messages import encode_typed_data

    message = encode_typed_data(full_message=typed_data)
    return keccak(b"\x19" + message.version + message.header + message.body)


class LocalSigner:
    """
    A local signer holds a private key in this process: 64 hex digits.

    It never shows in repr, str, pickle, errors or their frames.
    """

    def __init__(self, private_key: "str | Secret | SecretStr") -> None:
        key = sealed(private_key)
        del private_key
        self.address: str = ""
        """The wallet's address, EIP-55."""
        if not isinstance(key.reveal(), str):
            raise ConfigurationError(
                f"private_key is of type {type(key.reveal()).__name__}, expected 64 hex digits as text."
            )
        if not KEY.fullmatch(key.reveal()):
            raise ConfigurationError(
                "The private key is not one: expected 64 hex digits (with or without 0x), got "
                f"{len(key.reveal())} characters. It {what_it_is(key)}. Check OG_PRIVATE_KEY, or the program's "
                "private_key=…."
            )
        if not 0 < int(key.reveal(), 16) < SECP256K1_ORDER:
            raise ConfigurationError("The private key is out of the range of secp256k1 keys.")
        from coincurve import PrivateKey

        self._key = PrivateKey(int(key.reveal(), 16).to_bytes(32, "big"))
        self.address = checksum_address(address_of_key(self._key.public_key.format(compressed=False)[1:]))

    @classmethod
    def from_keystore(cls, path: str | Path, password: str) -> Self:
        """
        Return the key in a keystore file (Web3 Secret Storage, as geth, Foundry and eth-account write it).

        Opening it takes a second or so, by design of the format. Raises `ConfigurationError`.
        """
        secret = Secret(password)
        del password
        try:
            content = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigurationError(f"The keystore {path} cannot be read ({type(exc).__name__}).") from exc
        return cls(_decrypted(path, content, secret))

    def sign_typed_data(self, typed_data: JsonObject) -> str:
        """Sign an EIP-712 message (RFC 6979, low s, v = 27 or 28)."""
        signature = self._key.sign_recoverable(typed_data_digest(typed_data), hasher=None)
        return "0x" + (signature[:64] + bytes([27 + signature[64]])).hex()

    def sign_transaction(self, transaction: JsonObject) -> str:
        """Sign an EIP-1559 transaction and return it ready to send, 0x-hex."""
        account = _load_account()
        with emptied_frames():
            return "0x" + bytes(account.sign_transaction(transaction, self._key.secret).raw_transaction).hex()

    def derived_key(self, purpose: bytes) -> bytes:
        """Return 32 bytes that only holders of the key can make, other ones for each purpose (HKDF-SHA256)."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(self._key.secret)

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    def __reduce__(self) -> str:
        raise ConfigurationError("A LocalSigner is not pickled: its key would be. Send the setting, not the signer.")


def what_it_is(key: Secret) -> str:
    """Return what `key`, a text that is no private key, seems to be, without any of it."""
    text = key.reveal().strip
    found = (what for pattern, what in _TAKEN_FOR_KEYS if re.fullmatch(pattern, text(), re.DOTALL))
    return next(found, f"has {len(key.reveal())} characters")


def sealed(key: object) -> Secret:
    """Return `key`, of whatever type it is, as a `Secret`: what is wrong with it is said where no frame shows it."""
    opened = key.reveal if isinstance(key, Secret) else getattr(key, "get_secret_value", None)
    return Secret(cast("str", key if opened is None else opened()))


def _decrypted(path: str | Path, content: str, password: Secret) -> Secret:
    account_type = _load_account()
    wrong = ""
    try:
        return Secret("0x" + bytes(account_type.decrypt(decode_json(content), password.reveal())).hex())
    except ValueError as exc:
        # The MAC is the only thing in the file that depends on the password.
        wrong = "the password is wrong" if "MAC mismatch" in str(exc) else "it is no keystore file"
    except (KeyError, TypeError, AttributeError, NotImplementedError):
        wrong = "it is no keystore file of a kind that eth-account knows"
    # Outside of the handlers: a cause could quote what was decrypted.
    raise ConfigurationError(f"The keystore {path} cannot be opened: {wrong}.")


def _load_account() -> Any:
    # eth_account brings py_ecc, which raises the recursion limit to 100,000 for the whole process:
    # from then on deeply nested JSON would end the process instead of raising `RecursionError`.
    limit = sys.getrecursionlimit()
    try:
        from eth_account import Account
    finally:
        sys.setrecursionlimit(limit)
    return Account
