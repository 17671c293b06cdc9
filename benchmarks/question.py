"""What everybody is asked. Only the standard library here: every contestant's environment imports it."""

import os
from dataclasses import dataclass

MODEL = "openai/gpt-5.2"
PROMPT = "You are a careful trader. In two sentences: what moved the price of ETH this week, and why?"
MESSAGES = [{"role": "user", "content": PROMPT}]
CHUNKS = 500
"""Pieces of text in a stream, unless the request's `max_tokens` says otherwise."""

FREE = "/free"
"""Below this path the replay server wants no payment: for clients that cannot pay."""


def request(chunks: int | None = None) -> dict[str, object]:
    """Return the request as our client sends it, apart from `stream`, which is not hashed."""
    wire: dict[str, object] = {"model": MODEL.partition("/")[2], "messages": MESSAGES}
    return wire if chunks is None else {**wire, "max_tokens": chunks}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a contestant finds the replay server; `rpc` is the node with the registry, `tls` says if pinned."""

    gateway: str
    rpc: str
    registry: str
    private_key: str

    @property
    def tls(self) -> bool:
        """Whether the gateway speaks TLS: then it is looked up in the registry and pinned."""
        return self.gateway.startswith("https:")

    @classmethod
    def of(cls, environment: "dict[str, str] | os._Environ[str]") -> "Place":
        """Read it from the variables that `variables` returns."""
        return cls(
            gateway=environment["BENCH_GATEWAY"],
            rpc=environment["OG_RPC_URL"],
            registry=environment["OG_REGISTRY_ADDRESS"],
            private_key=environment["OG_PRIVATE_KEY"],
        )

    def variables(self) -> dict[str, str]:
        """Return the environment of a contestant's process; no proxy, no tracing."""
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "HOME")}
        return kept | {
            "BENCH_GATEWAY": self.gateway,
            "OG_PRIVATE_KEY": self.private_key,
            "OG_NETWORK": "devnet",
            "OG_RPC_URL": self.rpc,
            "OG_REGISTRY_RPC_URL": self.rpc,
            "OG_REGISTRY_ADDRESS": self.registry,
            # The published SDK's only way to another payment node.
            "BASE_MAINNET_RPC": self.rpc,
        }
