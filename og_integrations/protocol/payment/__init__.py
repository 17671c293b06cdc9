"""
Payment of a call by x402 (PROTOCOL §3).

| file | what it holds |
| --- | --- |
| `x402` | the offer of a 402, payment headers, settlement modes |
| `permit2` | what a wallet signs for the schemes `upto` and `exact` |
| `eip712` | typed data, and the digest of it that is signed |
| `schemes` | other ways to pay, as bytes |
| `policy` | what the owner allows: `SpendPolicy`, and the rule about who may be paid |
| `budget` | what was authorized so far, held against the limits |
| `session` | signed authorizations and the sessions that they opened |
| `effects` | what the flow asks the outside to do: send, receive, ask the owner, sign, wait |
| `flow` | one request, paid if the gateway asks for it |
| `reconcile` | what the chain says about old authorizations, given back to the budget |
"""
