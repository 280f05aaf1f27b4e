"""What holds for all tests."""

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.llama import build

# Time is measured in tests/bench and nowhere else: a machine may be as busy as it likes.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

# A shell starts background jobs with these ignored, and nohup(1) what it runs; what tests start
# would inherit that.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(
            number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put last what needs a real llama-server: it may still be being built meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("real_llama") is not None)


@pytest.fixture(scope="session")
def llama_binary() -> Path:
    """A real llama-server, built at the first use; the test is skipped where that cannot be."""
    try:
        return build.server_binary()
    except build.Unavailable as why_not:
        pytest.skip(str(why_not))
