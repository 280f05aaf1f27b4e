"""Which cargo workspace a command line is about, found the way cargo finds it.

Asking cargo itself (`locate-project`) costs 16 to 57 ms, more than all else that Forge adds to a
no-op build. The search follows cargo 1.95: the nearest Cargo.toml upwards; its own `[workspace]` or
`package.workspace`; else the nearest ancestor with a `[workspace]` that does not exclude it; never
across CARGO_HOME. Manifests are parsed once for as long as they do not change.
"""

import fcntl
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from forge.core.cargo_args import expanded, parse
from forge.core.workspace import Workspace
from forge.host.cargo_config import CargoConfigFiles
from forge.host.toml_files import TomlFiles, upwards
from forge.paths import home


class _Outside(Exception):
    """The command is outside any workspace; the text says why."""


class Workspaces:
    """The finder, with the files it has parsed."""

    def __init__(self) -> None:
        self._files = TomlFiles()

    def find(self, cwd: str, argv: Sequence[str], env: Mapping[str, str]) -> Workspace:
        """Return where a command line stands, given in `cwd` and with `env`."""
        args = parse(argv)
        base = os.path.normpath(os.path.join(cwd, args.directory) if args.directory else cwd)
        cargo_home = env.get("CARGO_HOME") or os.path.join(home(env), ".cargo")
        files = CargoConfigFiles(self._files, base, cargo_home)
        whole = expanded(args.argv, files.aliases())
        if whole != args.argv:
            args = parse(whole)
        config = files.config(args.configs)
        changed = None if whole == tuple(argv) else whole
        try:
            manifest = self._manifest(base, args.manifest_path)
        except _Outside as reason:
            return Workspace(None, changed, base, config, str(reason))
        root = canonical(os.path.dirname(self._root_manifest(manifest, cargo_home)))
        return Workspace(root, changed, base, config)

    def _manifest(self, base: str, manifest_path: str | None) -> str:
        if manifest_path:
            path = os.path.join(base, manifest_path)
            if not os.path.isfile(path):
                raise _Outside(f"there is no {path}")
            if os.path.basename(path) != "Cargo.toml":
                raise _Outside(f"{path} is a script: cargo builds those in a directory of its own")
            return os.path.normpath(path)
        for directory in upwards(base):
            path = os.path.join(directory, "Cargo.toml")
            if os.path.isfile(path):
                return path
        raise _Outside(f"there is no Cargo.toml in {base} or above it")

    def _root_manifest(self, manifest: str, cargo_home: str) -> str:
        document = self._files.read(manifest)
        if "workspace" in document:
            return manifest
        package = document.get("package")
        pointer = package.get("workspace") if isinstance(package, dict) else None
        if isinstance(pointer, str):
            return os.path.normpath(os.path.join(os.path.dirname(manifest), pointer, "Cargo.toml"))
        for directory in upwards(os.path.dirname(os.path.dirname(manifest))):
            if directory == cargo_home:
                break
            candidate = os.path.join(directory, "Cargo.toml")
            if os.path.isfile(candidate):
                above = self._files.read(candidate)
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
