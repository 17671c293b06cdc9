"""
What one client has learned from the answers so far: how each build of a gateway behaves, and which answers it has seen.

One build, which its measurement (`pcr_hash`) names, has one behaviour, so what its first answers show holds for all
that run it: its hash rule, whether it hands attachments on, whether it takes a nonce. Nothing is asked for it, and
nothing here decides whom to trust: it chooses what to try first, and refuses unpaid what is known to come to nothing.

The first call of a build carries a nonce, which makes an answer one to this call. Gateways look at a body after the
payment and charge no 400, so that a refusal costs nothing: the call goes out again without the nonce, in the same
session, and so do all later ones to that build.

`ReplayCache` knows which answers this client has seen already: PSS is randomised, so an honest enclave repeats no
signature.
"""

import secrets
import threading
from collections import OrderedDict

from og_integrations._forking import survive_forks
from og_integrations._warnings import warn_once
from og_integrations.client._call import Call
from og_integrations.client._options import Nonce
from og_integrations.errors import InvalidRequestError
from og_integrations.protocol._strict_json import JsonObject, parse_json_object
from og_integrations.protocol.proof._canonical import APRIL, RULES, has_lists, nonce_place, with_nonce
from og_integrations.protocol.proof._enclave import KNOWN_PCR_HASH, Enclave

_NONCE_BYTES = 16
REMEMBERED_SIGNATURES = 4096


class Builds:
    """The builds that one client has met. Threads may share it: each entry is replaced as a whole."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        # The published build was run: it hands on no picture and no file (docs/protocol.md §2.3).
        self._dropping = {KNOWN_PCR_HASH}

    def usual_rule(self, build: str) -> str | None:
        """Return the hash rule that proved the last answers of `build`, None if no answer has shown it."""
        return self._rules.get(build)

    def learn(self, build: str, request: JsonObject, rule: str) -> None:
        """Remember that `build` hashed `request` by `rule`, which requests that show less of it do not tell."""
        self._rules[build] = max(self._rules.get(build, APRIL), rule, key=RULES.index)
        if rule == APRIL and build not in self._dropping and has_lists(request):
            self._dropping.add(build)

    def drops_attachments(self, build: str) -> bool:
        """Return whether `build` is known to take pictures and files without handing them to a model."""
        return build in self._dropping


def dropped(enclave: Enclave) -> InvalidRequestError:
    """Return the error for pictures or files that only gateways could be sent which drop them."""
    return InvalidRequestError(
        f"The gateway {enclave.endpoint} is of a build that drops pictures and files before the model sees them (hash "
        f"rule {APRIL}). You would pay for an answer about nothing; nothing was sent. Leave them out, or describe them."
    )


def build_of(enclave: Enclave) -> str:
    """Return what names the program of `enclave`: all enclaves of one build behave alike."""
    # A gateway that was named by its URL has no measurement; its key then stands for it.
    return enclave.pcr_hash or enclave.tee_id


class NonceUse:
    """
    A use of nonces is that of one client: "auto" where there is a place and the gateway takes it, "require", "off".

    Threads may share it.
    """

    def __init__(self, mode: Nonce) -> None:
        self._mode = mode
        self._taken: dict[str, bool] = {}
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds; what builds do stays known."""
        self._lock = threading.Lock()

    def put_in(self, path: str, body: JsonObject) -> tuple[JsonObject, str | None]:
        """Return `body` with a new nonce, and that. Raises `InvalidRequestError` if it has no place, and needs one."""
        if self._mode == "off":
            return body, None
        nonce = secrets.token_hex(_NONCE_BYTES)
        try:
            return with_nonce(path, body, nonce), nonce
        except InvalidRequestError:
            if self._mode == "require":
                raise
            return body, None

    def as_taken(self, call: Call, build: str) -> Call:
        """Return `call` as gateways of `build` take it. Raises `InvalidRequestError` where a nonce is required."""
        if call.nonce is None or self._taken.get(build, True):
            return call
        if self._mode == "require":
            raise InvalidRequestError(
                f"Gateways of the build {build} refuse requests with a nonce, which nonce='require' asks for. Nothing "
                "was answered or charged; say nonce='auto' to go without one there."
            )
        return call.without_nonce()

    def was_taken(self, call: Call, build: str) -> None:
        """Remember that a gateway of `build` has answered a call with a nonce."""
        if call.nonce is not None and build not in self._taken:
            with self._lock:
                self._taken.setdefault(build, True)

    def is_in_question(self, call: Call, build: str) -> bool:
        """Return whether a 400 to `call` may be about its nonce: no gateway of `build` has taken one so far."""
        return call.nonce is not None and self._taken.get(build) is not True

    def is_refused(self, call: Call, build: str, body: bytes) -> bool:
        """Return whether `body`, that of a 400, is about the nonce of `call`; warn, and remember it of `build`."""
        if not _names_nonce(call, body):
            return False
        with self._lock:
            self._taken[build] = False
        warn_once(
            f"nonces at {build}",
            f"Gateways of the build {build} refuse requests with a nonce: calls go there without one, and only the "
            "time of an answer says that it is no older one.",
        )
        return True


def _names_nonce(call: Call, body: bytes) -> bool:
    """Return whether the refusal in `body` names the nonce of `call` or the member that holds it."""
    place = nonce_place(call.path, parse_json_object(call.wire, "The request", unique=False), call.nonce or "")
    said = body.decode("utf-8", "replace")
    # Most refusals are about what the caller wrote: those end the call, as they would without a nonce.
    return "nonce" in said or (place is not None and place in said)


class ReplayCache:
    """A replay cache knows the last signatures that one client was shown. Threads may share it."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds; what was seen stays seen."""
        self._lock = threading.Lock()

    def seen(self, signature: str) -> bool:
        """Remember `signature`, and return whether it was there."""
        with self._lock:
            seen = signature in self._seen
            self._seen[signature] = None
            if len(self._seen) > REMEMBERED_SIGNATURES:
                self._seen.popitem(last=False)
        return seen
