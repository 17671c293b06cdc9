"""
What the bytes mean: no sockets, clock, environment, randomness or frameworks in this package.

| asking and answering | |
| --- | --- |
| `strict_json` | JSON that means one thing only |
| `chat`, `validation` | the gateway's requests and answers; what it would refuse or drop, refused first |
| `translation`, `strict_schema` | tools and schemas in words that the gateway honours |
| `answer`, `sse`, `assembly` | bodies of answers, whole or streamed -> a `Completion` |
| `presentation` | where what is shown differs from what was signed |

| proving | |
| --- | --- |
| `canonical` | request and output -> the bytes that are hashed |
| `enclave`, `registry` | whom we accept; TEERegistry calls |
| `verification`, `checks` | the nine steps, and their verdicts; the only maker of a `VerifiedReceipt` |
| `receipt` | a verified (or failed) call -> the plain-JSON receipt |
| `tracing` | the receipt on an OpenTelemetry span |
| `signed_payment` | the payment of a receipt that a stranger may have written, read back |

| paying | |
| --- | --- |
| `x402`, `permit2` | offers, payment headers; the typed data that is signed |
| `spend_policy`, `payees` | what the owner allows; whom a wallet pays where he names nobody |
| `account`, `budget`, `amounts` | what was authorized, counted in base units |
| `effects` | what a payment asks the outside to do: send, ask the owner, sign, wait |
| `payment_flow`, `signing`, `quoting` | one paid request; leave and signature; what errors may quote |
| `sessions`, `routes` | what a wallet remembers between calls, and what a session is bound to |
| `reclaiming`, `asking_turns` | giving back what the chain says was not taken; whose turn it is to ask |
| `settlement`, `abi`, `erc20` | reading the chain: what became of an authorization |
| `settlement_mode` | what is published about a call |
"""
