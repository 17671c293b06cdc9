"""
The chain of the devnet holds OPG balances, Permit2 allowances and nonces, and the TEERegistry.

One chain plays both roles: the payment chain (Base) and the OpenGradient chain with the registry. Addresses are
keyed in lower case; amounts are base units.

| file | what it holds |
| --- | --- |
| `_chain` | balances, allowances, nonces and the registry; wallets |
| `_node` | the JSON-RPC node of the chain in Python |
| `_evm` | the chain as a real EVM (anvil), with the real Permit2 and our own contracts (`contracts/*.vy`) |
| `_batches` | the hashes of answers, published as roots and blobs |
| `_inference`, `models` | the node that runs models for the chain, the scheduler's clock; the models it knows |
"""

from og_integrations.devnet.chain._chain import UNLIMITED, Chain, Wallet

__all__ = ["Chain", "UNLIMITED", "Wallet"]
