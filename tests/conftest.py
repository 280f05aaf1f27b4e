"""What holds for all tests."""

import signal

from hypothesis import HealthCheck, settings

# Time is measured in tests/bench and nowhere else: a machine may be as busy as it likes.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

# A shell starts background jobs with these ignored, and what tests start would inherit that.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(
            number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
        )
