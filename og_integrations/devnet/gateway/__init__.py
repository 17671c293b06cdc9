"""
A gateway of the devnet turns an HTTP request into a paid and signed answer.

| file | what it holds |
| --- | --- |
| `gateway` | one enclave with all around it; routes and the order of checks; the target of redirects |
| `acceptance` | which requests the gateway accepts: schema, attachments, moderation |
| `answers` | an accepted request becomes a signed answer, whole or streamed |
| `search` | web searches and what they find |
| `data_settlement` | what is published about an answer |
"""
