"""
Every way in which the devnet can lie or break, by name.

| file | what it holds |
| --- | --- |
| `catalogue`, `fault` | all faults by name; what a fault is |
| `trust`, `payments`, `answers`, `streams`, `wire` | the faults |
| `chain` | faults of the chain, its node and its models |
"""
