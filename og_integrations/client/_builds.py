"""
What a client has learned of each build of a gateway, by its measurement (`pcr_hash`).

One build has one behaviour, so what its first answers show holds for all that run it. Nothing is asked for it, and
nothing here decides whom to trust: it chooses what to try first, and refuses unpaid what is known to come to nothing.
"""

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.proof._canonical import APRIL, RULES, has_lists
from og_integrations.protocol.proof._enclave import KNOWN_PCR_HASH, Enclave


class Builds:
    """The builds that one client has met. Threads may share it: each entry is replaced as a whole."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        # The published build was run: it hands on no picture and no file (docs/protocol.md §2.3).
        self._dropping = {KNOWN_PCR_HASH}

    def usual_rule(self, enclave: Enclave) -> str | None:
        """Return the hash rule that proved the last answers of the build, None if no answer has shown it."""
        return self._rules.get(build_of(enclave))

    def learn(self, enclave: Enclave, request: JsonObject, rule: str) -> None:
        """Remember that the build hashed `request` by `rule`, which requests that show less of it do not tell."""
        build = build_of(enclave)
        self._rules[build] = max(self._rules.get(build, APRIL), rule, key=RULES.index)
        if rule == APRIL and has_lists(request):
            self._dropping.add(build)

    def drops_attachments(self, enclave: Enclave) -> bool:
        """Return whether the build is known to take pictures and files without handing them to a model."""
        return build_of(enclave) in self._dropping


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
