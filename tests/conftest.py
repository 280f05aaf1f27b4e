"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# Time is measured in tests/bench and nowhere else: a machine may be as busy as it likes.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")
