"""`og-integrations cookbook` copies the example programs and notebooks out of the installed package."""

import argparse
import shutil
from pathlib import Path

import og_integrations
from og_integrations.cli._terminal import folder
from og_integrations.errors import ConfigurationError

_PACKAGE = Path(og_integrations.__file__).parent
_PLACES = (_PACKAGE / "_cookbook", _PACKAGE.parent / "cookbook")
"""Where the wheel has it, and where a clone has it."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `cookbook`."""
    command.description = (
        "Copy the example programs and notebooks to a folder, which must be new or empty. Each runs on the devnet: "
        "start it in another terminal, and copy its lines."
    )
    command.add_argument("folder", nargs="?", type=folder, default="cookbook", help="where to (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Copy them. Raises `ConfigurationError` where something is there, or nothing can be written."""
    source = next((place for place in _PLACES if place.is_dir()), None)
    if source is None:
        raise ConfigurationError("This installation of og-integrations has no cookbook in it. Nothing was copied.")
    target = Path(arguments.folder)
    try:
        if target.exists() and any(target.iterdir()):
            raise ConfigurationError(f"{target} has files in it: name a folder that is new or empty.")
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    except OSError as exc:
        raise ConfigurationError(f"The cookbook could not be copied to {target}: {exc}.") from exc
    files = sorted(path.relative_to(target) for path in target.rglob("*") if path.suffix in (".py", ".ipynb"))
    print(f"{len(files)} programs and notebooks are in {target}. The first:\n")
    print(f"  python {target / files[0]}")
    return 0
