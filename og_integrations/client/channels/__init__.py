"""
This package carries a request to an enclave.

| file | what it holds |
| --- | --- |
| `_channel` | the interface: destinations, requests, replies, and what a failure below means |
| `_connections` | one channel per destination and loop |
| `_gate` | how many calls are made at once, and who waits |
| `_pool`, `_streams`, `_http1` | our own connections, the bytes of one, and what HTTP says of them |
| `_httpx_client` | a user's own httpx client |
| `_addresses` | where a URL leads to, and what of it may be shown |
| `_sealed`, `_relay` | requests sealed for the enclave, and who carries them |
| `_tls` | the handshake that accepts exactly one certificate |
| `_logs` | what must not come into the logs of the libraries below |
"""
