"""Restoring a snapshot: into a draft beside its place on the RAM disk, then under its name.

The index says what there is to be; of the layers only the content of files is taken, each frame
only when its digest fits. Directories come first and links last, so while files are written there
is no link in the draft that one could be written through. Times come at the very end, to the
nanosecond: cargo compares them.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from forge.core.disk import Disk
from forge.core.snapshots import Snapshot
from forge.core.units import show_bytes
from forge.errors import ForgeError, SnapshotFailed, SnapshotRefused
from forge.host.frames import Frame, read_frames, write_all
from forge.host.saving import OnBytes
from forge.host.snapshot_files import LAYERS, Placed
from forge.host.snapshots import SnapshotStore
from forge.host.tar_stream import TarReader
from forge.host.target_dirs import draft_on, take_place
from forge.host.trees import Entry, Kind, remove_tree, walk

HOLE_BYTES = 64 * 1024
"""In a file that had holes, so many zeros in a row become one again."""

_ZEROS = bytes(HOLE_BYTES)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def restore(
    store: SnapshotStore,
    snapshot: Snapshot,
    disk: Disk,
    room_bytes: int,
    on_bytes: OnBytes = lambda _done, _of: None,
) -> str:
    """Make the target dir of a snapshot again on the disk; return its path.

    What is there under its name gives way only when all of the new one is there, and only if no
    cargo uses it. Raises SnapshotRefused, SnapshotFailed, NoSuchSnapshot, TargetDirBusy,
    DiskUnavailable, and what `on_bytes` raises; in every case nothing half restored is left.
    """
    if snapshot.size_bytes > room_bytes:
        raise SnapshotFailed(
            f"snapshot {snapshot.id} has {show_bytes(snapshot.size_bytes)}, and the RAM disk only"
            f" {show_bytes(room_bytes)} free"
        )
    placed = store.index(snapshot.name, snapshot.id)
    draft = draft_on(disk)
    try:
        _Restoring(store, snapshot, draft, placed, on_bytes).run()
        path = os.path.join(disk.mount_point, snapshot.name)
        take_place(disk, draft, path)
    except OSError as error:
        raise SnapshotFailed(
            f"snapshot {snapshot.id} cannot be restored: {error.strerror or error}"
        ) from None
    finally:
        if os.path.lexists(draft):
            with suppress(OSError, ForgeError):  # a disk that vanished: nothing is left to delete
                remove_tree(draft)
    _note_seen(store, snapshot, disk, path, placed)
    return path


class _Restoring:
    """One restore, into a draft."""

    def __init__(
        self,
        store: SnapshotStore,
        snapshot: Snapshot,
        draft: str,
        placed: Sequence[Placed],
        on_bytes: OnBytes,
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._draft = draft
        self._entries = [one.entry for one in placed]
        self._files = {one.entry.path: one for one in placed if one.entry.kind is Kind.FILE}
        self._on_bytes = on_bytes
        self._done = 0

    def run(self) -> None:
        """Make all that the index names."""
        for entry in self._of(Kind.DIRECTORY):
            os.mkdir(self._at(entry.path), 0o700)
        left = dict(self._files)
        manifest = self._store.manifest(self._snapshot.name, self._snapshot.id)
        for number, frames in enumerate(manifest.layers):
            self._take_layer(number, frames, left)
        if left:
            raise SnapshotRefused(
                f"snapshot {self._snapshot.id} lacks {next(iter(left))!r} and"
                f" {len(left) - 1} others that its index names"
            )
        for entry in self._of(Kind.HARD_LINK):
            os.link(self._at(entry.target), self._at(entry.path), follow_symlinks=False)
        for entry in self._of(Kind.LINK):
            os.symlink(entry.target, self._at(entry.path))
            os.utime(self._at(entry.path), ns=(entry.mtime_ns, entry.mtime_ns),
                     follow_symlinks=False)  # fmt: skip
        for entry in reversed(self._of(Kind.DIRECTORY)):
            os.chmod(self._at(entry.path), entry.mode)
            os.utime(self._at(entry.path), ns=(entry.mtime_ns, entry.mtime_ns))

    def _take_layer(self, number: int, frames: Sequence[Frame], left: dict[str, Placed]) -> None:
        place = self._store.place(self._snapshot.name, self._snapshot.id)
        path = os.path.join(place, LAYERS[number])
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise SnapshotRefused(f"{path}: {error.strerror}") from None
        try:
            with ThreadPoolExecutor(self._store.threads, "restore") as pool:
                pieces = read_frames(descriptor, frames, pool, self._store.threads)
                try:
                    self._take_members(number, TarReader(pieces), left)
                finally:
                    pieces.close()
        finally:
            os.close(descriptor)

    def _take_members(self, number: int, tar: TarReader, left: dict[str, Placed]) -> None:
        while member := tar.next():
            if not member.is_file:
                continue
            wanted = left.get(member.path)
            if wanted is None or wanted.layer != number:
                tar.content(member.size_bytes, lambda _piece: None)
                continue
            if wanted.entry.size_bytes != member.size_bytes:
                raise SnapshotRefused(f"{member.path!r} in it has another size than its index says")
            del left[member.path]
            self._write(wanted.entry, tar)

    def _write(self, entry: Entry, tar: TarReader) -> None:
        descriptor = os.open(self._at(entry.path), _WRITE, entry.mode | 0o600)
        try:
            write = _write_with_holes if entry.is_sparse else write_all
            tar.content(entry.size_bytes, partial(write, descriptor))
            if entry.is_sparse:
                os.ftruncate(descriptor, entry.size_bytes)
            os.fchmod(descriptor, entry.mode)
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(descriptor)
        self._done += entry.size_bytes
        self._on_bytes(self._done, self._snapshot.size_bytes)

    def _of(self, kind: Kind) -> list[Entry]:
        return [entry for entry in self._entries if entry.kind is kind]

    def _at(self, path: str) -> str:
        return f"{self._draft}/{path}"


def _write_with_holes(descriptor: int, piece: memoryview) -> None:
    for at in range(0, len(piece), HOLE_BYTES):
        part = piece[at : at + HOLE_BYTES]
        if part == _ZEROS[: len(part)]:
            os.lseek(descriptor, len(part), os.SEEK_CUR)
        else:
            write_all(descriptor, part)


def _note_seen(
    store: SnapshotStore, snapshot: Snapshot, disk: Disk, path: str, placed: Sequence[Placed]
) -> None:
    try:
        now: Mapping[str, Entry] = {entry.path: entry for entry in walk(path).entries}
        entries = [now[one.entry.path] for one in placed]
    except (OSError, KeyError):
        return  # a build was quicker: the next save is a whole one
    store.note_seen(snapshot, disk.token, entries)
