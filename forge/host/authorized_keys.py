"""The file authorized_keys: read, and replaced as a whole.

sshd reads it at every login, so there is never half a file. One process at a time changes it, by
a lock on its directory.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator

from forge.errors import KeysFileUnsafe

MAX_BYTES = 4 << 20


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Keep other processes of ours from changing the file. Makes its directory (mode 0700)."""
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KeysFileUnsafe(f"{directory} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_lines(path: str) -> list[str]:
    """Return the lines of the file; none when there is no file. Raises KeysFileUnsafe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        why = "is a symlink" if os.path.islink(path) else f"cannot be read: {error.strerror}"
        raise KeysFileUnsafe(f"{path} {why}") from None
    try:
        _check(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise KeysFileUnsafe(f"{path} has more than {MAX_BYTES} bytes")
    return content.decode("utf-8", "surrogateescape").split("\n")


def _check(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise KeysFileUnsafe(f"{path} is no plain file")
    if status.st_uid != os.getuid():
        raise KeysFileUnsafe(f"{path} belongs to user {status.st_uid}, not to {os.getuid()}")
    if status.st_mode & 0o022:
        raise KeysFileUnsafe(f"{path} may be written by others", hint=f"`chmod 600 {path}`")


def replace_lines(path: str, lines: list[str]) -> None:
    """Put these lines in the file's place, whole or not at all, mode 0600."""
    text = "\n".join(lines)
    content = (text + "\n" * bool(text and not text.endswith("\n"))).encode(
        "utf-8", "surrogateescape"
    )
    draft = f"{path}.{os.getpid()}.new"
    try:
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(draft, path)
        except OSError:
            os.unlink(draft)
            raise
    except OSError as error:
        raise KeysFileUnsafe(f"{path} cannot be written: {error.strerror}") from None
