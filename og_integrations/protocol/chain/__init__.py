"""
Contract calls in bytes.

| file | what it holds |
| --- | --- |
| `abi` | calls and answers of contracts, ERC-20 among them |
"""
