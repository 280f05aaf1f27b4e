"""The jobserver FIFOs: one a build, held open here so that no token is lost between openers.

Source: GNU make manual, "POSIX Jobserver Interaction". A token is a byte. The FIFO is handed to
cargo as two open descriptors (`--jobserver-auth=R,W`): the `fifo:` form ends make before 4.4.

The tokens live as long as somebody has the FIFO open. So one that nobody has open is a dead name,
and one that was there before belongs to the build that has it open, never to a new one.
"""

import contextlib
import errno
import fcntl
import os
import stat
import termios
from collections.abc import Mapping

TOKEN = b"+"

_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class Jobservers:
    """The open FIFOs, by build."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, int]] = {}

    def make(self, build: str, path: str, tokens: int) -> None:
        """Make a new FIFO at `path` with `tokens` in it, in place of whatever is there."""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.mkfifo(path, 0o600)
        try:
            self.adopt(build, path)
            _, descriptor = self._open[build]
            if os.write(descriptor, TOKEN * tokens) != tokens:
                raise OSError(errno.ENOSPC, f"a FIFO cannot hold {tokens} tokens", path)
        except OSError:
            self.remove(build)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            raise

    def adopt(self, build: str, path: str) -> None:
        """Open the FIFO that is at `path` as it is. Raises OSError when there is none."""
        descriptor = os.open(path, os.O_RDWR | _FLAGS)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "this is not a FIFO", path)
        _, before = self._open.pop(build, ("", -1))
        if before >= 0:
            os.close(before)
        self._open[build] = (path, descriptor)

    def tokens(self, build: str) -> int | None:
        """Return how many tokens are in the FIFO now, taken by nobody (FIONREAD).

        None when the build has no FIFO here.
        """
        if build not in self._open:
            return None
        _, descriptor = self._open[build]
        count = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
        return int.from_bytes(count, "little")

    def take(self, build: str, count: int) -> int:
        """Take up to `count` tokens out, without waiting; return how many there were.

        A build without a FIFO here has none. Raises OSError.
        """
        _, descriptor = self._open.get(build, ("", -1))
        if descriptor < 0 or count <= 0:
            return 0
        try:
            return len(os.read(descriptor, count))
        except BlockingIOError:
            return 0

    def give(self, build: str, count: int) -> int:
        """Put `count` tokens in; return how many found room. Raises OSError."""
        _, descriptor = self._open.get(build, ("", -1))
        if descriptor < 0 or count <= 0:
            return 0
        try:
            return os.write(descriptor, TOKEN * count)
        except BlockingIOError:
            return 0

    def remove(self, build: str) -> None:
        """Close and delete a build's FIFO; processes that have it open keep what they have."""
        path, descriptor = self._open.pop(build, ("", -1))
        if descriptor >= 0:
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def close(self, owed: Mapping[str, int] | None = None) -> None:
        """Let go of all, and leave them for the next daemon.

        What is `owed` is put back first: the next daemon knows nothing of it.
        """
        for build, count in (owed or {}).items():
            self.give(build, count)
        for _, descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def sweep(directory: str) -> list[str]:
    """Remove the FIFOs in `directory` that nobody has open to read, and return their paths."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    paths = [os.path.join(directory, name) for name in names]
    removed = [path for path in paths if _is_fifo(path) and not _has_reader(path)]
    for path in removed:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return removed


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _has_reader(path: str) -> bool:
    """Say whether opening to write finds a reader: fifo(7), ENXIO. In doubt there is one."""
    try:
        os.close(os.open(path, os.O_WRONLY | _FLAGS))
    except OSError as error:
        return error.errno != errno.ENXIO
    return True
