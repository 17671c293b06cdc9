"""
The payment networks we know, as frozen values.

An OpenGradient call touches two chains: the *payment* chain, where OPG is authorized through
Permit2 (Base or Base Sepolia), and the *OpenGradient* chain, where the TEERegistry lists enclaves.
"""

from dataclasses import dataclass, field

from og_integrations._urls import NodeUrl

_REGISTRY_RPC = "https://ogevmdevnet.opengradient.ai"
_REGISTRY_ADDRESS = "0x703cB174AEadB35D611858369B4b1111dC9Abda6"
PERMIT2_ADDRESS = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
UPTO_PROXY_ADDRESS = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"
_REGISTRY_CHAIN_ID = 10740
NODE_API = "https://sdk-devnet.opengradient.ai"
OPG = 10**18
"""Base units of one OPG (18 decimals)."""


def format_opg(base_units: int) -> str:
    """Return base units (not negative, however many) as OPG, exactly, without trailing zeros: `"0.1"`."""
    whole, rest = divmod(base_units, OPG)
    return f"{whole}.{rest:018}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """
    Where to look enclaves up and what to pay with.

    `caip2` is the payment chain as x402 names it (`eip155:<chain id>`); `token` the OPG contract
    there; `rpc_url` the node used for balances, approvals and settlement reads on that chain;
    `registry_rpc_url` and `registry_address` name the TEERegistry; models on chain run on the same chain, whose id is
    `registry_chain_id`, and `node_api_url` has those of their results that come late. These URLs may hold API keys:
    all but their `reveal()` shows the server only. `payees` may be paid besides
    the payment addresses of the registry's enclaves.
    """

    name: str
    chain_id: int
    token: str
    rpc_url: str = field(repr=False)
    registry_rpc_url: str = field(default=_REGISTRY_RPC, repr=False)
    registry_address: str = _REGISTRY_ADDRESS
    registry_chain_id: int = _REGISTRY_CHAIN_ID
    node_api_url: str = field(default=NODE_API, repr=False)
    explorer_url: str = ""
    payees: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # JSON has lists only; a network that was written and read again is still the same.
        object.__setattr__(self, "payees", tuple(self.payees))
        for name in ("rpc_url", "registry_rpc_url", "node_api_url"):
            if isinstance(url := getattr(self, name), str):  # settings refuse what is none
                object.__setattr__(self, name, NodeUrl(url))

    @property
    def caip2(self) -> str:
        """Return the x402 name of the payment chain."""
        return f"eip155:{self.chain_id}"

    @property
    def identity(self) -> str:
        """
        Return what tells it from networks with the same chain id: its name.

        Of devnets there are many with one name, each at a node of its own.
        """
        return f"{self.name} {self.rpc_url}" if self.name == "devnet" else self.name


BASE = Network(
    name="base",
    chain_id=8453,
    token="0xFbC2051AE2265686a469421b2C5A2D5462FbF5eB",
    rpc_url="https://base-rpc.publicnode.com",
    explorer_url="https://basescan.org",
)
BASE_SEPOLIA = Network(
    name="base-sepolia",
    chain_id=84532,
    token="0x240b09731D96979f50B2C649C9CE10FcF9C7987F",
    rpc_url="https://base-sepolia-rpc.publicnode.com",
    explorer_url="https://sepolia.basescan.org",
)
DEVNET = Network(
    name="devnet",
    chain_id=8453,
    token=BASE.token,
    rpc_url="http://127.0.0.1:8545",
    registry_rpc_url="http://127.0.0.1:8545",
    registry_chain_id=8453,
    node_api_url="http://127.0.0.1:8545",
)
"""The local devnet on its default port; it plays Base, so that payments look the same."""

NETWORKS = {network.name: network for network in (BASE, BASE_SEPOLIA, DEVNET)}
