"""
This module writes policies and networks as plain JSON and into pickles: what comes back allows no more than what was
written.

A rule that cannot be written (a callback, a store that is an object, whatever a subclass checks) is lost on the
way. A policy without one of its rules would be laxer, so a copy of it refuses everything until it is given a
policy again. Keys in the addresses of nodes are not written either.
"""

import pickle
from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from og_integrations._urls import NodeUrl
from og_integrations.errors import OpenGradientError
from og_integrations.networks import Network
from og_integrations.protocol._strict_json import JsonObject

if TYPE_CHECKING:
    from og_integrations.protocol.payment._policy import SpendPolicy
    from og_integrations.protocol.proof._enclave import EnclavePolicy

_Policy = TypeVar("_Policy", "SpendPolicy", "EnclavePolicy")
_LOST = object()


def plain_spend_policy(policy: "SpendPolicy") -> JsonObject:
    """Return `policy` as plain JSON, which `SpendPolicy.of` reads; a copy that authorizes nothing if a rule is lost."""
    from og_integrations.protocol.payment._policy import SpendPolicy, without_password

    plain = {name: _plain(getattr(policy, name)) for name in SpendPolicy.model_fields}
    # Whoever reads it has the database's password himself, or cannot spend.
    plain["store"] = without_password(plain["store"])
    if type(policy) is not SpendPolicy or _LOST in plain.values():
        written = {name: value for name, value in plain.items() if value is not _LOST}
        # Rules of a policy that allows nothing cannot be broken.
        return written | {"max_per_authorization": "0", "store": None}
    return plain


def plain_enclave_policy(policy: "EnclavePolicy") -> JsonObject:
    """Return `policy` as plain JSON, which `EnclavePolicy.of` reads; one that accepts nobody if a rule is lost."""
    from og_integrations.protocol.proof._enclave import EnclavePolicy

    plain = {item.name: _plain(getattr(policy, item.name)) for item in fields(EnclavePolicy) if item.init}
    if type(policy) is not EnclavePolicy or _LOST in plain.values():
        return {"allowed_tee_ids": []}
    return plain


def plain_network(network: str | Network) -> str | JsonObject:
    """Return a named network's name, or a `Network` as a dict whose addresses of nodes have no keys."""
    if isinstance(network, str):
        return network
    # Whole: by its name alone the environment could change it.
    return {name: str(value) if isinstance(value, NodeUrl) else value for name, value in asdict(network).items()}


def portable(policy: _Policy | None) -> _Policy | None:
    """Return `policy` if it can be pickled, else one in its place that refuses everything."""
    try:
        pickle.dumps(policy)
    except (AttributeError, TypeError, pickle.PicklingError, RecursionError, OpenGradientError):
        return None if policy is None else _read_again(policy)
    return policy


def _read_again(policy: _Policy) -> _Policy:
    from og_integrations.protocol.payment._policy import SpendPolicy
    from og_integrations.protocol.proof._enclave import EnclavePolicy

    if isinstance(policy, SpendPolicy):
        return SpendPolicy.of(plain_spend_policy(policy) | {"max_per_authorization": "0", "store": None})
    return EnclavePolicy(allowed_tee_ids=[])


def _plain(value: object) -> object:
    """Return a member of a policy as JSON knows it, `_LOST` if it does not."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Iterable) and not isinstance(value, bytes | dict):
        items = list(value)
        if all(isinstance(item, str) for item in items):
            return sorted(items)
        # Builds, each of three registers.
        if all(isinstance(item, tuple) and all(isinstance(text, str) for text in item) for item in items):
            return sorted(map(list, items))
    return _LOST
