"""Directories outside of a workspace's root that its build needs: members and path dependencies.

They are read from the manifests, as cargo reads them: the members of the workspace, and from there
every `path` of a dependency, a patch or a replacement, and so on. `cargo metadata` would say the
same in fifty times the time, and may ask the registry.
"""

import glob
import os
from collections.abc import Iterator
from typing import Any

from forge.host.toml_files import TomlFiles, upwards

_TABLES = ("dependencies", "dev-dependencies", "build-dependencies")
_OTHER_NAMES = ("dev_dependencies", "build_dependencies")
_CONFIG = (
    (".cargo", "config.toml"), (".cargo", "config"), ("rust-toolchain.toml",), ("rust-toolchain",),
)  # fmt: skip
_MOST = 2000


def outside_of(root: str) -> list[str]:
    """Return the directories outside of a workspace root that belong to its build, sorted."""
    files = TomlFiles()
    seen: set[str] = set()
    waiting = [root]
    while waiting and len(seen) < _MOST:
        directory = waiting.pop()
        if directory not in seen:
            seen.add(directory)
            waiting += _named_by(files, directory)
    found = sorted(one for one in seen if not lies_in(one, root))
    return [one for one in found if not any(lies_in(one, other) for other in found if other != one)]


def settings_above(root: str) -> list[str]:
    """Return the files above a root that steer cargo there, within the same repository."""
    if os.path.lexists(os.path.join(root, ".git")):
        return []
    found: list[str] = []
    for directory in upwards(os.path.dirname(root)):
        found += filter(os.path.isfile, (os.path.join(directory, *names) for names in _CONFIG))
        if os.path.lexists(os.path.join(directory, ".git")):
            return found
    return []  # no repository: what is above is somebody else's


def lies_in(path: str, directory: str) -> bool:
    """Say whether a path is a directory, or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _named_by(files: TomlFiles, directory: str) -> Iterator[str]:
    """Yield the packages that a manifest names by their place."""
    document = files.read(os.path.join(directory, "Cargo.toml"))
    for written in _paths(document):
        place = os.path.realpath(os.path.join(directory, written))
        if os.path.isfile(os.path.join(place, "Cargo.toml")):
            yield place
    for pattern in _members(document):
        for place in glob.iglob(os.path.join(glob.escape(directory), pattern)):
            if os.path.isfile(os.path.join(place, "Cargo.toml")):
                yield os.path.realpath(place)


def _members(document: dict[str, Any]) -> list[str]:
    members = _table(document.get("workspace")).get("members")
    return [one for one in members if isinstance(one, str)] if isinstance(members, list) else []


def _paths(document: dict[str, Any]) -> Iterator[str]:
    tables = [document, _table(document.get("workspace"))]
    tables += [_table(one) for one in _table(document.get("target")).values()]
    for table in tables:
        for name in (*_TABLES, *_OTHER_NAMES):
            yield from _paths_in(_table(table.get(name)))
    for patched in _table(document.get("patch")).values():
        yield from _paths_in(_table(patched))
    yield from _paths_in(_table(document.get("replace")))


def _paths_in(dependencies: dict[str, Any]) -> Iterator[str]:
    for one in dependencies.values():
        path = _table(one).get("path")
        if isinstance(path, str):
            yield path


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
