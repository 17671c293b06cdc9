"""
A gateway of the devnet turns an HTTP request into a paid and signed answer.

| file | what it holds |
| --- | --- |
| `_gateway` | one enclave with all around it; routes and the order of checks; the target of redirects |
| `_acceptance` | which requests the gateway accepts: schema, attachments, moderation |
| `_answers` | an accepted request becomes a signed answer, whole or streamed |
| `_search` | web searches and what they find |
| `_relay` | who carries sealed requests, and pays for them |
| `_data_settlement` | what is published about an answer |
"""
