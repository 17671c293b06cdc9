"""Which answers a client has seen: the last ones, so that a long life does not fill the memory."""

import pytest

from og_integrations.client import _learned as replays
from og_integrations.client._learned import ReplayCache


def test_oldest_signature_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "REMEMBERED_SIGNATURES", 2)
    signatures = ReplayCache()
    assert [signatures.seen(text) for text in ("a", "b", "a", "c")] == [False, False, True, False]
    assert list(signatures._seen) == ["b", "c"]
    assert [signatures.seen(text) for text in ("c", "b", "a")] == [True, True, False]
