"""
Requests sealed to an enclave so that a relay cannot read them, and the answers opened again (RFC 9458).

| file | what it holds |
| --- | --- |
| `hpke` | encryption to a public key (RFC 9180) |
| `ohttp` | key configs, sealed requests, answers whole and streamed |
"""
