"""
What the values of flags may be. argparse puts the flag in front of the message of what is raised here.
"""

import argparse

from og_integrations.errors import ConfigurationError


def whole(text: str) -> int:
    """Return a number of at most nine digits, -1 for anything else."""
    return int(text) if text.isdecimal() and len(text) <= 9 else -1


def port(text: str) -> int:
    """Return a TCP port."""
    if not 0 <= whole(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Return a time to wait."""
    from og_integrations.client._settings import check_seconds

    try:
        return check_seconds("the time to wait", float(text))
    except (ValueError, ConfigurationError) as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no time to wait; expected seconds above 0") from exc


def count(text: str) -> int:
    """Return a number of gateways."""
    if not 1 <= whole(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of gateways; expected 1 to 100")
    return int(text)


def opg(text: str) -> str:
    """Return an amount of OPG, as text, that is one."""
    from og_integrations.protocol.payment.policy import parse_opg

    try:
        base_units = parse_opg(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    if base_units >= 2**256:
        raise argparse.ArgumentTypeError(f"{text!r} OPG is more than any chain can count")
    return text


def model(text: str) -> str:
    """Return a model's name; only the gateway knows which there are."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no model; expected a name such as anthropic/claude-sonnet-4-6")
    return text


def folder(text: str) -> str:
    """Return a folder's name. `Path` takes none for the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("'' is no folder; the current one is .")
    return text


def url(text: str) -> str:
    """Return the address of a server. It may hold a key of a node's provider: it is not repeated in the error."""
    from og_integrations.client._settings import check_server

    try:
        return check_server("this", text)
    except ConfigurationError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
