"""`og-integrations hub` works with models at the model hub: create, version, upload, list, download."""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict

from pydantic import SecretStr

from og_integrations.cli._terminal import folder, printable
from og_integrations.errors import ConfigurationError, InvalidRequestError
from og_integrations.hub import HubFile, ModelHub, ModelVersion, Transfer

_PASSWORD = "OG_MODEL_HUB_PASSWORD"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `hub`."""
    command.description = (
        "Keep models at the model hub. Who logs in: OG_MODEL_HUB_EMAIL (or --email), OG_MODEL_HUB_PASSWORD (else it "
        "is asked for at a terminal) and OG_MODEL_HUB_API_KEY. Nothing is paid. Exit code: 0 it went well, 1 it did "
        "not, 2 it could not be tried."
    )
    command.add_argument("--email", metavar="EMAIL", help="who logs in (default: OG_MODEL_HUB_EMAIL)")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    _action(actions, "create", "make a model with its first version", "model").add_argument(
        "-d", "--description", default="", metavar="TEXT", help="what it is"
    )
    version = _action(actions, "version", "make the next version of a model", "model")
    version.add_argument("-n", "--notes", default="", metavar="TEXT", help="what is new in it")
    version.add_argument("--major", action="store_true", help="2.00 after 1.07")
    _action(actions, "upload", "send a file, and compare what the hub has got", "file", "model", "version")
    _action(actions, "list", "show the files of a version", "model", "version")
    download = _action(actions, "download", "fetch a file, and compare it with its id", "model", "version", "name")
    download.add_argument("--to", type=folder, default=".", metavar="PLACE", help="the folder or file (default: here)")
    download.add_argument("--sha256", metavar="HEX", help="refuse the file if it has another one")
    download.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, about: str, *words: str
) -> argparse.ArgumentParser:
    made = actions.add_parser(name, help=about, description=f"{about.capitalize()}.")
    for word in words:
        made.add_argument(word, metavar=word.upper())
    made.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked, and show it. Raises `HubError` and other errors of ours."""
    changes = arguments.action in ("create", "version", "upload")
    with ModelHub(arguments.email, _asked_password(required=changes)) as hub:
        try:
            done = _ACTIONS[arguments.action](hub, arguments)
        except InvalidRequestError as exc:
            raise ConfigurationError(str(exc)) from exc
    shown = {"files": [asdict(file) for file in done]} if isinstance(done, list) else asdict(done)
    if arguments.json:
        print(json.dumps(shown))
        return 0
    for line in shown.get("files", [shown]):
        print("  ".join(f"{name} {printable(str(value))}" for name, value in line.items() if value is not None))
    if isinstance(done, Transfer) and done.check != "pass":
        print(f"not compared: {printable(done.detail)}", file=sys.stderr)
    return 0


def _asked_password(*, required: bool) -> SecretStr | None:
    """Return the password typed at a terminal, None where the variable has it, or nobody is there to ask."""
    from og_integrations.client._settings import hub_settings

    settings = hub_settings()
    if settings.password is not None or not required or settings.api_key is None or not sys.stdin.isatty():
        return None
    return SecretStr(getpass.getpass(f"Password for the model hub (or set {_PASSWORD}): "))


class Bar:
    """A bar shows on standard error how much of a file has passed, where that is a terminal; else each tenth."""

    def __init__(self, what: str) -> None:
        self._what, self._tenth = what, -1
        self._terminal = sys.stderr.isatty()

    def tell(self, done: int, total: int) -> None:
        """Show it."""
        tenth = done * 10 // total if total else 0
        if not self._terminal and tenth == self._tenth:
            return
        self._tenth = tenth
        ending = "\r" if self._terminal and done != total else "\n"
        part = f"{done * 100 // total} %" if total else "?"
        print(f"{self._what}  {done} of {total or '?'} bytes  {part}", end=ending, file=sys.stderr, flush=True)


def _upload(hub: ModelHub, arguments: argparse.Namespace) -> Transfer:
    bar = Bar(f"sent {printable(os.path.basename(arguments.file))}")
    return hub.upload(arguments.file, arguments.model, arguments.version, progress=bar.tell)


def _download(hub: ModelHub, arguments: argparse.Namespace) -> Transfer:
    bar = Bar(f"got {printable(arguments.name)}")
    return hub.download(
        arguments.model,
        arguments.version,
        arguments.name,
        arguments.to,
        sha256=arguments.sha256,
        overwrite=arguments.overwrite,
        progress=bar.tell,
    )


_ACTIONS: dict[str, Callable[[ModelHub, argparse.Namespace], ModelVersion | Transfer | list[HubFile]]] = {
    "create": lambda hub, asked: hub.create_model(asked.model, asked.description),
    "version": lambda hub, asked: hub.create_version(asked.model, asked.notes, is_major=asked.major),
    "upload": _upload,
    "list": lambda hub, asked: hub.list_files(asked.model, asked.version),
    "download": _download,
}
