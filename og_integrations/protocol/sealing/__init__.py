"""
This package seals requests to an enclave so that a relay cannot read them, and opens the answers (RFC 9458).

| file | what it holds |
| --- | --- |
| `_hpke` | encryption to a public key (RFC 9180) |
| `_ohttp` | key configs, sealed requests, answers whole and streamed |
"""
