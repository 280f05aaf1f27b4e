"""Entries of a tree as a tar stream that any tar unpacks, and the reading of our own.

POSIX's pax format, since only that has times below a second, of which cargo makes use, and names of
any length and any bytes. We read back what we wrote and refuse everything else. Source: POSIX.1,
pax, "pax Interchange Format"; hdrcharset=BINARY is how it marks names that are not UTF-8.
"""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from forge.errors import SnapshotRefused
from forge.host.trees import Entry, Kind

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)

_TYPES = {
    Kind.FILE: b"0",
    Kind.HARD_LINK: b"1",
    Kind.LINK: b"2",
    Kind.DIRECTORY: b"5",
}
_PAX = b"x"
_NAME_BYTES = 100
_OCTAL_LIMIT = 8**11
_SECOND_NS = 1_000_000_000
_MAX_PAX_BYTES = 1024 * 1024


class Member(NamedTuple):
    """What a header in a stream announces."""

    path: str
    is_file: bool
    size_bytes: int


def header(entry: Entry) -> bytes:
    """Return the header of an entry; a file's content follows, filled up with `padding`."""
    path, target = os.fsencode(entry.path), os.fsencode(entry.target)
    if entry.kind is Kind.DIRECTORY:
        path += b"/"
    seconds, rest_ns = divmod(entry.mtime_ns, _SECOND_NS)
    records = b""
    if not (_is_utf8(path) and _is_utf8(target)):
        records += _record(b"hdrcharset", b"BINARY")
    if rest_ns or not 0 <= seconds < _OCTAL_LIMIT:
        records += _record(b"mtime", f"{seconds}.{rest_ns:09d}".encode())
    if len(path) > _NAME_BYTES or not path.isascii():
        records += _record(b"path", path)
    if len(target) > _NAME_BYTES or not target.isascii():
        records += _record(b"linkpath", target)
    if entry.size_bytes >= _OCTAL_LIMIT:
        records += _record(b"size", str(entry.size_bytes).encode())
    own = _block(path, entry.mode, entry.size_bytes, seconds, _TYPES[entry.kind], target)
    if not records:
        return own
    pax = _block(b"././@PaxHeader", 0o600, len(records), 0, _PAX, b"")
    return pax + records + padding(len(records)) + own


def padding(length: int) -> bytes:
    """Return the zeros that fill content up to a whole block."""
    return bytes(-length % BLOCK_BYTES)


class TarReader:
    """Reads a stream that comes in pieces: `next` tells of a member, `content` gives its bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def next(self) -> Member | None:
        """Return the next member, None at the end. Its content must be taken before the next."""
        block = self._take(BLOCK_BYTES)
        if block == END[:BLOCK_BYTES]:
            return None
        records: dict[bytes, bytes] = {}
        if block[156:157] == _PAX:
            length = _octal(block[124:136])
            if length > _MAX_PAX_BYTES:
                raise SnapshotRefused(f"a header of {length} bytes is no header of ours")
            records = _records(self._take(length + len(padding(length)))[:length])
            block = self._take(BLOCK_BYTES)
        kind = block[156:157]
        if kind not in _TYPES.values() or block[257:263] != b"ustar\0":
            raise SnapshotRefused(f"there is something of type {kind!r} in it, which is not ours")
        path = records.get(b"path") or block[:_NAME_BYTES].rstrip(b"\0")
        size = records.get(b"size")
        size_bytes = _octal(block[124:136]) if size is None else _number(size)
        is_file = kind == _TYPES[Kind.FILE]
        return Member(os.fsdecode(path), is_file, size_bytes if is_file else 0)

    def content(self, length: int, take: Callable[[memoryview], None]) -> None:
        """Hand the content of a file to `take`, piece by piece, and skip its padding."""
        left = length
        while left:
            piece = self._some(left)
            take(piece)
            left -= len(piece)
        self._take(-length % BLOCK_BYTES)

    def _some(self, most: int) -> memoryview:
        if not self._piece:
            piece = next(self._pieces, b"")
            if not piece:
                raise SnapshotRefused("it ends in the middle of a file")
            self._piece = memoryview(piece)
        some, self._piece = self._piece[:most], self._piece[most:]
        return some

    def _take(self, length: int) -> bytes:
        pieces = []
        while length:
            piece = self._some(length)
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)


def _block(
    path: bytes, mode: int, size_bytes: int, seconds: int, kind: bytes, target: bytes
) -> bytes:
    """Lay out one block; what does not fit into a field is told by a record before it."""
    size_bytes = size_bytes if size_bytes < _OCTAL_LIMIT else 0
    seconds = seconds if 0 <= seconds < _OCTAL_LIMIT else 0
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\x0000" % (
        path[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"), mode, 0, 0, size_bytes, seconds, kind,
        target[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"),
    )  # fmt: skip
    check = b"%06o\0 " % sum(block)
    return (block[:148] + check + block[156:]).ljust(BLOCK_BYTES, b"\0")


def _record(key: bytes, value: bytes) -> bytes:
    """Write `LENGTH KEY=VALUE`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _records(data: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    while data:
        digits, _, _ = data.partition(b" ")
        length = _number(digits)
        record, data = data[len(digits) + 1 : length], data[length:]
        key, equals, value = record.partition(b"=")
        if length <= len(digits) or not equals or not value.endswith(b"\n"):
            raise SnapshotRefused("a header in it is not ours")
        found[key] = value[:-1]
    return found


def _octal(digits: bytes) -> int:
    try:
        return int(digits.rstrip(b"\0 "), 8)
    except ValueError:
        raise SnapshotRefused(f"{digits!r} in a header is no number") from None


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise SnapshotRefused(f"{digits[:20]!r} in a header is no number")
    return int(digits)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
