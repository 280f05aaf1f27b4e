"""What files have in them, known without reading them again.

A file's *stamp* is its size, times, inode and mode as lstat tells them. While the stamp is the
same, so is the content: the index keeps the digest for each stamp. Files can change twice within
one tick of the clock that stamps them, so what was changed just before it was read is read again.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from forge.client.remote_files import TreeUnreadable
from forge.core.remote_lines import Line, directory_head, file_head, symlink_head
from forge.core.text import printable
from forge.errors import ForgeError
from forge.host.whole_files import replace_file

TICK_NS = 20_000_000
"""Coarser than the clocks that stamp files: 4 ms on Linux, finer on APFS."""

_CHUNK_BYTES = 1 << 20
_FEW = 64
Known = dict[bytes, tuple[bytes, bytes]]


class SourceChanged(ForgeError):
    """A file changed while it was sent, several times in a row."""

    slug = "source-changed"
    exit_code = os.EX_TEMPFAIL


@dataclass(frozen=True, slots=True)
class Seen:
    """One path as it was seen: its stamp, and what it is."""

    path: bytes
    stamp: bytes
    status: os.stat_result


def look_at(top: int, paths: Iterable[bytes]) -> list[Seen]:
    """Look at paths below an open directory; those that are gone are left out."""
    seen = []
    for path in paths:
        try:
            status = os.lstat(path, dir_fd=top)
        except (FileNotFoundError, NotADirectoryError):
            continue  # tracked, and deleted in the working tree
        except OSError as error:
            raise _unreadable(path, error) from None
        seen.append(Seen(path, stamp_of(status), status))
    return seen


def stamp_of(status: os.stat_result) -> bytes:
    """Write what changes when a file does."""
    return b"%d %d %d %d %o" % (
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_mode,
    )


def fingerprint(seen: Sequence[Seen], directories: Sequence[Seen], more: bytes) -> bytes:
    """Return a digest of all stamps; another one when anything may have changed."""
    found = hashlib.sha256(more)
    for one in seen:
        found.update(b"%b\0%b\0" % (one.path, one.stamp))
    for one in directories:
        found.update(b"%b\0%d %o\0" % (one.path, one.status.st_mtime_ns, one.status.st_mode))
    return found.hexdigest().encode()


class Index:
    """Digests by path and stamp, kept in a file."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._known = _load(file)

    def lines(
        self,
        top: int,
        seen: Sequence[Seen],
        directories: Sequence[Seen],
        targets: dict[bytes, bytes],
    ) -> tuple[dict[bytes, Line], bool]:
        """Return the entries of a tree, and whether all of them may be taken for settled.

        `targets` is what symlinks say. Keeps what was learned. Raises TreeUnreadable.
        """
        began_ns = time.time_ns()
        digests = self._digests(top, [one for one in seen if stat.S_ISREG(one.status.st_mode)])
        lines = {
            one.path: Line(directory_head(one.status.st_mode, one.status.st_mtime_ns))
            for one in directories
        }
        settled: Known = {}
        for one in seen:
            status = one.status
            if one.path in targets:
                target = targets[one.path]
                lines[one.path] = Line(symlink_head(status.st_mtime_ns), target)
            elif one.path in digests:
                digest = digests[one.path]
                head = file_head(status.st_mode, status.st_mtime_ns, status.st_size, digest)
                lines[one.path] = Line(head)
                if status.st_ctime_ns < began_ns - TICK_NS:
                    settled[one.path] = (one.stamp, digest)
        if settled != self._known:
            _store(self._file, settled)
        return lines, len(settled) == len(digests)

    def _digests(self, top: int, files: Sequence[Seen]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        unknown = []
        for one in files:
            known = self._known.get(one.path)
            if known and known[0] == one.stamp:
                found[one.path] = known[1]
            else:
                unknown.append(one.path)
        if len(unknown) < _FEW:
            digests: Iterable[bytes] = (digest_of_file(top, path) for path in unknown)
            found.update(zip(unknown, digests, strict=True))
            return found
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            digests = pool.map(lambda path: digest_of_file(top, path), unknown)
            found.update(zip(unknown, digests, strict=True))
        return found


def open_file(top: int, path: bytes) -> int:
    """Open a plain file below a directory. Raises TreeUnreadable."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, dir_fd=top)
    except OSError as error:
        raise _unreadable(path, error) from None


def digest_of_file(top: int, path: bytes) -> bytes:
    """Return the digest of what a file has in it."""
    descriptor = open_file(top, path)
    try:
        found = hashlib.sha256()
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            found.update(chunk)
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(descriptor)
    return found.hexdigest().encode()


def _load(file: str) -> Known:
    try:
        with open(file, "rb") as opened:
            fields = opened.read().split(b"\0")
    except FileNotFoundError:
        return {}
    if len(fields) % 3 != 1:
        return {}  # cut short: it can be made again
    return dict(zip(fields[0:-1:3], zip(fields[1::3], fields[2::3], strict=True), strict=True))


def _store(file: str, known: Known) -> None:
    text = b"".join(b"%b\0%b\0%b\0" % (path, *both) for path, both in known.items())
    write_file(file, text)


def write_file(file: str, content: bytes) -> None:
    """Put a file in place, whole; its directory is made where it is missing."""
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    replace_file(file, content)


def _unreadable(path: bytes, error: OSError) -> TreeUnreadable:
    return TreeUnreadable(f"{printable(os.fsdecode(path))} cannot be read: {error.strerror}")
