"""
The gateway of the devnet, from the socket to the signed answer.

| file | what it holds |
| --- | --- |
| `server`, `http` | an HTTP server in a thread of its own; the requests and answers that it passes on |
| `site`, `gateway` | one enclave with all around it; routes and the order of checks |
| `request_schema` | which request bodies the gateway accepts |
| `answers`, `output` | an accepted request becomes a signed answer, whole or streamed |
| `enclave`, `data_settlement` | keys and signatures; what is published about an answer |
| `stranger` | the host that a redirect leads to |
"""
