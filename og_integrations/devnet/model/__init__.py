"""
The model behind the devnet's gateways.

| file | what it holds |
| --- | --- |
| `model` | what any model is asked and answers |
| `script`, `schema_filler` | the scripted model; an instance of a JSON schema |
| `upstream` | any OpenAI-compatible server as the model |
"""
