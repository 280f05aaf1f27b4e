"""Copies of whole trees, with their times to the nanosecond, their links and hard links.

The copy is made in a directory that is new, or empty and ours: directories first, links last, so
that nothing is ever written through a link.
"""

import os
from collections.abc import Callable, Sequence

from forge.errors import TreeRefused
from forge.host.file_copies import FileCopies, are_equal
from forge.host.trees import Entry, Kind, TreeFiles, walk

OnBytes = Callable[[int, int], None]


def copy_tree(
    source: str,
    entries: Sequence[Entry],
    copy: str,
    on_bytes: OnBytes = lambda _done, _of: None,
    shares: Callable[[Entry], bool] = lambda _entry: False,
) -> None:
    """Copy these entries of a tree into the directory `copy`.

    A file that `shares` says yes to gets a second name instead. Raises OSError, TreeRefused when a
    file is not what it was when it was walked, and what `on_bytes` raises.
    """
    whole = sum(entry.size_bytes for entry in entries)
    done, copies = 0, FileCopies()
    for entry in _of(entries, Kind.DIRECTORY):
        os.mkdir(f"{copy}/{entry.path}", 0o700)
    with TreeFiles(source) as files:
        for entry in _of(entries, Kind.FILE):
            if shares(entry):
                os.link(f"{source}/{entry.path}", f"{copy}/{entry.path}", follow_symlinks=False)
            else:
                _copy_file(files, entry, f"{copy}/{entry.path}", copies)
            done += entry.size_bytes
            on_bytes(done, whole)
    first_names = {entry.path for entry in entries if entry.kind is Kind.FILE}
    for entry in _of(entries, Kind.HARD_LINK):
        if entry.target in first_names:
            os.link(f"{copy}/{entry.target}", f"{copy}/{entry.path}", follow_symlinks=False)
    for entry in _of(entries, Kind.LINK):
        os.symlink(entry.target, f"{copy}/{entry.path}")
        _set_times(f"{copy}/{entry.path}", entry)
    for entry in reversed(_of(entries, Kind.DIRECTORY)):
        os.chmod(f"{copy}/{entry.path}", entry.mode)
        _set_times(f"{copy}/{entry.path}", entry)


def verify_copy(
    source: str,
    entries: Sequence[Entry],
    copy: str,
    on_bytes: OnBytes = lambda _done, _of: None,
) -> None:
    """See that a copy has all that the source has, byte for byte. Raises TreeRefused.

    Both are walked anew: the source must be what it was when `entries` was walked.
    """
    now = walk(source).entries
    if now != list(entries):
        raise TreeRefused(f"{source} changed while it was copied")
    there = walk(copy).entries
    if [_what(entry) for entry in there] != [_what(entry) for entry in now]:
        raise TreeRefused(f"the copy of {source} is not what it should be")
    whole, done = sum(entry.size_bytes for entry in now), 0
    with TreeFiles(source) as ours, TreeFiles(copy) as theirs:
        for one, other in zip(now, there, strict=True):
            if one.kind is not Kind.FILE:
                continue
            if not _same_content(ours.open(one), theirs.open(other)):
                raise TreeRefused(f"the copy of {source}/{one.path} has another content")
            done += one.size_bytes
            on_bytes(done, whole)


def _copy_file(files: TreeFiles, entry: Entry, path: str, copies: FileCopies) -> None:
    source = files.open(entry)
    try:
        copy = copies.copy(source, path, entry.mode)
    finally:
        os.close(source)
    try:
        if os.fstat(copy).st_size != entry.size_bytes:
            raise TreeRefused(f"{entry.path} changed while it was copied")
        os.fchmod(copy, entry.mode)
        os.utime(copy, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(copy)


def _same_content(one: int, other: int) -> bool:
    try:
        return are_equal(one, other)
    finally:
        os.close(one)
        os.close(other)


def _what(entry: Entry) -> tuple[object, ...]:
    return entry.path, entry.kind, entry.mode, entry.size_bytes, entry.mtime_ns, entry.target


def _set_times(path: str, entry: Entry) -> None:
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)


def _of(entries: Sequence[Entry], kind: Kind) -> list[Entry]:
    return [entry for entry in entries if entry.kind is kind]
