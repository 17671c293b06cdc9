"""
The model behind a gateway: what reaches it, what it answers, and who makes it.

| file | what it holds |
| --- | --- |
| `_model` | what a model is asked and answers, and what every model is |
| `_script` | the scripted model, and the values it makes up for a JSON schema |
| `_upstream` | any OpenAI-compatible server as the model; what gateways forward to it |
"""

from og_integrations.devnet.model._model import Answer, Model, ModelCall, ModelRequest

__all__ = ["Answer", "Model", "ModelCall", "ModelRequest"]
