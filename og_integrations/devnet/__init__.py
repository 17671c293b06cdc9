"""
The whole network on one machine: the other side of each file of `protocol`.

```python
with Devnet() as net:
    ...  # net.network, net.private_key, net.stats(), net.inject("bad_signature", times=1)
    assert net.verdict().clean  # or its lines: what the client did wrong
```

A chain with OPG, Permit2 and the TEERegistry; gateways with TLS, a paywall and a signing enclave; a
scripted model. Everything that is signed is really signed, and every check of the real gateway is made
(PROTOCOL.md); what it charges moves balances that nobody owns.

| the network | |
| --- | --- |
| `local_network`, `site`, `serving` | `Devnet`; one enclave with all around it; a devnet as a program |
| `server`, `connection`, `http`, `background` | an HTTP server for handlers, in a thread of its own |
| `chain`, `payment_chain`, `rpc` | the chain in Python, which chain it is, and its node |
| `evm`, `anvil`, `npm`, `contracts` | the chain as a real EVM, its node, and what is fetched for it |
| `clock`, `wallet`, `stranger` | its time; its accounts; the host that a redirect leads to |

| one gateway | |
| --- | --- |
| `gateway`, `request_schema`, `replies` | routes and order of checks; which requests pass; how answers are wrapped |
| `paywall`, `offer`, `sessions`, `facilitator`, `pricing` | the 402, and what is paid |
| `answering`, `forwarding`, `enclave` | the request on its way to the model, and its signed answer |
| `output`, `stream_shapes`, `data_settlement` | how the answer travels, and what is published about it |
| `model`, `upstream` | any model; an OpenAI-compatible server as one |
| `script`, `message_text`, `schema_filler`, `attachments` | the scripted model |

| lies and verdicts | |
| --- | --- |
| `fault`, `faults` | what a fault is; all by name |
| `trust_faults`, `payment_faults`, `answer_faults`, `stream_faults`, `wire_faults` | the faults |
| `journal`, `entries` | what was seen; a request as it is written there |
| `watching`, `repeating`, `claims` | misbehaviour that a server sees; asking again; what the client says |
| `judging`, `verdict`, `marking` | all of it -> the findings; what was before a moment |
"""

from og_integrations.devnet.enclave import LocalEnclave
from og_integrations.devnet.fault import Fault
from og_integrations.devnet.faults import CATALOGUE
from og_integrations.devnet.journal import Journal, Stats
from og_integrations.devnet.local_network import DEFAULT_CAP, Devnet
from og_integrations.devnet.marking import Mark
from og_integrations.devnet.model import Answer, Model, ModelCall, ModelRequest
from og_integrations.devnet.script import Script
from og_integrations.devnet.serving import serve
from og_integrations.devnet.upstream import Upstream
from og_integrations.devnet.verdict import MISBEHAVIOURS, Finding, Verdict
from og_integrations.devnet.wallet import Wallet

__all__ = [
    "Answer",
    "CATALOGUE",
    "DEFAULT_CAP",
    "Devnet",
    "Fault",
    "Finding",
    "Journal",
    "LocalEnclave",
    "MISBEHAVIOURS",
    "Mark",
    "Model",
    "ModelCall",
    "ModelRequest",
    "Script",
    "Stats",
    "Upstream",
    "Verdict",
    "Wallet",
    "serve",
]
