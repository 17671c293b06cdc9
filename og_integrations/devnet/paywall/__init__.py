"""
The payment layer of the devnet's gateway sees every request to a paid path first (docs/protocol.md §3).

A payment session is one signed authorization, many answers, one settlement (docs/protocol.md §3.4, §3.6, §3.7). It is
looked at before a payment. Whatever the gateway answers afterwards carries X-Upto-Session; only an
answer with status 2xx and usage is charged. The offer of the 402 has, byte for byte, the shape of the real one
(docs/protocol.md §3.1).

| file | what it holds |
| --- | --- |
| `_paywall` | offers, sessions, and what is charged for an answer |
| `_facilitator` | the x402 facilitator, which verifies and settles |
"""

from og_integrations.devnet.paywall._paywall import offer, requirement

__all__ = ["offer", "requirement"]
