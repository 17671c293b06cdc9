"""
The main job, `make demo`: an agent whose every model call is attested, paid, and provable later.

Starts the devnet as a process of its own; OG_DEVNET_GENERATION (`april`, …, `newest`) says which generation of
gateways it plays. To run against a real network instead, set OG_NETWORK
(`base`, `base-sepolia`) and OG_PRIVATE_KEY to a wallet with OPG that has approved Permit2.

With `--onchain` (`make demo ONCHAIN=1`) a model on chain is one of the agent's tools; the devnet's chain is then a real
EVM, which needs npm.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.tools import BaseTool, tool
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from og_integrations import OpenGradientError, Receipt, collect_receipts
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.langchain import ChatOpenGradient, onchain_tool
from og_integrations.networks import format_opg
from og_integrations.onchain import OnchainClient, model_tool

COMMAND = [sys.executable, "-m", "og_integrations"]
MODEL, OTHER_MODEL = "anthropic/claude-sonnet-4-6", "openai/gpt-5.2"
QUESTION = "What is the price of OPG, and what is my balance of it?"
ECHO = "Repeat: each answer is signed by the enclave that made it."
MAX_TURNS = 5

if hasattr(sys.stdout, "reconfigure"):
    sys.stdout.reconfigure(errors="replace")  # terminals that are not UTF-8
console = Console(width=80, highlight=False)


@tool
def get_price(token: str) -> str:
    """Return the price of a token in dollars."""
    return f"1 {token} = 0.10 dollars"


@tool
def get_balance(token: str) -> str:
    """Return how much of a token the user owns."""
    return f"you own 420 {token}"


def volatility_of(chain: OnchainClient) -> BaseTool:
    """Return a model on chain as a tool; the application has the candles, the agent says of what."""

    def candles(token: str) -> list[list[float]]:
        return [[0.1, 0.102, 0.099, 0.1]] * 10

    bound = {"open_high_low_close": candles}
    return onchain_tool(model_tool(chain, VOLATILITY, bound=bound, name="get_volatility"))


TOOLS: dict[str, BaseTool] = {"get_price": get_price, "get_balance": get_balance}


@dataclass
class Network:
    """Where the demo runs. `account` is what the devnet's paywall says when it has ended."""

    process: subprocess.Popen[str] | None = None
    account: dict[str, Any] | None = None
    pacing: str = ""
    enclave_policy: dict[str, Any] | None = None

    def end(self) -> None:
        """End the devnet: it settles its sessions and gives account of them."""
        if self.process is not None:
            out, _ = self.process.communicate("", timeout=30)
            self.account = json.loads(out or '{"problem": "the devnet broke off"}')
            self.process = None


@contextmanager
def network(*, onchain: bool = False) -> Iterator[Network]:
    """Start a devnet and set the environment, unless a real network is set."""
    name = os.environ.get("OG_NETWORK", "devnet")
    if name != "devnet" and (os.environ.get("OG_PRIVATE_KEY") or os.environ.get("OPENGRADIENT_PRIVATE_KEY")):
        console.print(f"Network [bold]{name}[/]: this spends real OPG of your wallet.\n")
        yield Network()
        return
    console.print("Starting the devnet: chain, registry, enclave and gateway, with TLS …")
    generation = os.environ.get("OG_DEVNET_GENERATION", "april")
    command = [*COMMAND, "devnet", "--port", "0", "--opg", "10", "--generation", generation, "--json", "--until-eof"]
    command += ["--evm", "anvil"] if onchain else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = json.loads(_line(process.stdout))
            os.environ.pop("OG_GATEWAY_URL", None)
            os.environ.update(ready["environment"])
            console.print(f"  gateway  {ready['gateways'][0]['endpoint']} (a scripted model plays the LLM)")
            console.print(f"  registry {ready['registry_address']} at {ready['rpc_url']}")
            console.print(f"  wallet   {ready['wallet']}, {ready['opg']} OPG\n")
            # The script's pauses make visible that text comes as it is made.
            # The builds to pin and the devnet's own root, which takes the place of AWS's.
            yield Network(process, pacing=" [[delay=80]]", enclave_policy=ready["enclave_policy"])
        finally:
            process.terminate()


def _line(stream: IO[str] | None) -> str:
    line = stream.readline() if stream is not None else ""
    if not line:
        sys.exit("The devnet did not start; its message is above.")
    return line


def answer(model: ChatOpenGradient, question: str) -> None:
    """Let the model call tools until it answers; the answer is settled individually."""
    messages: list[BaseMessage] = [HumanMessage(question)]
    agent = model.bind_tools(list(TOOLS.values()))
    for _ in range(MAX_TURNS):
        # "individual" publishes this exchange in clear, and is what has a transaction hash at once.
        mode = "batch" if len(messages) == 1 else "individual"
        reply = AIMessageChunk(content="")
        for chunk in agent.stream(messages, settlement_mode=mode):
            console.print(chunk.text, end="", style="bold", markup=False, soft_wrap=True)
            sys.stdout.flush()
            reply += chunk
        messages.append(reply)
        if not reply.tool_calls:
            console.print()
            return
        for call in reply.tool_calls:
            result = TOOLS[call["name"]].invoke(call)
            arguments = ", ".join(f"{name}={value!r}" for name, value in call["args"].items())
            console.print(f"  calls {call['name']}({arguments}) -> {result.content}", style="cyan", markup=False)
            messages.append(result)
    sys.exit(f"No answer after {MAX_TURNS} turns.")


def receipt_table(receipts: list[dict[str, Any]]) -> Table:
    """Return the receipts within 80 columns; the files hold everything in full."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("Model", "Verified", "Payment", "Transaction", "TEE id", "Authorized"):
        table.add_column(heading, no_wrap=True)
    for receipt in receipts:
        verified = receipt["status"] == "verified"
        payment = receipt["payment"] or {}
        name = receipt["model"].rpartition("/")[2]
        table.add_row(
            short(name) if receipt["kind"] == "onchain" else name,
            "[green]yes[/]" if verified else "[red]NO[/]",
            short(payment.get("payment_hash")),
            short(Receipt(receipt).transaction_hash),
            short(receipt["tee_id"]),
            f"{format_opg(int(payment['max_amount']))} OPG" if payment else "-",
        )
    return table


def short(value: str | None) -> str:
    """Return both ends of a hash."""
    return f"{value[:6]}…{value[-4:]}" if value else "-"


@dataclass
class Findings:
    """What is wrong; nothing, if all went well."""

    problems: list[str] = field(default_factory=list)

    def verify_again(self, files: list[Path], roots: list[str]) -> None:
        """Check each saved receipt in another process, which asks the registry whom to believe."""
        console.rule("Checked again from disk, against the registry")
        # A devnet's attestation documents come from a root of its own.
        trusted = [flag for root in roots for flag in ("--root-sha256", root)]
        command = [*COMMAND, "verify", "--registry", "--json", *trusted, *map(str, files)]
        shown = " … ".join([str(files[0]), files[-1].name][: len(files)])
        console.print(f"$ og-integrations verify --registry {shown}", markup=False)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        for line in done.stdout.splitlines():
            report = json.loads(line)
            by_result: dict[str, list[str]] = {"pass": [], "skip": [], "fail": []}
            for check in report["checks"]:
                by_result[check["result"]].append(check["id"])
            mark = "[green]✓[/]" if report["status"] == "verified" else "[red]✗[/]"
            skipped = f", skipped: {', '.join(by_result['skip'])}" if by_result["skip"] else ""
            name = Path(report["file"]).name
            console.print(f"{mark} {name} {report['status']}: {len(by_result['pass'])} passed{skipped}")
            self.problems += [f"{report['file']}: {name} failed" for name in by_result["fail"]]
        if done.returncode != 0 and not self.problems:
            self.problems.append(f"verify ended with exit code {done.returncode}")

    def verify_from_the_root(self, file: Path, policy: dict[str, Any]) -> None:
        """Check a receipt as a stranger would who has the pinned builds, and asks nobody."""
        console.rule("Checked from the root certificate down, asking nobody")
        builds = file.with_name(f"{file.stem}.builds.txt")
        registers = ("PCR0", "PCR1", "PCR2")
        builds.write_text(json.dumps([dict(zip(registers, build, strict=True)) for build in policy["measurements"]]))
        (root,) = policy["attestation_roots"]
        command = [*COMMAND, "verify", "--json", "--measurements", str(builds), "--root-sha256", root, str(file)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        report = json.loads(done.stdout)
        (shown,) = [check for check in report["checks"] if check["id"] == "attestation"]
        mark = "[green]✓[/]" if report["status"] == "verified" else "[red]✗[/]"
        console.print(f"{mark} {file.name} {report['status']} with pinned measurements")
        console.print(f"  {shown['detail']}", markup=False)
        if done.returncode != 0:
            self.problems.append(f"{file} is not proven from the root: {report['step']}")

    def compare_account(self, account: dict[str, Any] | None, receipts: list[dict[str, Any]]) -> None:
        """Compare what the paywall took with what the receipts say was authorized."""
        console.rule("What the paywall settled")
        if account is None:
            console.print("Sessions are settled about two minutes after their last use; see the wallet's transfers.")
            return
        if "problem" in account:
            self.problems.append(account["problem"])
            return
        authorized = {r["payment"]["nonce"]: int(r["payment"]["max_amount"]) for r in receipts if r["payment"]}
        console.print(f"{account['charges']} charged answers share {account['authorizations']} signed authorization")
        for item in account["settlements"]:
            amount = int(item["amount"])
            console.print(
                f"  {format_opg(amount)} OPG  {short(item['payer'])} -> {short(item['pay_to'])}"
                f"  transaction {short(item['transaction_hash'])}"
            )
            if item["error"] is not None:
                self.problems.append(f"a settlement failed: {item['error']}")
            if amount > authorized.get(item["nonce"], 0):
                self.problems.append("the paywall settled more than a receipt says was authorized")
        if account["authorizations"] != len(authorized):
            self.problems.append("the paywall took more payments than there are receipts of")
        console.print("The devnet and its registry have ended; its builds and root check the files now.")


def main() -> int:
    """Run the demo; 0 if every answer was verified, now and again from disk."""
    options = argparse.ArgumentParser(description="An agent whose every call is attested, paid, and provable later.")
    options.add_argument("--onchain", action="store_true", help="with a model on chain as a tool; needs npm")
    onchain: bool = options.parse_args().onchain
    question = QUESTION.replace("?", ", and its volatility?") if onchain else QUESTION
    findings = Findings()
    with network(onchain=onchain) as net, collect_receipts(keep_exchanges=True) as receipts, OnchainClient() as chain:
        model = ChatOpenGradient(model=MODEL, enclave_policy=net.enclave_policy)
        if onchain:
            TOOLS["get_volatility"] = volatility_of(chain)
        try:
            console.rule(f"An agent with {len(TOOLS)} tools")
            console.print(f"[dim]{MODEL}[/]\n{question}")
            answer(model, question + net.pacing)
            console.print(f"\n[dim]{OTHER_MODEL}[/]\n{ECHO}")
            echoed = model.invoke(ECHO, model=OTHER_MODEL, settlement_mode="private")
            console.print(echoed.text, style="bold", markup=False)
        except OpenGradientError as exc:
            findings.problems.append(f"{type(exc).__name__}: {exc}")
        finally:
            model.close()
        if receipts:
            console.rule("Receipts")
            console.print(receipt_table(receipts))
            files = receipts.save("receipts")
            findings.verify_again(files, (net.enclave_policy or {}).get("attestation_roots", []))
            if net.enclave_policy is not None:
                findings.verify_from_the_root(files[0], net.enclave_policy)
        net.end()
        findings.compare_account(net.account, receipts)
    console.rule()
    good = sum(receipt["status"] == "verified" for receipt in receipts)
    if findings.problems or good != len(receipts) or not receipts:
        console.print(f"[bold red]NOT VERIFIED[/]: {good} of {len(receipts)} answers.")
        for problem in findings.problems:
            console.print(f"  {problem}", markup=False)
        return 1
    console.print(f"[bold green]VERIFIED[/]: {good} of {len(receipts)} answers, by their enclave and again from disk.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
