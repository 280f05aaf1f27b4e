"""Read what a GGUF file says of its model: versions 2 and 3, in one file or split into several.

Only the metadata at the beginning are read, never a tensor. The file may be anything: it may end
anywhere, claim counts that no memory holds, be replaced while we read, be a pipe. So nothing is
believed before it is compared with a bound, nothing large is kept, and reading never blocks.

The bytes of a model are the sizes of its files. The header is part of them: some 10 MiB of a large
vocabulary, which llama-server reads and does not keep mapped.
"""

import os
import re
import stat
import struct
from dataclasses import dataclass, field
from typing import Any

from forge.core.gguf_shape import LongArray, ModelFile, ShapeUnknown, shape_of
from forge.errors import ModelUnreadable

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_KEYS = 1 << 16
MOST_TENSORS = 1 << 20
LONGEST_KEY = 1 << 16
LONGEST_STRING = 1 << 26
LONGEST_KEPT = 1 << 10  # strings beyond it are templates and the like
MOST_VALUES = 1 << 24
MOST_KEPT = 4096  # arrays beyond it are vocabularies
LONGEST_HEADER = 1 << 30
MOST_PARTS = 1000
CHUNK_BYTES = 1 << 18

_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_FORMATS[12] = "d"
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")


class _Broken(Exception):
    """What is wrong with a file, in words."""


def read_model(path: str) -> ModelFile:
    """Read a model: the file that llama-server is given, or the first of a split one.

    Raises ModelUnreadable with the path and what is wrong.
    """
    try:
        metadata, size_bytes = _read_file(path)
        parts = other_parts(path)
        return ModelFile(path, size_bytes + sum(map(_size, parts)), shape_of(metadata))
    except (_Broken, ShapeUnknown) as error:
        raise ModelUnreadable(f"{path}: {error}") from None
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else path
        raise ModelUnreadable(f"{where}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ModelUnreadable(f"{path!r}: no file can have that name") from None


@dataclass(slots=True)
class KnownModels:
    """Models by path, read again only when their file has changed."""

    _known: dict[str, tuple[tuple[int, ...], ModelFile]] = field(default_factory=dict)

    def read(self, path: str) -> ModelFile:
        """Return a model as `read_model` does."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            self._known.pop(path, None)
            return read_model(path)  # which says why not
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if path not in self._known or self._known[path][0] != stamp:
            self._known[path] = (stamp, read_model(path))
        return self._known[path][1]


def other_parts(path: str) -> list[str]:
    """Name the other files of a split model; the one that is named must be the first.

    One that was read is split as it should be.
    """
    match = _SPLIT.fullmatch(path)
    if not match:
        return []
    stem, number, count = match[1], int(match[2]), int(match[3])
    if number != 1 or not 1 <= count <= MOST_PARTS:
        raise _Broken(f"it is part {number} of {count}; llama-server takes the first of a model")
    return [f"{stem}-{n:05}-of-{match[3]}.gguf" for n in range(2, count + 1)]


def _size(path: str) -> int:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise _Broken(f"its part {path} is no file")
    return status.st_size


def _read_file(path: str) -> tuple[dict[str, Any], int]:
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold us
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise _Broken("it is no file")
        return _read_metadata(_Source(opened, min(status.st_size, LONGEST_HEADER))), status.st_size
    finally:
        os.close(opened)


class _Source:
    """The beginning of a file, read in order. Invariant: `at` never passes `end`."""

    def __init__(self, opened: int, end: int) -> None:
        self.opened = opened
        self.end = end
        self.chunk = b""
        self.chunk_at = 0
        self.at = 0

    def take(self, count: int) -> bytes:
        start = self.at - self.chunk_at
        if not 0 <= start <= len(self.chunk) - count:
            self._need(count)
            self.chunk = os.pread(self.opened, max(count, CHUNK_BYTES), self.at)
            self.chunk_at, start = self.at, 0
            if len(self.chunk) < count:
                raise _Broken(f"it ends at byte {self.at + len(self.chunk)}, within its header")
        self.at += count
        return self.chunk[start : start + count]

    def skip(self, count: int) -> None:
        self._need(count)
        self.at += count

    def skip_strings(self, count: int) -> None:
        """Pass over so many strings: a large vocabulary is read in a tenth of a second."""
        for _ in range(count):
            length = _LENGTH.unpack(self.take(8))[0]
            if length > LONGEST_STRING:
                raise _Broken(f"it claims a string of {length} bytes")
            self.skip(length)

    def _need(self, count: int) -> None:
        if count > self.end - self.at:
            raise _Broken(f"it ends at byte {self.end}, within its header")


def _read_metadata(source: _Source) -> dict[str, Any]:
    if source.take(4) != MAGIC:
        raise _Broken("it is not in the format GGUF")
    version = _number(source, "I")
    if version not in VERSIONS:
        is_swapped = version & 0xFFFF == 0
        what = "is in the other byte order" if is_swapped else f"has version {version} of GGUF"
        raise _Broken(f"it {what}; versions 2 and 3 can be read")
    _bounded(source, MOST_TENSORS, "tensors")
    keys = _bounded(source, MOST_KEYS, "keys")
    metadata = {}
    for _ in range(keys):
        key = _string(source, LONGEST_KEY)
        metadata[key] = _value(source, _number(source, "I"))
    return metadata


def _value(source: _Source, kind: int) -> Any:
    if kind == _STRING:
        return _string(source, LONGEST_STRING)
    if kind == _ARRAY:
        return _array(source)
    if kind not in _FORMATS:
        raise _Broken(f"it has a value of the unknown type {kind}")
    return _number(source, _FORMATS[kind])


def _array(source: _Source) -> Any:
    kind = _number(source, "I")
    count = _bounded(source, MOST_VALUES, "values of an array")
    if kind == _STRING:
        source.skip_strings(count)
        return LongArray(count)
    if kind not in _FORMATS:
        what = "arrays" if kind == _ARRAY else f"the unknown type {kind}"
        raise _Broken(f"it has an array of {what}")
    if count > MOST_KEPT:
        source.skip(count * struct.calcsize(f"<{_FORMATS[kind]}"))
        return LongArray(count)
    form = f"<{count}{_FORMATS[kind]}"
    return list(struct.unpack(form, source.take(struct.calcsize(form))))


def _bounded(source: _Source, most: int, what: str) -> int:
    count = int(_number(source, "Q"))
    if count > most:
        raise _Broken(f"it claims {count} {what}")
    return count


def _string(source: _Source, longest: int) -> str:
    """Read a string; one that is too long to be of use is passed over."""
    length = int(_number(source, "Q"))
    if length > longest:
        raise _Broken(f"it claims a string of {length} bytes")
    if length > LONGEST_KEPT:
        source.skip(length)
        return ""
    return source.take(length).decode("utf-8", "replace")


def _number(source: _Source, form: str) -> Any:
    return struct.unpack(f"<{form}", source.take(struct.calcsize(f"<{form}")))[0]
