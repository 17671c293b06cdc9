"""
A `Judgement` says what a client did wrong: a list of named findings, empty for one that behaved.

The names and what they mean are `MISBEHAVIOURS`.

| file | what it holds |
| --- | --- |
| `_judgement` | the judgement, its findings, and the names that these have |
| `_judge` | what a server can see by itself, and the judgement over all |
| `_services` | what the model hub and its login saw |
| `_claims` | what the client says about its calls, compared with the journal |
"""

from og_integrations.devnet.verdict._judgement import MISBEHAVIOURS, Finding, Judgement

__all__ = ["Finding", "Judgement", "MISBEHAVIOURS"]
