"""Saving a target dir as a snapshot: into a draft beside its place, then under its name.

Of a tree that an earlier snapshot knows on the same disk, only what has changed is written, as a
second layer; the first is shared. When the second would be larger than what of the first is still
true, all is written anew: so there are never more than two layers, and a restore never reads much
that it throws away.
"""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from forge.core.snapshots import Snapshot, newest, pays_as_delta
from forge.core.units import show_bytes
from forge.errors import SnapshotFailed, SnapshotRefused
from forge.host.build_locks import held_still
from forge.host.frames import Frame, FrameWriter, digest_of
from forge.host.snapshot_files import (
    DISK,
    INDEX,
    LAYERS,
    MANIFEST,
    SEEN,
    Manifest,
    Placed,
    create,
    decode_seen,
    encode_index,
    encode_seen,
    read_small,
    write_file,
)
from forge.host.snapshots import DRAFT, SnapshotStore
from forge.host.state_dir import private_dir
from forge.host.tar_stream import END, header, padding
from forge.host.toolchains import toolchain_of
from forge.host.trees import Entry, Kind, Tree, TreeFiles, remove_tree, walk

CHECK_EVERY_BYTES = 64 * 1024 * 1024
"""How much is saved between two looks at the room on the SSD."""

OnBytes = Callable[[int, int], None]
"""Told how many bytes of how many are done; ends the work by raising."""


@dataclass(frozen=True, slots=True)
class Source:
    """A target dir to save: where it is, whose, on which disk, and the name it is kept under.

    `token` is empty where it is on no disk of ours.
    """

    path: str
    root: str | None
    token: str
    name: str


def save(
    store: SnapshotStore, source: Source, most: int, on_bytes: OnBytes = lambda _done, _of: None
) -> Snapshot | None:
    """Save a target dir; None when nothing has changed since its newest snapshot.

    `most` is how many bytes it may take on the SSD. Raises TargetDirBusy, TreeRefused,
    SnapshotFailed, and what `on_bytes` raises; in every case nothing is left behind.
    """
    began = time.monotonic()
    with held_still(source.path):
        tree = walk(source.path)
        base = _base(store, source, tree)
        if base and base.is_all_of(tree):
            return None
        private_dir(os.path.dirname(store.directory) or "/")
        private_dir(store.directory)
        private_dir(os.path.join(store.directory, source.name))
        draft = os.path.join(store.directory, source.name, f"{DRAFT}{secrets.token_hex(4)}")
        os.mkdir(draft, 0o700)
        try:
            return _Saving(store, source, draft, most, on_bytes, began).save(tree, base)
        except OSError as error:
            raise SnapshotFailed(
                f"{source.path} cannot be saved: {error.strerror or error}",
                hint="`forge target unsave` makes room",
            ) from None
        finally:
            if os.path.lexists(draft):
                remove_tree(draft)


def _base(store: SnapshotStore, source: Source, tree: Tree) -> "_Base | None":
    """Return what of the newest snapshot is still true of a tree on the same disk."""
    last = newest(store.known(), source.name)
    if last is None or not source.token:
        return None
    place = store.place(last.name, last.id)
    try:
        placed = store.index(last.name, last.id)
        stamps = decode_seen(read_small(os.path.join(place, SEEN)), source.token)
        manifest = store.manifest(last.name, last.id)
    except SnapshotRefused:
        return None
    if stamps is None or len(stamps) != len(placed):
        return None
    known = {
        one.entry.path: (_look(one.entry._replace(inode=inode, ctime_ns=ctime_ns)), one.layer)
        for one, (inode, ctime_ns) in zip(placed, stamps, strict=True)
    }
    same = {
        entry.path: known[entry.path][1]
        for entry in tree.entries
        if entry.path in known and known[entry.path][0] == _look(entry)
    }
    return _Base(place, manifest, same, len(placed))


@dataclass(frozen=True, slots=True)
class _Base:
    """The newest snapshot, and in which layer of it each file is that has not changed since."""

    place: str
    manifest: Manifest
    same: dict[str, int]
    count: int

    def is_all_of(self, tree: Tree) -> bool:
        return len(self.same) == len(tree.entries) == self.count


class _Saving:
    """One save, into a draft."""

    def __init__(
        self,
        store: SnapshotStore,
        source: Source,
        draft: str,
        most: int,
        on_bytes: OnBytes,
        began: float,
    ) -> None:
        self._store = store
        self._source = source
        self._draft = draft
        self._most = most
        self._on_bytes = on_bytes
        self._began = began

    def save(self, tree: Tree, base: _Base | None) -> Snapshot:
        """Write all files of the draft, and give it its place."""
        kept = {path for path, layer in base.same.items() if layer == 0} if base else set()
        kept_bytes = sum(one.size_bytes for one in tree.entries if one.path in kept)
        if base is None or not pays_as_delta(kept_bytes, tree.size_bytes - kept_bytes):
            base, kept = None, set()
        layers: list[tuple[Frame, ...]] = []
        if base:
            os.link(os.path.join(base.place, LAYERS[0]), os.path.join(self._draft, LAYERS[0]))
            layers.append(base.manifest.layers[0])
        number = len(layers)
        changed = [one for one in tree.entries if one.path not in kept or one.kind is not Kind.FILE]
        layers.append(self._write_layer(LAYERS[number], changed))
        index = encode_index(
            [Placed(one, 0 if one.path in kept else number) for one in tree.entries]
        )
        self._write(INDEX, index)
        self._write(SEEN, encode_seen(self._source.token, tree.entries))
        self._write(DISK, self._source.token.encode())
        return self._finish(tree, layers, index)

    def _write_layer(self, name: str, entries: Sequence[Entry]) -> tuple[Frame, ...]:
        descriptor = create(os.path.join(self._draft, name))
        try:
            with ThreadPoolExecutor(self._store.threads, "save", self._store.step_back) as pool:
                writer = FrameWriter(descriptor, pool, self._store.threads)
                self._write_entries(writer, entries)
                writer.close()
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return tuple(writer.frames)

    def _write_entries(self, writer: FrameWriter, entries: Sequence[Entry]) -> None:
        whole = sum(entry.size_bytes for entry in entries)
        done = checked = 0
        self._check_room(writer)
        with TreeFiles(self._source.path) as files:
            for entry in entries:
                writer.write(header(entry))
                if entry.kind is not Kind.FILE:
                    continue
                descriptor = files.open(entry)
                try:
                    length = writer.write_file(descriptor, entry.size_bytes)
                finally:
                    os.close(descriptor)
                if length != entry.size_bytes:
                    raise SnapshotFailed(f"{entry.path} became shorter while it was saved")
                writer.write(padding(length))
                done += length
                self._on_bytes(done, whole)
                if done - checked >= CHECK_EVERY_BYTES:
                    checked = done
                    self._check_room(writer)
        writer.write(END)

    def _check_room(self, writer: FrameWriter) -> None:
        """Refuse to go on where the SSD gets full, or the snapshot larger than it may be."""
        free, reserve_bytes = self._store.room().free_bytes, self._store.reserve_bytes
        if free < reserve_bytes:
            raise SnapshotFailed(
                f"{self._store.directory} has only {show_bytes(free)} free,"
                f" and {show_bytes(reserve_bytes)} stay free",
                hint="`forge target unsave` makes room",
            )
        written = sum(frame.stored_bytes for frame in writer.frames)
        if written > self._most:
            raise SnapshotFailed(
                f"the snapshot takes more than the {show_bytes(self._most)} that it may have",
                hint="raise snapshots.max_size",
            )

    def _finish(self, tree: Tree, layers: list[tuple[Frame, ...]], index: bytes) -> Snapshot:
        sizes = [sum(frame.stored_bytes for frame in layer) for layer in layers]
        at = time.time()
        parent = os.path.dirname(self._draft)
        snapshot = Snapshot(
            id=_free_id(parent, at),
            name=self._source.name,
            root=self._source.root,
            at=round(at, 3),
            size_bytes=tree.size_bytes,
            files=len(tree.entries),
            base=digest_of("".join(frame.digest for frame in layers[0]).encode()),
            base_bytes=sizes[0],
            own_bytes=sum(sizes[1:]) + len(index),
            toolchain=toolchain_of(self._source.path),
            left_out=len(tree.left_out),
            took_s=round(time.monotonic() - self._began, 3),
            version=self._store.version,
            disk=self._source.token,
        )
        self._write(MANIFEST, Manifest(snapshot, tuple(layers), digest_of(index)).encode())
        _sync_directory(self._draft)
        os.rename(self._draft, os.path.join(parent, snapshot.id))
        _sync_directory(parent)
        return snapshot

    def _write(self, name: str, data: bytes) -> None:
        write_file(os.path.join(self._draft, name), data)


def _look(entry: Entry) -> tuple[object, ...]:
    """Return what tells an entry from a changed one; a link and its file change together."""
    return (entry.kind, entry.mode, entry.size_bytes, entry.mtime_ns, entry.inode, entry.ctime_ns,
            entry.target)  # fmt: skip


def _free_id(parent: str, at: float) -> str:
    """Name a snapshot after the time, in UTC, so that names sort as they were saved."""
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(at))
    taken = set(os.listdir(parent))
    names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return next(one for one in names if one not in taken)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
