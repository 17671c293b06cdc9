"""
This package writes and reads contract calls in bytes.

| file | what it holds |
| --- | --- |
| `_keccak` | the hash of everything here, and of what enclaves sign |
| `_abi` | calls and answers of contracts, ERC-20 among them |
| `_eip712` | typed data, and the digest of it that is signed |
| `_ecrecover` | whose key made a signature |
| `_tensors` | numbers and texts of a model <-> the contract's exact decimals |
| `_inference` | calls of models; results in events, return data and the node's API |
| `_execution` | running a model's file on a request, and comparing the outputs |
| `_workflow` | models on price feeds: deployment, results, schedules |
"""
