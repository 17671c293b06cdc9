"""
This package says what the bytes mean: no sockets, clock, environment, randomness or frameworks in this package.

| room or file | what it holds |
| --- | --- |
| `chat` | requests and answers: wire types, validation, schemas, translation, streams |
| `proof` | canonical hashes, the numbered checks, enclaves and their registry |
| `payment` | x402 offers and headers, what is signed, policy, budget, sessions, the payment flow |
| `sealing` | requests sealed to an enclave, so that a relay cannot read them (OHTTP) |
| `chain` | contract calls in bytes |
| `_strict_json`, `_redact` | JSON that has one meaning; what of a gateway's text may stand in an error |
| `_file_ids` | what the id of a model's file says of its bytes |
| `_receipt` | the plain-JSON receipt of a call |
"""
