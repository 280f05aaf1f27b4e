"""Where the trees of a key are kept: `areas/KEY/PROJECT/CHECKOUT`, and what is known of each.

An area has the sources, in a directory named for the project, `.incoming` (contents on their way)
and `.state`. In there,
`manifest` is the tree as the client told it and `placed` the same with the times that the files
have here; both are there when the tree is whole, and are taken away before it is changed. `has_run`
is there once something has run in it, `totals` says how much room its tree takes.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from forge import paths
from forge.core import remote_tree
from forge.core.remote_policy import KeyRules
from forge.core.remote_tree import Entry, Kind
from forge.core.remote_values import to_text
from forge.errors import HostFailed, QuotaExceeded
from forge.host.state_dir import private_dir
from forge.host.tree_files import TreeFiles, make_below
from forge.host.whole_files import replace_file

AREAS = "areas"
MIN_FREE_BYTES = 256 << 20
"""So much of the disk stays free: others need it too."""


def areas_dir(env: Mapping[str, str]) -> str:
    """Return the directory of all areas."""
    return os.path.join(paths.state_dir(env), AREAS)


def key_dir(areas: str, rules: KeyRules) -> str:
    """Return the directory of a key: its areas and, under hidden names, its slots and jobs."""
    private_dir(areas)
    place = os.path.join(areas, rules.name)
    private_dir(place)
    return place


class Area:
    """One area. While it is `locked` nobody else changes it."""

    def __init__(self, areas: str, rules: KeyRules, project: str, checkout: str) -> None:
        self._rules = rules
        self.key_dir = key_dir(areas, rules)
        self.directory = os.path.join(self.key_dir, project, checkout)
        self.root = os.path.join(self.directory, project)
        top = os.open(areas, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in (project, ".incoming", ".state"):
                place = "/".join((rules.name, project, checkout, name))
                os.close(make_below(top, place.encode()))
        finally:
            os.close(top)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all others from changing the area."""
        descriptor = os.open(self._state("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def manifest(self) -> bytes:
        """Return the manifest of the tree; empty when none is whole."""
        return self._read("manifest")

    def tree(self) -> str:
        """Name the tree that is there; empty when none is whole."""
        if not os.path.exists(self._state("manifest")):
            return ""
        return remote_tree.digest_of(self.manifest())

    def drifted(self) -> set[bytes]:
        """Return the paths at which there is something else than what was placed."""
        fields = self._read("placed").split(b"\0")
        files = TreeFiles(self.root)
        try:
            return {
                path
                for head, path in zip(fields[0:-1:3], fields[1::3], strict=True)
                if not _is_as_placed(head, files.look(path))
            }
        finally:
            files.close()

    def placed(self) -> dict[str, Entry]:
        """Return the entries as they are here, by path."""
        return {one.path: one for one in remote_tree.decode(self._read("placed"))}

    @contextlib.contextmanager
    def changing(self, manifest: bytes, placed: dict[str, Entry]) -> Iterator[None]:
        """Note that the tree is being changed, and at the end what it is; `placed` by then."""
        for name in ("manifest", "placed"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._state(name))
        yield
        self._write("placed", remote_tree.encode(placed.values()))
        files = sum(one.kind is not Kind.DIRECTORY for one in placed.values())
        self._write("totals", f"{files} {sum(one.size for one in placed.values())}".encode())
        self._write("manifest", manifest)

    def changed_locks(self) -> list[str]:
        """Return the Cargo.lock of the tree that are not as the client sent them, or are new."""
        fields = self.manifest().split(b"\0")
        told = {
            path: head.split(b" ")[-1].decode()
            for head, path in zip(fields[0:-1:3], fields[1::3], strict=True)
            if path == b"Cargo.lock" or path.endswith(b"/Cargo.lock")
        }
        files = TreeFiles(self.root)
        try:
            paths = {b"Cargo.lock", *told}
            return [
                to_text(one)
                for one in sorted(paths)
                if (found := files.digest_of(one)) and found != told.get(one)
            ]
        finally:
            files.close()

    @property
    def has_run(self) -> bool:
        """Say whether something may have been built of what was here before."""
        return os.path.exists(self._state("has_run"))

    def note_run(self) -> None:
        """Take note that something runs here."""
        self._write("has_run", b"")

    def check_room(self, entries: Sequence[Entry]) -> None:
        """Raise QuotaExceeded or HostFailed when a tree does not fit beside the key's others."""
        files, size = len(entries), sum(one.size for one in entries)
        for other_files, other_size in self._totals_of_others():
            files += other_files
            size += other_size
        rules = self._rules
        if files > rules.max_files:
            raise QuotaExceeded(f"{files} files are over the {rules.max_files} of `{rules.name}`")
        if size > rules.max_bytes:
            raise QuotaExceeded(f"{size} bytes are over the {rules.max_bytes} of `{rules.name}`")

    def check_disk(self, size: int) -> None:
        """Raise HostFailed when the disk has no room for so many bytes more."""
        found = os.statvfs(self.directory)
        free = found.f_bavail * found.f_frsize - MIN_FREE_BYTES
        if size > free:
            raise HostFailed(f"the host's disk has no room for {size} bytes more")

    def _totals_of_others(self) -> Iterator[tuple[int, int]]:
        for project in os.scandir(self.key_dir):
            if project.name.startswith("."):
                continue  # slots and jobs
            for checkout in os.scandir(project.path):
                if checkout.path != self.directory:
                    with contextlib.suppress(OSError, ValueError):
                        path = os.path.join(checkout.path, ".state", "totals")
                        with open(path, encoding="ascii") as file:
                            files, size = file.read().split()
                        yield int(files), int(size)

    @property
    def incoming(self) -> str:
        """The directory of contents on their way."""
        return os.path.join(self.directory, ".incoming")

    def _state(self, name: str) -> str:
        return os.path.join(self.directory, ".state", name)

    def _read(self, name: str) -> bytes:
        try:
            with open(self._state(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _write(self, name: str, content: bytes) -> None:
        replace_file(self._state(name), content)


def as_placed(
    entry: Entry, before: Entry | None, told: Entry | None, now_ns: int, *, has_run: bool
) -> Entry:
    """Return what an entry is here. `before` and `told`: the last time, here and by the client.

    Cargo takes what is newer than its last build for changed. So what has changed is as new as now,
    once something has run here, whatever the client's clock says; the rest keeps its time.
    """
    if entry.kind is Kind.SYMLINK:
        return entry
    mode = entry.mode | (0o700 if entry.kind is Kind.DIRECTORY else 0o400)
    if before is not None and entry == told:
        return replace(entry, mode=mode, mtime_ns=before.mtime_ns)
    is_safe = not has_run and entry.mtime_ns <= now_ns
    return replace(entry, mode=mode, mtime_ns=entry.mtime_ns if is_safe else now_ns)


def _is_as_placed(head: bytes, found: os.stat_result | None) -> bool:
    """Compare an entry's head with what is there. What is in a directory changes its time."""
    if found is None:
        return False
    kind, mode = head[:1], found.st_mode
    if kind == b"f":
        told = b"f %o %d %d " % (mode & 0o7777, found.st_mtime_ns, found.st_size)
        return mode >> 12 == 0o10 and found.st_nlink == 1 and head.startswith(told)
    if kind == b"d":
        return mode >> 12 == 0o4 and head.startswith(b"d %o " % (mode & 0o777))
    return mode >> 12 == 0o12
