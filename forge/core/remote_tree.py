"""The tree of sources that a client keeps on the host: its manifest, patches to it, and its name.

A manifest is a list of entries in the order of their paths' bytes. All parents of an entry are
entries too, and directories, so nothing can lie below a file or a symlink. Its canonical encoding
is what travels (compressed) and what is hashed: the same tree has the same digest on both ends, and
equal digests are all that is sent when nothing has changed.

Paths are relative, of bytes (text carries those that are not UTF-8 as lone surrogates, PEP 383),
and have no empty, `.` or `..` component: what a path means depends on nothing but the tree.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from forge.core.remote_values import to_bytes, to_text

MAX_PATH_BYTES = 4095
MAX_COMPONENT_BYTES = 255
MAX_DEPTH = 128
MAX_ENTRIES = 1_000_000
MAX_FILE_BYTES = 1 << 40
MAX_MANIFEST_BYTES = 64 << 20
NO_DIGEST = "-"


class Kind(StrEnum):
    """What an entry is. Nothing else travels: no device, no socket, no hard link."""

    FILE = "f"
    DIRECTORY = "d"
    SYMLINK = "l"
    GONE = "-"  # in a patch alone: the path is no entry any more


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree.

    `mode` is the permission bits (0 to 0o777), 0o777 for a symlink. `size` and `digest` (SHA-256,
    in hex) are a file's content; `target` is what a symlink says.
    """

    path: str
    kind: Kind
    mode: int = 0
    mtime_ns: int = 0
    size: int = 0
    digest: str = NO_DIGEST
    target: str = ""


class TreeInvalid(ValueError):
    """What came is no manifest."""


def digest_of(encoded: bytes) -> str:
    """Name a tree by its canonical encoding."""
    return hashlib.sha256(encoded).hexdigest()


def encode(entries: Iterable[Entry]) -> bytes:
    """Write entries canonically, in whatever order they come."""
    ordered = sorted((to_bytes(one.path), one) for one in entries)
    return b"".join(_line(path, one) for path, one in ordered)


def _line(path: bytes, one: Entry) -> bytes:
    head = f"{one.kind} {one.mode:o} {one.mtime_ns} {one.size} {one.digest}\0"
    return b"%b%b\0%b\0" % (head.encode(), path, to_bytes(one.target))


_HEAD = re.compile(
    r"([fdl-]) (0|[1-7][0-7]{0,2}) (0|[1-9][0-9]{0,18}) (0|[1-9][0-9]{0,12}) (-|[0-9a-f]{64})",
    re.ASCII,
)


def decode(encoded: bytes) -> list[Entry]:
    """Read a manifest; TreeInvalid when it is not one, or not written canonically."""
    entries = _read(encoded, may_be_gone=False)
    check(entries)
    return entries


def decode_patch(encoded: bytes) -> list[Entry]:
    """Read a patch: entries that are new or other ones, and paths that are gone."""
    return _read(encoded, may_be_gone=True)


def _read(encoded: bytes, *, may_be_gone: bool) -> list[Entry]:
    if len(encoded) > MAX_MANIFEST_BYTES:
        raise TreeInvalid(f"{len(encoded)} bytes are over the limit of {MAX_MANIFEST_BYTES}")
    fields = encoded.split(b"\0")
    if fields.pop() or len(fields) % 3:
        raise TreeInvalid("it ends in the middle of an entry")
    if len(fields) // 3 > MAX_ENTRIES:
        raise TreeInvalid(f"{len(fields) // 3} entries are over the limit of {MAX_ENTRIES}")
    entries: list[Entry] = []
    before: bytes | None = None
    for at in range(0, len(fields), 3):
        head, path, target = fields[at : at + 3]
        if before is not None and path <= before:
            _refuse(path, "is out of order")
        entries.append(_entry(head, path, target, may_be_gone))
        before = path
    return entries


def _entry(head: bytes, path: bytes, target: bytes, may_be_gone: bool) -> Entry:
    found = _HEAD.fullmatch(head.decode("ascii", "replace"))
    if not found:
        _refuse(path, "has a head that cannot be read")
    kind, mode, mtime_ns, size, digest = found.groups()
    reason = path_refusal(path)
    if reason:
        _refuse(path, reason)
    one = Entry(
        to_text(path), Kind(kind), int(mode, 8), int(mtime_ns), int(size), digest,
        to_text(target),
    )  # fmt: skip
    if one.kind is Kind.GONE and not may_be_gone:
        _refuse(path, "is gone, in no patch")
    if (one.kind is Kind.FILE) == (digest == NO_DIGEST) or (one.kind is not Kind.FILE and one.size):
        _refuse(path, "has a content that does not fit its kind")
    if (one.kind is Kind.SYMLINK) != bool(target) or len(target) > MAX_PATH_BYTES:
        _refuse(path, "has a target that does not fit its kind")
    if one.size > MAX_FILE_BYTES or one.mtime_ns >= 1 << 63:
        _refuse(path, "has a number that is too large")
    if one.kind is Kind.GONE and (one.mode or one.mtime_ns):
        _refuse(path, "is gone, with a mode or a time")
    return one


def path_refusal(path: bytes) -> str:
    """Say what is wrong with a path; empty when nothing is."""
    if not path or len(path) > MAX_PATH_BYTES or b"\0" in path:
        return "is empty, too long, or has a NUL"
    components = path.split(b"/")
    if len(components) > MAX_DEPTH:
        return "is too deep"
    for one in components:
        if one in (b"", b".", b".."):
            return "is not a plain relative path"
        if len(one) > MAX_COMPONENT_BYTES:
            return "has a component that is too long"
    return ""


def check(entries: Sequence[Entry]) -> None:
    """Raise TreeInvalid unless all parents are directories and all links stay inside the tree."""
    directories = {one.path for one in entries if one.kind is Kind.DIRECTORY}
    for one in entries:
        parent, _, _ = one.path.rpartition("/")
        if parent and parent not in directories:
            _refuse(to_bytes(one.path), "lies in what is no directory of the tree")
        if one.kind is Kind.SYMLINK and not stays_inside(one.path, one.target):
            _refuse(to_bytes(one.path), "is a symlink that leads out of the tree")


def stays_inside(path: str, target: str) -> bool:
    """Say whether a symlink leads to a path inside the tree, by its text alone.

    A target that passes through another symlink may still lead elsewhere in the tree, and no
    further: each of them stays inside, wherever its `..` are counted from. So `..` may only come
    first, at most as many as the link's directory is deep.
    """
    if target.startswith("/") or "\0" in target:
        return False
    components = [one for one in target.split("/") if one not in ("", ".")]
    ups = 0
    while ups < len(components) and components[ups] == "..":
        ups += 1
    return ".." not in components[ups:] and ups <= path.count("/")


def patch_between(base: Sequence[Entry], new: Sequence[Entry]) -> list[Entry]:
    """Return the patch that makes `new` of `base`."""
    before = {one.path: one for one in base}
    after = {one.path for one in new}
    patch = [one for one in new if before.get(one.path) != one]
    patch += [Entry(path, Kind.GONE) for path in before if path not in after]
    return sorted(patch, key=_order)


def patched(base: Sequence[Entry], patch: Sequence[Entry]) -> list[Entry]:
    """Return what a patch makes of `base`. Raises TreeInvalid when that is no tree."""
    entries = {one.path: one for one in base}
    for one in patch:
        if one.kind is not Kind.GONE:
            entries[one.path] = one
        elif entries.pop(one.path, None) is None:
            _refuse(to_bytes(one.path), "is gone, and was never there")
    whole = sorted(entries.values(), key=_order)
    check(whole)
    return whole


def packed_with(patch: Sequence[Entry], base: Sequence[Entry]) -> list[Entry]:
    """Return the files whose content goes with a patch: what `base` has not, each once."""
    known = {one.digest for one in base}
    return list(first_of_each(one for one in patch if one.digest not in known))


def first_of_each(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the first file of each content."""
    seen = {NO_DIGEST}
    for one in entries:
        if one.digest not in seen:
            seen.add(one.digest)
            yield one


def to_spans(indices: Iterable[int]) -> list[list[int]]:
    """Write indices, which come in order, as pairs of a first one and a count."""
    found: list[list[int]] = []
    for index in indices:
        if found and sum(found[-1]) == index:
            found[-1][1] += 1
        else:
            found.append([index, 1])
    return found


def from_spans(spans: Iterable[Sequence[int]]) -> Iterator[int]:
    """Read them again."""
    for first, count in spans:
        yield from range(first, first + count)


def _order(one: Entry) -> bytes:
    return to_bytes(one.path)


def _refuse(path: bytes, why: str) -> NoReturn:
    raise TreeInvalid(f"{to_text(path[:200])!a} {why}")
