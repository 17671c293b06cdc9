"""`og-integrations twins chat`: ask a digital twin once, and show its answer with its receipt."""

import argparse
import json
import sys

from og_integrations.cli._ask import show_receipt
from og_integrations.cli._terminal import DEFAULT_MODEL, count_of, model, printable, read_input
from og_integrations.errors import ConfigurationError, InvalidRequestError
from og_integrations.hub import Twins


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `twins`."""
    command.description = (
        "Chat with digital twins, whose answers nobody signs: receipts say `unverified`. The key is in "
        "OG_TWINS_API_KEY. Exit code: 0 an answer came, 1 it did not, 2 it could not be tried."
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    chat = actions.add_parser("chat", help="ask a twin once", description="Ask a twin once.")
    chat.add_argument("twin", metavar="TWIN", help="its id, 0x and 32 hex digits")
    chat.add_argument("prompt", metavar="PROMPT", help="what to say; - for standard input")
    chat.add_argument("--model", type=model, default=DEFAULT_MODEL, help="which model speaks (default: %(default)s)")
    chat.add_argument("--max-tokens", type=count_of, metavar="N", help="most tokens to answer with")
    chat.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(arguments: argparse.Namespace) -> int:
    """Ask, and show the answer. Raises `TwinsError` and other errors of ours."""
    prompt = read_input("-").decode(errors="replace") if arguments.prompt == "-" else arguments.prompt
    if not prompt.strip():
        raise ConfigurationError("There is nothing to ask: the prompt is empty. Nothing was sent.")
    messages = [{"role": "user", "content": prompt}]
    with Twins() as twins:
        try:
            found = twins.chat(arguments.twin, arguments.model, messages, max_tokens=arguments.max_tokens)
        except InvalidRequestError as exc:
            raise ConfigurationError(str(exc)) from exc
    if arguments.json:
        print(json.dumps({"text": found.text, "finish_reason": found.finish_reason, "receipt": found.receipt}))
        return 0
    print(printable(found.text))
    print()
    show_receipt(found.receipt)
    print("nobody signs what a twin says", file=sys.stderr)
    return 0
