"""
This package pays for a call by x402 (docs/protocol.md §3).

| file | what it holds |
| --- | --- |
| `_x402` | offers, payment headers and sessions as a gateway speaks them; settlement modes |
| `schemes` | how an offer is paid: what the wallet signs, one module per scheme |
| `_policy` | what the owner allows: `SpendPolicy`, and the rules about whom to pay |
| `_budget` | what was authorized so far, held against the limits; what a `BudgetStore` must do |
| `_memory` | the store in the memory of one process |
| `_sharing` | how processes that share a store find each other's sessions, sealed |
| `_session` | THE state machine: one authorization from an offer to a session, and who shares it |
| `_lease` | what a scheme has to do for a request that is paid by it: the seam to the flow |
| `_upto` | the scheme `upto` behind that seam: parts in the sessions of `_session` |
| `_flow` | one request, paid if the gateway asks for it, by whichever scheme; the effects that it yields |
| `_reconcile` | what the chain says about old authorizations, given back to the budget |

To read it in one sitting, begin with the table in `_session`, then follow `_flow.payment_flow`.
"""
