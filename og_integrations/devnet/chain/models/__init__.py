"""
The models that the devnet's node knows, by id: the hash of a file, as the network's blob ids look, or its name.

`volatility` is written by `tests/onchain/onnx_file.py`: it takes the candles that the public model of ETH's
volatility takes (input `open_high_low_close` [10, 4], output `Y` [1]).
"""

import base64
import hashlib
from pathlib import Path

from og_integrations.protocol.chain._execution import ModelFile

FOLDER = Path(__file__).parent


def model_id(content: bytes) -> str:
    """Return the id of a model's file: unpadded base64url of its SHA-256, 43 characters."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


VOLATILITY = model_id((FOLDER / "volatility.onnx").read_bytes())


class Models:
    """The `.onnx` files of some folders; more may be added while the devnet runs."""

    def __init__(self, *folders: str | Path) -> None:
        self._files: dict[str, bytes] = {}
        self._loaded: dict[str, ModelFile] = {}
        for folder in (FOLDER, *map(Path, folders)):
            for path in sorted(folder.glob("*.onnx")):
                content = path.read_bytes()
                self._files[path.stem] = content
                self.add(content)

    def add(self, content: bytes, *names: str) -> str:
        """Take one more model, which is found by `names` as well, and return its id."""
        identity = model_id(content)
        self._files |= dict.fromkeys((identity, *names), content)
        return identity

    def find(self, model_cid: str) -> ModelFile | None:
        """Return the model of that id or name, ready to run. Raises as `ModelFile` does."""
        content = self._files.get(model_cid)
        if content is None:
            return None
        if model_cid not in self._loaded:
            self._loaded[model_cid] = ModelFile(content)
        return self._loaded[model_cid]
