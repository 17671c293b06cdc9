"""
What the devnet thinks of its client.

| file | what it holds |
| --- | --- |
| `journal`, `entries` | what the devnet saw; a request as it is written there |
| `verdict`, `judge` | findings by name; the journal judged |
| `claims` | what the client says about its calls, compared with the journal |
"""
