"""
The payment layer of the devnet's gateway (PROTOCOL §3).

| file | what it holds |
| --- | --- |
| `paywall`, `pricing` | the 402 and the checks of a payment; what a call costs |
| `sessions`, `facilitator` | paid sessions; the x402 facilitator that settles them |
"""
