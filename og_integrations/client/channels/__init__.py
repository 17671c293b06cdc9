"""
How a request reaches an enclave.

| file | what it holds |
| --- | --- |
| `tls` | the handshake that accepts exactly one certificate |
| `pool` | HTTP exchanges over our own connections |
| `lent` | HTTP exchanges over a user's own httpx client |
| `connections` | one transport per certificate and event loop |
"""
