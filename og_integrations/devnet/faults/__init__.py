"""
The catalogue holds every way in which the devnet can lie or break, by name.

```python
net.inject("bad_signature", times=1)
```

| file | what it holds |
| --- | --- |
| `_trust` | the certificate, the registry, the node |
| `_payments` | offers, payments, sessions |
| `_answers` | what is said and signed, and the events of a stream |
| `_wire` | the bytes: cuts, stalls, what no HTTP library would send, TLS records changed on the way |
| `_sealing` | the sealed channel: its key, and the relay |
| `_chain` | models on chain: their results, events and receipts, and the node's API |
"""

from difflib import get_close_matches

from og_integrations.devnet._fault import Fault
from og_integrations.devnet.faults._answers import ANSWER_FAULTS, STREAM_FAULTS
from og_integrations.devnet.faults._payments import PAYMENT_FAULTS
from og_integrations.devnet.faults._sealing import SEALING_FAULTS
from og_integrations.devnet.faults._trust import TRUST_FAULTS
from og_integrations.devnet.faults._wire import WIRE_FAULTS
from og_integrations.errors import ConfigurationError

CATALOGUE: dict[str, Fault] = {
    fault.name: fault
    for fault in (*TRUST_FAULTS, *PAYMENT_FAULTS, *ANSWER_FAULTS, *STREAM_FAULTS, *WIRE_FAULTS, *SEALING_FAULTS)
}


def find_fault(name: str) -> Fault:
    """Return the fault called `name`. Raises `ConfigurationError`."""
    try:
        return CATALOGUE[name]
    except KeyError as exc:
        close = get_close_matches(name, CATALOGUE, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        expected = ", ".join(sorted(CATALOGUE))
        raise ConfigurationError(f"Unknown fault {name!r}; expected one of {expected}.{hint}") from exc


def refuse_without_node(fault: Fault) -> None:
    """
    Refuse a fault that acts where the devnet's own node answers, for a devnet whose node is a real one.

    Raises `ConfigurationError`.
    """
    places = [place for place in ("registry", "rpc") if getattr(fault, place) is not None]
    if places:
        raise ConfigurationError(
            f"Fault {fault.name!r} changes what the devnet's own node answers (its place: {', '.join(places)}), "
            'but with evm="anvil" (--evm) a real node answers, and it would do nothing. '
            "Leave one of them out; `retire` and `kill` work on a real EVM, too."
        )
