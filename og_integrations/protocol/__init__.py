"""
What the bytes mean: no sockets, clock, environment, randomness or frameworks in this package.

| file | document |
| --- | --- |
| `chat` | the gateway's requests and answers |
| `canonical` | request and output -> the bytes that are hashed |
| `answer`, `sse`, `assembly` | bodies of answers, whole or streamed -> a `Completion` |
| `verification` | the numbered verification; only it makes a `VerifiedReceipt` |
| `record` | a verified (or failed) call -> the plain-JSON receipt |
| `enclave`, `registry` | whom we accept; TEERegistry calls |
| `x402`, `permit2` | offers, payment headers; the typed data that is signed |
| `budget`, `payment_flow`, `sessions` | what may be spent; the pure payment flow; what it remembers |
| `settlement_mode` | what is published about a call |
| `presentation` | where what is shown differs from what was signed |
"""
