"""
This package holds requests and answers of the gateway (docs/protocol.md §2, §4).

| file | what it holds |
| --- | --- |
| `wire` | the types of requests and answers, and the checks that a request must pass before it is paid |
| `schemas` | JSON schemas and the strict subset that providers accept |
| `translation` | tools and schemas in a form that the gateway honours; how the shown text differs from the signed one |
| `answers` | the body of an answer, whole or in pieces, as a `Completion` |
| `sse` | the lines of a stream as events |
"""
