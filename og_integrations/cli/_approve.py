"""`og-integrations approve`: allow Permit2 to take OPG, once per wallet. Shows first, asks, then sends."""

import argparse
import sys

from og_integrations.cli._terminal import DEFAULT_MODEL, opg, printable, seconds
from og_integrations.client import ApprovalProgress, Client, Engine
from og_integrations.client._wallet import price_of
from og_integrations.client.chain._approval import LEAST_ALLOWANCE, ApprovalPlan, plan_approval, read_amounts
from og_integrations.client.chain._jsonrpc import Reader
from og_integrations.errors import ConfigurationError
from og_integrations.networks import format_opg

_UNLIMITED = 2**160


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `approve`."""
    command.description = (
        "Ask a gateway how much it needs (by an unpaid request that says 'ping'), show what allowing that would do and "
        "cost, ask, and send the one transaction that needs gas. Exit code: 0 it is "
        "allowed, 1 it is not, 2 it could not be tried, as without a terminal to ask in."
    )
    command.add_argument(
        "--allowance",
        type=opg,
        metavar="OPG",
        help="do nothing if this much is allowed (default: what a gateway asks to authorize, 0.1 to 5)",
    )
    command.add_argument("--amount", type=opg, metavar="OPG", help="to approve (default: twice the allowance)")
    command.add_argument("--yes", action="store_true", help="send it without asking")
    command.add_argument("--timeout", type=seconds, default=120.0, metavar="SECONDS", help="wait for it (default: 120)")


def run(arguments: argparse.Namespace) -> int:
    """
    Show what would be sent; send it after a yes. 1 if that did not come.

    Raises `ConfigurationError` where nobody can be asked: without a terminal, only `--yes` sends.
    """
    if arguments.allowance is not None:
        _check_amounts(arguments.allowance, arguments.amount)
    with Client() as client, Reader() as reader:
        settings = client.engine.settings
        allowance = arguments.allowance or _asked(client.engine)
        _check_amounts(allowance, arguments.amount)
        plan = reader.run(plan_approval(settings, allowance, arguments.amount))
        print(f"wallet      {plan.owner} on {printable(settings.network.name)}")
        print(f"allowed     {_shown(plan.allowance)}")
        if plan.transaction is None:
            print(f"Nothing to do: at least {allowance} OPG are allowed.")
            return 0
        _show(plan)
        if not arguments.yes and not _agreed():
            print("Nothing was sent.")
            return 1
        done = client.ensure_opg_approval(
            allowance,
            format_opg(plan.amount),
            timeout=arguments.timeout,
            on_progress=_report,
            max_cost=plan.max_cost,
        )
    print(f"allowed now {_shown(done.allowance_after)}")
    if done.tx_hash and settings.network.explorer_url:
        print(f"            {settings.network.explorer_url}/tx/{done.tx_hash}")
    return 0


def _check_amounts(allowance: str, amount: str | None) -> None:
    # These errors name what can be typed here; those of the plan, which reads them too, a program's arguments.
    read_amounts(allowance, amount, names=("--allowance", "--amount"))


def _asked(engine: Engine) -> str:
    """Return how much OPG an enclave asks to authorize, by an unpaid request; raises what `price_of` does."""
    engine.settings.require_signer()
    amount = price_of(engine, DEFAULT_MODEL).amount
    print(f"asked       {format_opg(amount)} OPG for one authorization, by a gateway")
    return format_opg(max(amount, LEAST_ALLOWANCE))


def _show(plan: ApprovalPlan) -> None:
    print(f"owns        {format_opg(plan.balance)} OPG, {format_opg(plan.native)} ETH")
    print(f"to approve  {_shown(plan.amount)}" + (" (all that the wallet owns)" if plan.capped else ""))
    print(f"gas         at most {format_opg(plan.max_cost)} ETH, besides what the chain asks for its data")


def _shown(amount: int) -> str:
    return "everything" if amount >= _UNLIMITED else f"{format_opg(amount)} OPG"


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "Nothing was sent: there is no terminal to ask in. To send it, say the same with --yes."
        )
    try:
        return input("Send it? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        # Ctrl-D leaves the cursor behind the question.
        print()
        return False


def _report(progress: ApprovalProgress) -> None:
    if progress.step == "sent":
        print(f"sent        {progress.transaction_hash}", flush=True)
    elif progress.step != "waiting":
        print(f"{progress.step:<12}after {progress.seconds:.1f} s", flush=True)
