"""
How large the tests are: small in `make test`, full in `make test-all`.

A test whose effort depends on a number gets it from here. `sized` gives it two sizes, of which the full one has the
marker `heavy`, so that the default run leaves it out; `examples` gives a Hypothesis test more examples under the
profile `full`. `make test-all` selects both sizes and loads that profile; `pytest -m heavy PATH` runs the full sizes
of one file.
"""

import pytest
from hypothesis import settings

EXAMPLES = {"small": 100, "full": 1_000}
"""`max_examples` of each Hypothesis profile, for tests that do not say `examples`."""
SPARE_KEYS = 16
"""More than any test has enclaves at once, so that no two of one devnet share a key."""
HEAVY_SECONDS = 900
"""How long a test may take at its full size, in place of the `timeout` of pyproject.toml."""


def load_profiles() -> None:
    """Register the Hypothesis profiles, and load the small one; `--hypothesis-profile=full` loads the other later."""
    for name, count in EXAMPLES.items():
        # A busy machine is slow now and then; how long a test may take is pytest-timeout's business.
        # The small run is the same each time, so that it tells of a change and not of luck; the full one searches on.
        settings.register_profile(name, deadline=None, max_examples=count, derandomize=name == "small")
    settings.load_profile("small")


def examples(count: int) -> settings:
    """Return Hypothesis settings with `count` examples in `make test`, and with more in proportion in the full one."""
    return settings(max_examples=count * settings().max_examples // EXAMPLES["small"])


def sized(argument: str, *, small: int, full: int) -> pytest.MarkDecorator:
    """Return the parametrisation of a test by its size: `small` always, `full` only where heavy tests are selected."""
    heavy = (pytest.mark.heavy, pytest.mark.timeout(HEAVY_SECONDS))
    sizes = [
        pytest.param(small, id=f"{argument}={small}"),
        pytest.param(full, id=f"{argument}={full}", marks=heavy),
    ]
    return pytest.mark.parametrize(argument, sizes)
