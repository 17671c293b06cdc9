"""
How a request reaches an enclave.

| file | what it holds |
| --- | --- |
| `channel` | the interface: destinations, requests, replies, and what a failure below means |
| `connections`, `streams` | the gate, one channel per destination and loop, its connections; the bytes of one |
| `httpx_client` | a user's own httpx client |
| `tls` | the handshake that accepts exactly one certificate |
| `logs` | what must not come into the logs of the libraries below |
"""
