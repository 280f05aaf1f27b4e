"""What holds for all tests."""

from hypothesis import settings

settings.register_profile("default", deadline=None)  # time is measured in tests/bench, not here
settings.load_profile("default")
