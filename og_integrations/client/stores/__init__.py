"""
Where the budget of a wallet is kept.

| file | what it holds |
| --- | --- |
| `sqlite` | a budget in a file that processes of one machine share |
"""
