"""The jobserver FIFOs: one a build, held open here so that no token is lost between openers.

Source: GNU make manual, "POSIX Jobserver Interaction". A token is a byte. The FIFO is handed to
cargo as two open descriptors (`--jobserver-auth=R,W`): the `fifo:` form ends make before 4.4.
"""

import contextlib
import fcntl
import os
import termios

TOKEN = b"+"


class Jobservers:
    """The open FIFOs, by build."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, int]] = {}

    def make(self, build: str, path: str, tokens: int) -> None:
        """Make the FIFO at `path` with `tokens` in it, or open the one that is there as it is."""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        new = True
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            new = False
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags)
        self._open[build] = (path, descriptor)
        if new:
            os.write(descriptor, TOKEN * tokens)

    def tokens(self, build: str) -> int:
        """Return how many tokens are in the FIFO now, taken by nobody (FIONREAD)."""
        _, descriptor = self._open[build]
        count = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
        return int.from_bytes(count, "little")

    def remove(self, build: str) -> None:
        """Close and delete a build's FIFO; processes that have it open keep what they have."""
        path, descriptor = self._open.pop(build, ("", -1))
        if descriptor >= 0:
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def close(self) -> None:
        """Let go of all, and leave them for the next daemon."""
        for _, descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
