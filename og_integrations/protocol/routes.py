"""What a session is bound to."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    What a session is bound to: one payer (0x-hex), payment network (CAIP-2), enclave and path. `host` is the
    gateway's host name, which the policy may restrict.

    `payees` are the addresses (lower case) that may be paid here; empty if nobody has said.
    """

    payer: str
    network: str
    tee_id: str
    path: str
    host: str
    # The registry may change it while a session lasts, which is no reason to pay again.
    payees: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
