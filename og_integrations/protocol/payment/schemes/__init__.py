"""
The ways to pay beside `upto`, as bytes.

| file | what it holds |
| --- | --- |
| `batch_settlement` | payment channels: what is signed, what is sent, what a gateway's correction must prove |
"""
