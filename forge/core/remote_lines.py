"""A tree as its encoded lines. The same as core/remote_tree.py, for a client that has 50,000 files.

An entry is kept as its head (kind, mode, time, size, digest) and its target by its path, all bytes
as they travel: what has changed is found by comparing bytes, and no entry is taken apart that has
not. What the host checks of a manifest, whoever makes lines keeps to.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from forge.core.remote_tree import NO_DIGEST

_NO_DIGEST = NO_DIGEST.encode()
_GONE = b"- 0 0 0 -"


class Line(NamedTuple):
    """One entry, without its path."""

    head: bytes
    target: bytes = b""

    @property
    def digest(self) -> bytes:
        """The digest of a file's content, `-` for others."""
        return self.head.rpartition(b" ")[2]

    @property
    def size(self) -> int:
        """The size of a file's content, 0 for others."""
        return int(self.head.split(b" ")[3])


class Content(NamedTuple):
    """A content that goes to the host: where it is, and what it has to be."""

    path: bytes
    size: int
    digest: bytes


Lines = Mapping[bytes, Line]


def file_head(mode: int, mtime_ns: int, size: int, digest: bytes) -> bytes:
    """Write the head of a file."""
    return b"f %o %d %d %b" % (mode & 0o777, max(mtime_ns, 0), size, digest)


def directory_head(mode: int, mtime_ns: int) -> bytes:
    """Write the head of a directory."""
    return b"d %o %d 0 -" % (mode & 0o777, max(mtime_ns, 0))


def symlink_head(mtime_ns: int) -> bytes:
    """Write the head of a symlink."""
    return b"l 777 %d 0 -" % max(mtime_ns, 0)


def encode(lines: Lines) -> bytes:
    """Write a manifest."""
    return b"".join(
        b"%b\0%b\0%b\0" % (lines[path].head, path, lines[path].target) for path in sorted(lines)
    )


def decode(encoded: bytes) -> dict[bytes, Line]:
    """Read a manifest that `encode` has written."""
    fields = encoded.split(b"\0")
    rows = zip(fields[1::3], fields[0:-1:3], fields[2::3], strict=True)
    return {path: Line(head, target) for path, head, target in rows}


def digest_of(encoded: bytes) -> str:
    """Name a tree by its manifest."""
    return hashlib.sha256(encoded).hexdigest()


def patch_between(base: Lines, new: Lines) -> dict[bytes, Line]:
    """Return the patch that makes `new` of `base`."""
    patch = {path: line for path, line in new.items() if base.get(path) != line}
    patch.update((path, Line(_GONE)) for path in base if path not in new)
    return patch


def packed_with(patch: Lines, base: Lines) -> Iterator[Content]:
    """Yield the contents that go with a patch: what `base` has not, each once."""
    known = {line.digest for line in base.values()}
    for path in sorted(patch):
        line = patch[path]
        if line.digest != _NO_DIGEST and line.digest not in known:
            known.add(line.digest)
            yield Content(path, line.size, line.digest)


def contents_at(lines: Lines, spans: list[list[int]]) -> Iterator[Content]:
    """Yield the contents of entries by their index, each once. Raises IndexError."""
    ordered = sorted(lines)
    sent: set[bytes] = set()
    for first, count in spans:
        if first + count > len(ordered):
            raise IndexError(f"there is no entry {first + count - 1}")
        for path in ordered[first : first + count]:
            line = lines[path]
            if line.digest != _NO_DIGEST and line.digest not in sent:
                sent.add(line.digest)
                yield Content(path, line.size, line.digest)
