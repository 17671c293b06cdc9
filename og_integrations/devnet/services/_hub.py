"""
This is the model hub over a folder: `FOLDER/model/version/file`, with `model.json` beside the versions.

Files are called by their CID, as `ipfs add` makes it. That downloads exist at this path, and that lists have ids in
them, is our guess: nobody documents either.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from og_integrations.devnet._http import Reply, Request
from og_integrations.devnet._journal import Journal, ServiceCall, parsed
from og_integrations.devnet.chain.models import Models
from og_integrations.devnet.services._calls import (
    ArmedFaults,
    answered,
    cut_in_the_middle,
    garbage,
    record,
    told,
)
from og_integrations.devnet.services._identity import Identity
from og_integrations.protocol._file_ids import FileHash
from og_integrations.protocol._strict_json import JsonObject

API = "/api/v0"
OPAQUE_ID = "hJD2Ja3akZFt1A2LT-D_1oxOCz_OtuGYw4V9eE1m39M"
"""The form of a blob's id, which no hash of the file gives."""


class Shown(Protocol):
    """This is what a client says of a file that it moved."""

    @property
    def model(self) -> str:
        """Return the model."""
        ...

    @property
    def version(self) -> str:
        """Return its version."""
        ...

    @property
    def name(self) -> str:
        """Return the file's name at the hub."""
        ...

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of its bytes, hex."""
        ...

    @property
    def file_id(self) -> str | None:
        """Return what it is called."""
        ...

    @property
    def check(self) -> str:
        """Return `"pass"` if the client says that its bytes give its id."""
        ...


class HubService:
    """The hub keeps models in `folder`; uploaded `.onnx` files run, by their id, on the chain that `models` is of."""

    def __init__(
        self, folder: Path, identity: Identity, journal: Journal, faults: ArmedFaults, models: Models | None
    ) -> None:
        self.folder: Path = folder
        self._identity, self._journal, self._faults, self._models = identity, journal, faults, models
        for file in sorted(folder.glob("*/*/*")):
            self._offer(file.name, file.read_bytes())

    async def handle(self, request: Request) -> Reply:
        """Answer one request, to the hub or to its login."""
        if self._identity.serves(request.path):
            return self._identity.answer(request)
        shown = (request.header("authorization") or "").removeprefix("Bearer ")
        parts = [unquote(part) for part in request.path.removeprefix(API).strip("/").split("/")]
        what = _call_of(request.method, parts) if request.path.startswith(API) else None
        if what is None:
            return told(404, {"detail": "Not Found"})
        call = record(request, self._journal, what, shown, request.body)
        met = self._faults.met_by(what)
        call.faults += sorted(met)
        return answered(call, self._reply(request, what, parts, shown, met, call))

    def unsafe(self, transfers: Iterable[Shown]) -> list[str]:
        """Return the names of files that a client shows as proven, and that are not what it says."""
        found = []
        for shown in transfers:
            file = self._file(shown.model, shown.version, shown.name)
            content = file.read_bytes() if file.is_file() else b""
            truth = _hashed(content)
            if shown.check == "pass" and (shown.sha256, shown.file_id) != (truth.sha256, truth.cid):
                found.append(shown.name)
        return found

    def _reply(
        self, request: Request, what: str, parts: list[str], shown: str, met: set[str], call: ServiceCall
    ) -> Reply:
        if "hub_down" in met:
            return told(503, {"detail": "Service Unavailable"})
        if "revoked_token" in met:
            self._identity.revoke()
        if self._identity.owner_of(shown) is None:
            return told(401, {"detail": "Invalid or expired token"})
        if "hub_garbage" in met:
            return garbage()
        asked = parsed(request) if what in ("create", "version") else None
        content = asked if isinstance(asked, dict) else {}
        if what == "create":
            return self._create(content, met, call)
        if not (self.folder / parts[1]).is_dir():
            return told(404, {"detail": f"Model {parts[1]} not found"})
        if what == "version":
            return self._version(parts[1], content, met, call)
        if not (self.folder / parts[1] / parts[3]).is_dir():
            return told(404, {"detail": f"Version {parts[3]} not found"})
        if what == "upload":
            return self._upload(request, parts, met, call)
        if what == "list":
            files = sorted(item for item in (self.folder / parts[1] / parts[3]).iterdir() if item.is_file())
            return told(200, [self._told_of(item, met) for item in files])
        return self._download(parts, met)

    def _create(self, content: JsonObject, met: set[str], call: ServiceCall) -> Reply:
        name = content.get("name")
        if not isinstance(name, str) or not name or not isinstance(content.get("description"), str):
            return told(422, {"detail": "name and description are required"})
        place = self.folder / name
        if "/" in name or name.startswith(".") or place.exists():
            return told(409, {"detail": f"Model {name} exists, or cannot"})
        place.mkdir(parents=True)
        (place / "model.json").write_text(json.dumps(content))
        call.changed, call.lost = True, "lost_creation" in met
        return told(201, {"name": name})

    def _version(self, model: str, content: JsonObject, met: set[str], call: ServiceCall) -> Reply:
        known = [item.name.split(".") for item in (self.folder / model).iterdir() if item.is_dir()]
        major, minor = max(((int(a), int(b)) for a, b in known), default=(1, -1))
        major, minor = (major + 1, 0) if content.get("is_major") and known else (major, minor + 1)
        version = f"{major}.{minor:02}"
        (self.folder / model / version).mkdir()
        call.changed, call.lost = True, "lost_creation" in met
        if "unknown_version" in met:
            return told(201, {"id": 7})
        return told(201, {"versionString": version, "notes": content.get("notes", "")})

    def _upload(self, request: Request, parts: list[str], met: set[str], call: ServiceCall) -> Reply:
        found = _file_in(request)
        if found is None:
            return told(422, {"detail": "expected multipart/form-data with a field named file"})
        name, data = found
        if "truncated_upload" in met:
            data = data[: len(data) // 2]
        file = self._file(parts[1], parts[3], name)
        file.write_bytes(data)
        self._offer(name, data)
        call.changed, call.lost = True, "lost_upload" in met
        told_of = self._told_of(file, met)
        return told(200 if "upload_answers_200" in met else 201, {"ipfsCid": told_of["ipfsCid"], "size": len(data)})

    def _download(self, parts: list[str], met: set[str]) -> Reply:
        file = self._file(parts[1], parts[3], parts[5])
        if not file.is_file():
            return told(404, {"detail": f"File {parts[5]} not found"})
        data = bytearray(file.read_bytes())
        if "changed_file" in met and data:
            data[len(data) // 2] ^= 1
        wire = cut_in_the_middle if "cut_download" in met else None
        return Reply(status=200, headers=[("Content-Type", "application/octet-stream")], body=bytes(data), wire=wire)

    def _told_of(self, file: Path, met: set[str]) -> JsonObject:
        content = file.read_bytes()
        file_id = _hashed(content + b"another" if "wrong_file_id" in met else content).cid
        return {
            "name": file.name,
            "size": len(content),
            "ipfsCid": OPAQUE_ID if "opaque_file_id" in met else file_id,
        }

    def _file(self, model: str, version: str, name: str) -> Path:
        return self.folder / os.path.basename(model) / os.path.basename(version) / os.path.basename(name)

    def _offer(self, name: str, content: bytes) -> None:
        """Let models on chain be run by the ids that the hub gives them."""
        if self._models is not None and name.endswith(".onnx"):
            self._models.add(content, _hashed(content).cid)


def _call_of(method: str, parts: list[str]) -> str | None:
    """Return what is asked for: `parts` are those of models/NAME/versions/VERSION/files/FILE."""
    names = [parts[at] for at in range(0, len(parts), 2)]
    if names != ["models", "versions", "files"][: len(names)] or "" in parts or ".." in parts:
        return None
    calls = {("POST", 1): "create", ("POST", 3): "version", ("POST", 5): "upload", ("GET", 5): "list"}
    return "download" if (method, len(parts)) == ("GET", 6) else calls.get((method, len(parts)))


def _file_in(request: Request) -> tuple[str, bytes] | None:
    """Return name and bytes of the field `file` of a form, None if there is none."""
    kind = request.header("content-type") or ""
    _, marked, boundary = kind.partition("boundary=")
    if not kind.startswith("multipart/form-data") or not marked:
        return None
    edge = b"--" + boundary.strip('"').encode()
    for piece in request.body.split(edge)[1:-1]:
        head, found, data = piece.partition(b"\r\n\r\n")
        if found and b'name="file"' in head and b'filename="' in head:
            name = head.split(b'filename="', 1)[1].split(b'"', 1)[0].decode()
            return os.path.basename(name), data.removesuffix(b"\r\n")
    return None


def _hashed(content: bytes) -> FileHash:
    made = FileHash()
    made.update(content)
    return made
