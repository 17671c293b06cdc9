"""The built wheel, installed as strangers install it: heavy, since it needs a package index and minutes."""

from pathlib import Path

import pytest

from tests.packaging import BUDGET_MB, QUICK_STARTS, build_wheel, try_extra
from tests.sizes import HEAVY_SECONDS

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(HEAVY_SECONDS)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("extra", QUICK_STARTS)
def test_extra_alone_is_enough_for_its_quick_start(extra: str, wheel: Path, tmp_path: Path) -> None:
    """Nothing that an extra needs is missing, and it is not larger than its budget."""
    assert try_extra(extra, wheel, tmp_path).megabytes <= BUDGET_MB[extra]


def test_lowest_dependencies_are_enough(wheel: Path, tmp_path: Path) -> None:
    """The floors of pyproject.toml are true for the package without extras."""
    assert try_extra("core", wheel, tmp_path, "--resolution=lowest-direct").packages > 10
