"""This module has `ModelHub` and `Twins` of the published package, on the clients of `og_integrations.hub`."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import NoReturn, Unpack

from pydantic import SecretStr

from og_integrations.errors import ConfigurationError
from og_integrations.hub import ModelHub as HubClient
from og_integrations.hub import Twins as TwinsClient
from og_integrations.hub._clients import HubOptions
from og_integrations.hub._twins import TwinsOptions
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.sdk._errors import MissingFileError, OldErrors, WrongArgumentError, hidden
from og_integrations.sdk.types import FileUploadResult, ModelRepository, TextGenerationOutput


class ModelHub:
    """
    This is `ModelHub` as the published package has it; for new programs: `og_integrations.hub.ModelHub`.

    With an email it logs in at once. The key of the identity service is `OG_MODEL_HUB_API_KEY` or `FIREBASE_API_KEY`.
    Raises errors of this package, which are a `ValueError` or `RuntimeError` as well.
    """

    def __init__(
        self, email: str | None = None, password: str | SecretStr | None = None, **options: Unpack[HubOptions]
    ) -> None:
        password = hidden(password)
        if "api_key" in options:
            options["api_key"] = hidden(options["api_key"])
        with OldErrors():
            self.hub: HubClient = HubClient(email, password, **options)
            if email:
                self.hub.login()

    def create_model(self, model_name: str, model_desc: str, version: str = "1.00") -> ModelRepository:
        """Make a model with its first version; `initialVersion` is what the hub calls that, whatever `version` says."""
        with OldErrors():
            made = self.hub.create_model(model_name, model_desc)
        return ModelRepository(made.model, made.version)

    def create_version(self, model_name: str, notes: str = "", is_major: bool = False) -> dict[str, str]:
        """Make the next version of a model, and return its number as `{"versionString": …}`."""
        with OldErrors():
            return {"versionString": self.hub.create_version(model_name, notes, is_major=is_major).version}

    def upload(self, model_path: str | Path, model_name: str, version: str) -> FileUploadResult:
        """Send a file, compared with what the hub says it got. A missing one is a `FileNotFoundError` as well."""
        if not Path(model_path).is_file():
            raise MissingFileError(f"Model file not found: {model_path}. Nothing was sent.")
        with OldErrors():
            sent = self.hub.upload(model_path, model_name, version)
        return FileUploadResult(str(sent.file_id), sent.size)

    def list_files(self, model_name: str, version: str) -> list[JsonObject]:
        """Return the files of a version as dicts with `name` and `size`, and `ipfsCid` where the hub tells it."""
        with OldErrors():
            found = self.hub.list_files(model_name, version)
        known = [{"name": file.name, "size": file.size, "ipfsCid": file.file_id} for file in found]
        return [{name: value for name, value in file.items() if value is not None} for file in known]

    def close(self) -> None:
        """Close the connections."""
        self.hub.close()


class Twins:
    """This is `Twins` as the published package has it: nothing is awaited or paid, and nobody proves an answer."""

    def __init__(self, api_key: str | SecretStr | None = None, **options: Unpack[TwinsOptions]) -> None:
        api_key = hidden(api_key)
        with OldErrors():
            self.twins: TwinsClient = TwinsClient(api_key, **options)

    def chat(
        self,
        twin_id: str,
        model: str | Enum,
        messages: Sequence[JsonObject],
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> TextGenerationOutput:
        """Ask a twin; the receipt of what it says is `unverified`, and there is no `payment_hash`."""
        with OldErrors():
            found = self.twins.chat(twin_id, model, messages, temperature=temperature, max_tokens=max_tokens)
        return TextGenerationOutput(
            finish_reason=found.finish_reason,
            chat_output=found.message,
            usage=found.usage,
            receipt=found.receipt,
        )

    def close(self) -> None:
        """Close the connections."""
        self.twins.close()


class NoTwins:
    """It stands where twins would be, had their key been given; each use says so."""

    def __init__(self, reason: ConfigurationError) -> None:
        self._reason = str(reason)

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise WrongArgumentError(self._reason)
