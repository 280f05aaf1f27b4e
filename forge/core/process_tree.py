"""Processes as a table of values, and the tree below one of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """A process that is no zombie. `threads` are all that it has, its first included."""

    pid: int
    parent: int
    name: str
    threads: int = 1
    resident_bytes: int = 0


def below(root: int, table: Iterable[Member]) -> list[Member]:
    """Return the children of `root` in a table, their children, and so on."""
    return _descend(root, _children(table))


def resident_bytes(roots: Iterable[int], table: Sequence[Member]) -> dict[int, int]:
    """Return for each of `roots` what it and all below it have resident; 0 when it is gone.

    Pages that two of them share count twice.
    """
    of = {one.pid: one for one in table}
    children = _children(table)
    found = {}
    for root in roots:
        tree = [of[root]] if root in of else []
        tree += _descend(root, dict(children))
        found[root] = sum(one.resident_bytes for one in tree)
    return found


def _children(table: Iterable[Member]) -> dict[int, list[Member]]:
    children: dict[int, list[Member]] = {}
    for one in table:
        children.setdefault(one.parent, []).append(one)
    return children


def _descend(root: int, children: dict[int, list[Member]]) -> list[Member]:
    """Take the tree below `root` out of `children`; no parent is asked twice, so circles end."""
    found = list(children.pop(root, ()))
    for one in found:  # grows while it is walked
        found += children.pop(one.pid, ())
    return found
