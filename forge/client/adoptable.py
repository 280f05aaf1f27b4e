"""Finds the `target/` directories of projects that could be moved onto the RAM disk."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from forge.errors import TreeRefused
from forge.host.adoption import check_target
from forge.host.disk_usage import measure_tree

NAME = "target"
PASSED_OVER = {"node_modules"}


@dataclass(frozen=True, slots=True)
class Adoptable:
    """A target directory of cargo's: its project, its size, and how long ago it was used."""

    path: str
    project: str
    size_bytes: int
    files: int
    age_s: float


def find_targets(directory: str, *, recursive: bool) -> list[Adoptable]:
    """Return the target directory of the project in `directory`; of all below, if `recursive`.

    No link is followed, and no other file system entered. Raises TreeRefused when the one project
    has none.
    """
    if not recursive:
        path = os.path.join(directory, NAME)
        check_target(path)
        return [_measured(path)]
    return [_measured(path) for path in _below(directory)]


def _below(top: str) -> Iterator[str]:
    device = os.lstat(top).st_dev
    for directory, names, _ in os.walk(top):
        if NAME in names and _is_target(os.path.join(directory, NAME)):
            yield os.path.join(directory, NAME)
            names.remove(NAME)
        names[:] = sorted(
            name
            for name in names
            if not name.startswith(".")
            and name not in PASSED_OVER
            and _is_on(os.path.join(directory, name), device)
        )


def _is_target(path: str) -> bool:
    try:
        check_target(path)
    except TreeRefused:
        return False
    return True


def _is_on(path: str, device: int) -> bool:
    try:
        return os.lstat(path).st_dev == device
    except OSError:
        return False


def _measured(path: str) -> Adoptable:
    size = measure_tree(path)
    used_at = max((_changed_at(one) for one in (path, *_profiles(path))), default=0.0)
    return Adoptable(
        path,
        os.path.dirname(path),
        size.size_bytes if size else 0,
        size.files if size else 0,
        max(0.0, time.time() - used_at),
    )


def _profiles(path: str) -> list[str]:
    return [os.path.join(path, name) for name in os.listdir(path)]


def _changed_at(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0
