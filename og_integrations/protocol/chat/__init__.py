"""
This package holds requests and answers of the gateway (docs/protocol.md §2, §4).

| file | what it holds |
| --- | --- |
| `_wire` | the types of requests and answers, and the checks that a request must pass before it is paid |
| `_dialect` | JSON schemas of any draft, brought into the one dialect that providers take |
| `_schemas` | JSON schemas and the strict subset that providers accept |
| `_translation` | tools and schemas as the gateway honours them; how the shown text differs from the signed one |
| `_failures` | what a gateway says of an answer that failed, and the error that it means |
| `_answers` | the body of an answer, whole or in pieces, as a `Completion` |
| `_sse` | the lines of a stream as events |
"""
