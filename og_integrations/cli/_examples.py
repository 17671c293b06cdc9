"""This module holds what `--help` shows besides flags: examples to copy, and the variables that a command reads."""

_WALLET = {
    "OG_PRIVATE_KEY": "key of the wallet that pays, 64 hex digits",
    "OG_KEYSTORE": "instead: a keystore file, with OG_KEYSTORE_PASSWORD",
}
_NETWORK = {
    "OG_NETWORK": "base (the default), base-sepolia or devnet",
    "OG_RPC_URL": "node of the chain that is paid on",
    "OG_REGISTRY_RPC_URL": "node of the chain with the registry of enclaves",
    "OG_REGISTRY_ADDRESS": "that registry",
}
_CALLS = _WALLET | _NETWORK | {"OG_RELAY_URL": "relay of sealed requests, with OG_RELAY_TOKEN"}

_EXAMPLES: dict[str, tuple[str, ...]] = {
    "devnet": (
        "devnet",
        "devnet --port 0 --env-file devnet.env",
        "devnet --fault bad_signature:1",
        "devnet --fault list",
    ),
    "ask": ('ask "Say hello."', 'ask "Say hello." --model openai/gpt-5.2 --save hello', "ask - < question.txt"),
    "batch": ("batch prompts.jsonl --out answers.jsonl --model openai/gpt-5.2",),
    "infer": ("infer MODEL --data '{\"x\": [[1.5, 2]]}'",),
    "workflow": (
        "workflow read ADDRESS",
        "workflow run --help",
    ),
    "verify": (
        "verify --registry receipts/",
        "verify --registry --failed --summary receipts/",
        "verify --measurements builds.json evidence.json",
    ),
    "report": ("report receipts/ --registry --html report.html",),
    "conformance": ("conformance --vectors tests/vectors",),
    "evidence": ("evidence --redact receipts/receipt-001.json --output evidence.json",),
    "verify-attestation": ("verify-attestation document.cbor --measurements builds.json",),
    "measurements": ("measurements --write builds.json",),
    "approve": ("approve", "approve --amount 10 --yes"),
    "settlement": ("settlement receipts/", "settlement --inclusion receipts/receipt-001.json"),
    "serve": ("serve", "serve --keys keys.json --new-key alice --limit 20"),
    "doctor": ("doctor", "doctor --json"),
    "cookbook": ("cookbook", "cookbook examples"),
    "completion": ("completion bash > ~/.og-completion.bash", "completion zsh --help"),
}
_VARIABLES: dict[str, dict[str, str]] = {
    "ask": _CALLS,
    "batch": _CALLS,
    "infer": _WALLET | _NETWORK,
    "workflow": _WALLET | _NETWORK,
    "verify": _NETWORK,
    "measurements": _NETWORK,
    "approve": _WALLET | _NETWORK,
    "settlement": {"OG_RPC_URL": _NETWORK["OG_RPC_URL"]},
    "serve": _CALLS,
    "doctor": _CALLS,
}
_FIRST = ("devnet", 'ask "Say hello." --save hello', "verify --registry hello/", "doctor", "COMMAND --help")


def help_of(command: str | None) -> str:
    """Return the lists below the help of `command`, None of all: `Examples:`, and `Variables:` where it reads any."""
    examples = _FIRST if command is None else _EXAMPLES.get(command, ())
    variables = _CALLS if command is None else _VARIABLES.get(command, {})
    lists = ["Examples:\n" + "".join(f"  og-integrations {line}\n" for line in examples)] if examples else []
    if variables:
        lists.append("Variables:\n" + "".join(f"  {name:<20} {about}\n" for name, about in variables.items()))
    return "\n".join(lists)
