"""The fixture `simulated_mac`, for `from tests.macos.fixtures import simulated_mac`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.macos.simulated import SimulatedMac


@pytest.fixture
def simulated_mac(tmp_path: Path) -> Iterator[SimulatedMac]:
    """Give a simulated macOS of the test's own, unmounted afterwards whatever happens."""
    with SimulatedMac(tmp_path) as mac:
        yield mac
