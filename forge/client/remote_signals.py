"""Signals that reach us while something runs on the host, by the names that both systems know."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from forge.core.remote_messages import SIGNALS

_NOT_CAUGHT = ("KILL", "CONT")


class Caught:
    """The signals that came since they were last asked for. `wakeup` is readable when some did."""

    def __init__(self) -> None:
        self.wakeup, self._wakeup_in = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._wakeup_in, False)
        self._before: dict[int, object] = {}

    def taken(self) -> list[str]:
        """Return the names of those that came, in order."""
        with contextlib.suppress(BlockingIOError):
            return [signal.Signals(one).name[3:] for one in os.read(self.wakeup, 512)]
        return []

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them meanwhile; those that are ignored stay so."""
        signal.set_wakeup_fd(self._wakeup_in, warn_on_full_buffer=False)
        for name in SIGNALS:
            number = getattr(signal, f"SIG{name}")
            if name not in _NOT_CAUGHT and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, _noted)
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]  # as getsignal gave it
            signal.set_wakeup_fd(-1)
            os.close(self.wakeup)
            os.close(self._wakeup_in)


def _noted(number: int, frame: FrameType | None) -> None:
    """Let the wakeup descriptor tell."""
