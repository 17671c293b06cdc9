"""`og-integrations completion` prints what makes a shell complete commands and flags."""

import argparse

from og_integrations.errors import ConfigurationError

_SHELLS = ("bash", "zsh")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `completion`."""
    command.description = "Print the completion of these commands for a shell; needs the extra completion."
    command.add_argument("shell", choices=_SHELLS, help="the shell")


def run(arguments: argparse.Namespace) -> int:
    """Print it. Raises `ConfigurationError` without shtab."""
    from og_integrations.cli._entry import COMMANDS, module_of, parser_of

    try:
        import shtab
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            'Shell completion needs shtab, which is not installed. Run: pip install "og-integrations[completion]"'
        ) from exc
    print(shtab.complete(parser_of({name: module_of(name) for name in COMMANDS}), shell=arguments.shell))
    return 0
