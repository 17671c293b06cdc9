"""
How what is in a store about sessions is kept from everybody who does not hold the wallet: AES-256-GCM.

The key comes from the wallet's private key by HKDF, so that all processes of the wallet have it and nothing has to be
given to them. For a signer whose key is elsewhere there is a secret instead: its own member `session_secret`, or the
variable `OG_SESSION_SECRET`; without either sessions are not shared.
"""

import base64
import hashlib
import os
from collections.abc import Callable

from og_integrations._urls import whole_url
from og_integrations.client._settings import Settings
from og_integrations.client._signer import LocalSigner
from og_integrations.protocol._redact import Secret
from og_integrations.protocol._strict_json import encode_json
from og_integrations.protocol.payment._budget import BudgetStore, SessionNotes
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.payment._sharing import LONG_TURN, TURN, Open, Seal, SessionBoard
from og_integrations.protocol.payment._x402 import Route

_PURPOSE = b"og-integrations: sessions in a store, 1"
_NONCE_BYTES = 12


def session_board(settings: Settings, policy: SpendPolicy, store: BudgetStore) -> SessionBoard | None:
    """Return where the sessions of `policy` are shared; None if its store cannot, or nothing can seal them."""
    signer = settings.signer
    if not policy.share_sessions or signer is None or not isinstance(store, SessionNotes):
        return None
    secret = settings.session_secret
    if isinstance(signer, LocalSigner):
        seal, unseal = _cipher(lambda: signer.derived_key(_PURPOSE))
    elif secret is not None:
        seal, unseal = _cipher(lambda: _derived(secret))
    else:
        return None
    people = policy.on_payment is not None or not isinstance(signer, LocalSigner)
    return SessionBoard(
        notes=store, name=_namer(settings, policy), seal=seal, unseal=unseal, turn=LONG_TURN if people else TURN
    )


def _derived(secret: Secret) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.reveal().encode())


def _cipher(key: Callable[[], bytes]) -> tuple[Seal, Open]:
    """Return what seals and what opens; the key is in no variable, which a traceback could show."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(key())

    def seal(content: Secret, name: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        # The name is sealed along, so that nobody can put one route's session in the place of another's.
        return base64.b64encode(nonce + cipher.encrypt(nonce, content.reveal().encode(), name.encode())).decode()

    def unseal(text: str, name: str) -> Secret | None:
        try:
            sealed = base64.b64decode(text, validate=True)
            return Secret(cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode()).decode())
        except (InvalidTag, ValueError):
            return None

    return seal, unseal


def _namer(settings: Settings, policy: SpendPolicy) -> Callable[[Route], str]:
    """Return what names the note of a route: equal for equal rules, as accounts are within a process."""
    rules = {name: _told(getattr(policy, name)) for name in type(policy).model_fields if name != "store"}
    kind = f"{type(policy).__module__}.{type(policy).__qualname__}"
    network = settings.network.identity
    # Frames are reported with `common`, and the URL may hold a key.
    url = settings.gateway_url
    gateway = "" if url is None else hashlib.sha256(whole_url(url).encode()).hexdigest()
    common = encode_json({"rules": rules, "kind": kind, "network": network, "gateway": gateway})

    def name(route: Route) -> str:
        place = encode_json([route.payer.lower(), route.network, route.tee_id, route.path, route.host])
        return hashlib.sha256(common + b"\n" + place).hexdigest()

    return name


def _told(rule: object) -> str:
    if isinstance(rule, frozenset):
        return repr(sorted(rule))
    if callable(rule):
        return f"{getattr(rule, '__module__', '')}.{getattr(rule, '__qualname__', type(rule).__qualname__)}"
    return repr(rule)
