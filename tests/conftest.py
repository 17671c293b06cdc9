"""What every test starts from: an environment in which nothing of the developer's is set."""

import os

import pytest
from hypothesis import settings

# A busy machine is slow now and then; how long a test may take is pytest-timeout's business.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

FOREIGN = ("OG_", "OPENGRADIENT_", "LANGSMITH_", "LANGCHAIN_")
PROXIES = {"http_proxy", "https_proxy", "all_proxy"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can spend a developer's money, trace to LangSmith, or leave through a proxy."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name.lower() in PROXIES:
            monkeypatch.delenv(name)
