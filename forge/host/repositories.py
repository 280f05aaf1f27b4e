"""Which repository a checkout belongs to, read from git's files; git itself is not run.

Source: gitrepository-layout(5): in a linked worktree `.git` is a file that names a directory, whose
`commondir` names the repository that all its worktrees share.
"""

import os
from typing import NamedTuple

_MAX_BYTES = 65536


class Place(NamedTuple):
    """A directory within a repository: two checkouts have the same one in common."""

    repository: str
    path: str


def place_of(root: str) -> Place | None:
    """Return where in which repository a directory is; None when it is in none."""
    top = root
    while not os.path.lexists(os.path.join(top, ".git")):
        above = os.path.dirname(top)
        if above == top:
            return None
        top = above
    git = os.path.join(top, ".git")
    if not os.path.isdir(git):
        named = _line(git).removeprefix("gitdir:").strip()
        if not named:
            return None
        git = os.path.join(top, named)
    common = _line(os.path.join(git, "commondir"))
    return Place(os.path.realpath(os.path.join(git, common)), os.path.relpath(root, top))


def _line(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(_MAX_BYTES)).strip()
    except OSError:
        return ""
