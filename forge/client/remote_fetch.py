"""Files that come back from the host: what a build has made, and a Cargo.lock that cargo changed.

A file comes under a name that was asked for and under no other. It is written beside its place and
renamed over it when all of it is there, with its mode and time, so that nothing here sees a part.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import zstandard

from forge.client.remote_link import Link, read
from forge.client.talk import say
from forge.core.remote_frames import FrameType
from forge.core.remote_messages import MAX_FETCHED, Fetch, File, FileEnd
from forge.core.text import printable
from forge.errors import ForgeError, ProtocolMismatch

_WINDOW_BYTES = 8 << 20
_MODE = 0o777


class FetchFailed(ForgeError):
    """What the host has made could not be brought back whole."""

    slug = "fetch-failed"
    exit_code = os.EX_IOERR


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that came: its time and size here."""

    mtime_ns: int
    size: int


def fetch(link: Link, base: str, places: Mapping[str, str]) -> dict[str, Fetched]:
    """Bring files below `base` to their places here; return those that came.

    Raises FetchFailed when one cannot be written, or changed while it was sent.
    """
    came: dict[str, Fetched] = {}
    paths = sorted(places)
    for at in range(0, len(paths), MAX_FETCHED):
        asked = paths[at : at + MAX_FETCHED]
        link.send(Fetch(base=base, paths=asked))
        for path in asked:
            found = _one(link, path, places[path])
            if found:
                came[path] = found
        end = link.expect(FileEnd)
        assert isinstance(end, FileEnd)
    return came


def _one(link: Link, path: str, place: str) -> Fetched | None:
    file = link.expect(File)
    assert isinstance(file, File)
    if file.path != path:
        raise ProtocolMismatch("the host sends a file that was not asked for")
    if file.why:
        say(f"{printable(path)} does not come back: {printable(file.why)}")
        return None
    if file.target:
        say(f"{printable(path)} does not come back: it is a symlink")
        return None
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        descriptor, draft = tempfile.mkstemp(prefix=".forge-", dir=os.path.dirname(place))
    except OSError as error:
        raise FetchFailed(f"{printable(place)} cannot be written: {error.strerror}") from None
    try:
        _receive(link, file, descriptor)
        os.replace(draft, place)
    except OSError as error:
        raise FetchFailed(f"{printable(place)} cannot be written: {error.strerror}") from None
    finally:
        os.close(descriptor)
        _remove(draft)
    return Fetched(file.mtime_ns, file.size)


def _receive(link: Link, file: File, descriptor: int) -> None:
    """Write what follows a FILE, to its FILE_END. Raises FetchFailed and OSError."""
    stream = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).decompressobj()
    found, size = hashlib.sha256(), 0
    while (frame := link.next()).type is FrameType.FILE_DATA:
        try:
            piece = stream.decompress(frame.payload)
        except zstandard.ZstdError:
            raise ProtocolMismatch("the host sends what is no zstd") from None
        size += len(piece)
        if size > file.size:
            raise ProtocolMismatch("the host sends more of a file than it said")
        found.update(piece)
        while piece:
            piece = piece[os.write(descriptor, piece) :]
    end = read(frame)
    if not isinstance(end, FileEnd):
        raise ProtocolMismatch(f"{frame.type.name} came in the middle of a file")
    if size != file.size or found.hexdigest() != end.digest:
        raise FetchFailed(
            f"{printable(file.path)} changed while it was sent", hint="build once more"
        )
    os.fchmod(descriptor, file.mode & _MODE)
    os.utime(descriptor, ns=(file.mtime_ns, file.mtime_ns))


def is_here(place: str, known: Fetched | None) -> bool:
    """Say whether a file is as it came."""
    try:
        found = os.lstat(place)
    except OSError:
        return False
    is_same = known is not None and (found.st_mtime_ns, found.st_size) == (
        known.mtime_ns,
        known.size,
    )
    return is_same and stat.S_ISREG(found.st_mode)


def locks_to_take(
    changed: Iterable[str], sent: Mapping[str, tuple[int, int] | None], top: str
) -> dict[str, str]:
    """Return where each Cargo.lock belongs that the host's cargo changed.

    `sent` is what each was, by size and time, when it was sent. One that has changed here as well
    stays: whoever changed it here knows better.
    """
    places: dict[str, str] = {}
    for path in changed:
        place = os.path.join(top, path)
        if os.path.basename(path) != "Cargo.lock" or path not in sent:
            continue
        if size_and_time(place) == sent[path]:
            places[path] = place
        else:
            say(f"{printable(path)} was changed here and on the host: the one here stays")
    return places


def size_and_time(place: str) -> tuple[int, int] | None:
    """Return size and time of a file; None where there is none."""
    try:
        found = os.lstat(place)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns)


def _remove(draft: str) -> None:
    try:
        os.unlink(draft)
    except FileNotFoundError:
        return  # it is in its place
