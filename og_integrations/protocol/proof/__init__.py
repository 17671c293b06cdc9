"""
This package proves an answer: what is hashed, who signed it, and who may sign (docs/protocol.md §4, §9).

| file | what it holds |
| --- | --- |
| `_canonical` | the bytes of request and output that are hashed, and the nonce that ties them to one call |
| `_verification` | the ten numbered steps; the only maker of a verified exchange |
| `_enclave`, `_registry` | which enclaves are accepted; calls of the TEERegistry |
| `_measurements` | the builds and roots that an owner pins |
| `_attestation`, `_cbor` | the ten steps from an enclave's own document to AWS's root; the encoding of documents |
| `_inclusion` | a receipt's place in a published batch |
"""
