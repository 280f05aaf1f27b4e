"""Which cargo workspace a command line is about, found the way cargo finds it.

Asking cargo itself (`locate-project`) costs 16 to 57 ms, more than all else that Forge adds to a
no-op build. The search follows cargo 1.95: the nearest Cargo.toml upwards; its own `[workspace]` or
`package.workspace`; else the nearest ancestor with a `[workspace]` that does not exclude it; never
across CARGO_HOME. Manifests are parsed once for as long as they do not change.
"""

import fcntl
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from forge.core.workspace import Workspace
from forge.paths import home

_Stamp = tuple[int, int, int]
_CACHED_FILES = 4096


class Outside(Exception):
    """The command is outside any workspace; the text says why."""


@dataclass(slots=True)
class Workspaces:
    """The finder, with the files it has parsed. Invariant: a file is parsed as its stamp says."""

    _parsed: dict[str, tuple[_Stamp, dict[str, Any]]]

    def __init__(self) -> None:
        self._parsed = {}

    def find(
        self,
        cwd: str,
        directory: str | None,
        manifest_path: str | None,
        verb: str | None,
        env: Mapping[str, str],
    ) -> Workspace:
        """Return the workspace of a command line. Raises Outside when there is none.

        `directory` is `-C`'s value, `manifest_path` the option's; both may be relative.
        """
        base = os.path.join(cwd, directory) if directory else cwd
        manifest = self._manifest(base, manifest_path)
        cargo_home = env.get("CARGO_HOME") or os.path.join(home(env), ".cargo")
        root = canonical(os.path.dirname(self._root_manifest(manifest, cargo_home)))
        target_dir, file, alias_of = self._cargo_config(base, cargo_home, verb)
        return Workspace(root, target_dir, file, alias_of)

    def _manifest(self, base: str, manifest_path: str | None) -> str:
        if manifest_path:
            path = os.path.join(base, manifest_path)
            if not os.path.isfile(path):
                raise Outside(f"there is no {path}")
            if os.path.basename(path) != "Cargo.toml":
                raise Outside(f"{path} is a script: cargo builds those in a directory of its own")
            return os.path.normpath(path)
        for directory in _upwards(os.path.normpath(base)):
            path = os.path.join(directory, "Cargo.toml")
            if os.path.isfile(path):
                return path
        raise Outside(f"there is no Cargo.toml in {base} or above it")

    def _root_manifest(self, manifest: str, cargo_home: str) -> str:
        document = self._toml(manifest)
        if "workspace" in document:
            return manifest
        package = document.get("package")
        pointer = package.get("workspace") if isinstance(package, dict) else None
        if isinstance(pointer, str):
            return os.path.normpath(os.path.join(os.path.dirname(manifest), pointer, "Cargo.toml"))
        for directory in _upwards(os.path.dirname(os.path.dirname(manifest))):
            if directory == cargo_home:
                break
            candidate = os.path.join(directory, "Cargo.toml")
            if os.path.isfile(candidate):
                above = self._toml(candidate)
                found = above.get("workspace")
                if isinstance(found, dict):
                    if _excludes(found, directory, manifest):
                        continue
                    return candidate
                package = above.get("package")
                pointer = package.get("workspace") if isinstance(package, dict) else None
                if isinstance(pointer, str):
                    return os.path.normpath(os.path.join(directory, pointer, "Cargo.toml"))
        return manifest

    def _cargo_config(
        self, base: str, cargo_home: str, verb: str | None
    ) -> tuple[str | None, str | None, str | None]:
        """Return build.target-dir, its file, and what `verb` is an alias of; nearest file wins."""
        target_dir = file = alias_of = None
        places = [os.path.join(directory, ".cargo") for directory in _upwards(base)]
        for place in dict.fromkeys([*places, cargo_home]):
            for name in ("config", "config.toml"):
                path = os.path.join(place, name)
                document = self._toml(path)
                build, alias = document.get("build"), document.get("alias")
                if target_dir is None and isinstance(build, dict):
                    value = build.get("target-dir")
                    target_dir, file = (value, path) if isinstance(value, str) else (None, None)
                if alias_of is None and isinstance(alias, dict):
                    alias_of = _first_word(alias.get(verb or ""))
                if document:
                    break
        return target_dir, file, alias_of

    def _toml(self, path: str) -> dict[str, Any]:
        """Parse a file, once per state of it; {} when absent or broken: cargo will tell."""
        try:
            status = os.stat(path)
        except OSError:
            self._parsed.pop(path, None)
            return {}
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._parsed.get(path)
        if known and known[0] == stamp:
            return known[1]
        try:
            with open(path, "rb") as file:
                document = tomllib.load(file)
        except (OSError, ValueError, RecursionError):
            document = {}
        if len(self._parsed) >= _CACHED_FILES:
            self._parsed.clear()
        self._parsed[path] = (stamp, document)
        return document


def canonical(path: str) -> str:
    """Return the one name of a directory: links resolved and, on macOS, letters' case as stored."""
    real = os.path.realpath(path)
    if sys.platform != "darwin":
        return real
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return real
    try:
        return os.fsdecode(fcntl.fcntl(descriptor, 50, bytes(1024)).split(b"\0")[0])  # F_GETPATH
    finally:
        os.close(descriptor)


def _upwards(directory: str) -> Iterator[str]:
    while True:
        yield directory
        parent = os.path.dirname(directory)
        if parent == directory:
            return
        directory = parent


def _excludes(workspace: dict[str, Any], root: str, manifest: str) -> bool:
    """Say whether `[workspace]` at `root` excludes a manifest: `members` beats `exclude`."""

    def names(key: str) -> bool:
        paths = workspace.get(key)
        return isinstance(paths, list) and any(
            isinstance(path, str) and _lies_in(manifest, os.path.join(root, path)) for path in paths
        )

    return names("exclude") and not names("members")


def _lies_in(path: str, directory: str) -> bool:
    directory = os.path.normpath(directory)
    return path == directory or path.startswith(directory + os.sep)


def _first_word(alias: object) -> str | None:
    words = alias.split() if isinstance(alias, str) else alias
    if isinstance(words, list) and words and isinstance(words[0], str):
        return words[0]
    return None
