"""`og-integrations serve`: an OpenAI-compatible server on this machine, for any language and any UI."""

import argparse
import secrets
from pathlib import Path

from og_integrations.cli._terminal import add_enclaves, enclave_policy_in
from og_integrations.errors import ConfigurationError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `serve`."""
    command.description = (
        "Serve OpenAI's chat completions on 127.0.0.1, each call paid and verified. Who pays and where: "
        "OG_PRIVATE_KEY, OG_NETWORK, … (see docs/settings.md)."
    )
    command.add_argument(
        "--port", type=int, default=8000, help="where to listen on 127.0.0.1 (default: %(default)s; 0: any)"
    )
    command.add_argument(
        "--keys", type=Path, metavar="FILE", help="the file of callers' keys; without it one key is made for this run"
    )
    command.add_argument("--new-key", metavar="NAME", help="make a key for NAME in the file, show it once, and end")
    command.add_argument("--limit", metavar="OPG", help="what the new key may spend in all (default: no limit)")
    command.add_argument("--total", metavar="OPG", help="what each key without a limit may spend in all")
    command.add_argument("--store", metavar="WHERE", help="where the budgets are kept, such as budget.sqlite")
    add_enclaves(command)
    command.epilog = (
        "Example: og-integrations serve --keys keys.json --new-key alice --limit 20; then "
        "og-integrations serve --keys keys.json --store budget.sqlite, and OPENAI_BASE_URL=http://127.0.0.1:8000/v1 "
        "with OPENAI_API_KEY=og-… for any client."
    )


def run(arguments: argparse.Namespace) -> int:
    """Make a key, or serve until interrupted. Raises `ConfigurationError`."""
    from og_integrations.serve._keys import Keys

    if arguments.new_key is not None:
        if arguments.keys is None:
            raise ConfigurationError("--new-key needs --keys FILE, where the hash of the key is kept.")
        _check_limit(arguments.limit)
        key = Keys.load(arguments.keys).add(arguments.new_key, arguments.limit)
        print(f"The key of {arguments.new_key}, shown this once: {key}")
        return 0
    if arguments.limit is not None:
        raise ConfigurationError("--limit is for --new-key NAME; what all keys may spend is --total.")
    _serve(arguments)
    return 0


def _serve(arguments: argparse.Namespace) -> None:
    from og_integrations.protocol.payment._policy import SpendPolicy
    from og_integrations.serve import Keys, application, listen
    from og_integrations.serve import run as run_server

    if arguments.keys is None:
        key = f"og-{secrets.token_urlsafe(32)}"
        keys = Keys.only(key)
    else:
        key, keys = "", Keys.load(arguments.keys)
        if not len(keys):
            raise ConfigurationError(f"{arguments.keys} holds no key. Make one: serve --keys FILE --new-key NAME.")
    policy = SpendPolicy.of({"total": arguments.total, "store": arguments.store})
    app = application(keys, spend_policy=policy, enclave_policy=enclave_policy_in(arguments))
    listening = listen(arguments.port)
    print(f"OPENAI_BASE_URL=http://127.0.0.1:{listening.getsockname()[1]}/v1", flush=True)
    print(f"OPENAI_API_KEY={key}" if key else f"{len(keys)} keys in {arguments.keys}", flush=True)
    run_server(app, listening)


def _check_limit(limit: str | None) -> None:
    """Raise `ConfigurationError` for a limit that is no amount: the key would not be bound by it."""
    from og_integrations.protocol.payment._policy import SpendPolicy

    SpendPolicy.of({"total": limit})
