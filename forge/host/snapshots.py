"""The store of snapshots on the SSD: listing, reading, checking, deleting.

One directory for each target dir, in it one for each snapshot; forge.host.snapshot_files says what
is in that. A snapshot is written into a draft beside its place and renamed when all of it has
reached the disk, so there are only whole ones. A draft that is found at the start was left by a
daemon that was killed. forge.host.saving saves, forge.host.restoring restores.
"""

import os
import re
import secrets
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from forge.core.snapshots import RESERVE_BYTES, Room, Snapshot
from forge.errors import NoSuchSnapshot, SnapshotRefused
from forge.host.frames import (
    digest_of,
    read_frames,
    threads_for,
)
from forge.host.snapshot_files import (
    DISK,
    INDEX,
    LAYERS,
    MANIFEST,
    SEEN,
    Manifest,
    Placed,
    decode_index,
    encode_seen,
    read_small,
    write_file,
)
from forge.host.tar_stream import TarReader
from forge.host.trees import Entry, Kind, remove_tree

DRAFT = ".draft-"
_ID = re.compile(r"[0-9]{8}-[0-9]{6}(-[0-9]+)?")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class SnapshotStore:
    """The snapshots in a directory. One daemon uses it, and of that one thread at a time.

    `reserve_bytes` is what a save leaves free there, `version` that of the Forge that saves,
    `nice` by how much its threads give way to others.
    """

    def __init__(
        self,
        directory: str,
        cores: int = 2,
        reserve_bytes: int = RESERVE_BYTES,
        version: str = "",
        nice: int = 0,
    ) -> None:
        self.directory = directory
        self.reserve_bytes = reserve_bytes
        self.version = version
        self.nice = nice
        self.threads = threads_for(cores)

    def room(self) -> Room:
        """Look at the disk that snapshots are on, or will be. Raises OSError."""
        place = self.directory
        while not os.path.exists(place):
            place = os.path.dirname(place)
        seen = os.statvfs(place)
        return Room(seen.f_blocks * seen.f_frsize, seen.f_bavail * seen.f_frsize)

    def sweep(self) -> list[str]:
        """Delete the drafts that killed daemons have left; return them."""
        swept = []
        for name in _listed(self.directory):
            for one in _listed(os.path.join(self.directory, name)):
                if one.startswith(DRAFT):
                    draft = os.path.join(self.directory, name, one)
                    with suppress(OSError):  # it is tried again at the next start
                        remove_tree(draft)
                        swept.append(draft)
        return swept

    def known(self) -> list[Snapshot]:
        """Return all that can be read; what cannot be is passed over, and stays for people."""
        found = []
        for name in _listed(self.directory):
            for one in _listed(os.path.join(self.directory, name)):
                if _ID.fullmatch(one):
                    with suppress(SnapshotRefused, NoSuchSnapshot):
                        snapshot = self.manifest(name, one).snapshot
                        found.append(replace(snapshot, disk=self._disk_of(snapshot)))
        return found

    def check(self, snapshot: Snapshot) -> None:
        """Read a snapshot back from the disk, every frame of it. Raises SnapshotRefused."""
        manifest = self.manifest(snapshot.name, snapshot.id)
        left = {one.entry.path for one in self.index(snapshot.name, snapshot.id)
                if one.entry.kind is Kind.FILE}  # fmt: skip
        with ThreadPoolExecutor(self.threads, "check", self.step_back) as pool:
            for number, frames in enumerate(manifest.layers):
                path = os.path.join(self.place(snapshot.name, snapshot.id), LAYERS[number])
                with open(path, "rb") as file:
                    tar = TarReader(read_frames(file.fileno(), frames, pool, self.threads))
                    while member := tar.next():
                        tar.content(member.size_bytes, lambda _piece: None)
                        left.discard(member.path)
        if left:
            raise SnapshotRefused(f"snapshot {snapshot.id} lacks {len(left)} files")

    def manifest(self, name: str, snapshot_id: str) -> Manifest:
        """Read what a snapshot says of itself. Raises SnapshotRefused, NoSuchSnapshot."""
        place = self.place(name, snapshot_id)
        if not os.path.isdir(place):
            raise NoSuchSnapshot(f"there is no snapshot {snapshot_id} of {name}")
        manifest = Manifest.decode(read_small(os.path.join(place, MANIFEST)))
        if (manifest.snapshot.name, manifest.snapshot.id) != (name, snapshot_id):
            raise SnapshotRefused(f"{place} says it is {manifest.snapshot.id}")
        return manifest

    def index(self, name: str, snapshot_id: str) -> list[Placed]:
        """Read what the tree of a snapshot consists of. Raises SnapshotRefused, NoSuchSnapshot."""
        manifest = self.manifest(name, snapshot_id)
        stored = read_small(os.path.join(self.place(name, snapshot_id), INDEX))
        if digest_of(stored) != manifest.index_digest:
            raise SnapshotRefused(f"the index of snapshot {snapshot_id} is damaged")
        return decode_index(stored)

    def place(self, name: str, snapshot_id: str) -> str:
        """Return the directory of a snapshot. Raises NoSuchSnapshot where that is no id."""
        if not _NAME.fullmatch(name) or not _ID.fullmatch(snapshot_id):
            raise NoSuchSnapshot(f"there is no snapshot {snapshot_id[:40]!r}")
        return os.path.join(self.directory, name, snapshot_id)

    def step_back(self) -> None:
        """Let this thread give way by `nice`, where threads have priorities of their own."""
        if self.nice and sys.platform == "linux":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self.nice)

    def remove(self, snapshot: Snapshot) -> None:
        """Delete a snapshot; layers that others share stay with those. Raises OSError."""
        place = self.place(snapshot.name, snapshot.id)
        gone = os.path.join(os.path.dirname(place), f"{DRAFT}{secrets.token_hex(4)}")
        os.rename(place, gone)  # from here on it is not there, however long the rest takes
        remove_tree(gone)
        with suppress(OSError):  # the last one leaves an empty directory
            os.rmdir(os.path.dirname(place))

    def note_seen(self, snapshot: Snapshot, token: str, entries: Sequence[Entry]) -> None:
        """Note which files a restored tree has now, so that the next save knows what changed."""
        place = self.place(snapshot.name, snapshot.id)
        for name, data in ((SEEN, encode_seen(token, entries)), (DISK, token.encode())):
            draft = os.path.join(place, f"{name}.{secrets.token_hex(4)}")
            with suppress(OSError):  # then the next save is a whole one
                write_file(draft, data)
                os.replace(draft, os.path.join(place, name))

    def _disk_of(self, snapshot: Snapshot) -> str:
        try:
            place = self.place(snapshot.name, snapshot.id)
            return read_small(os.path.join(place, DISK)).decode("ascii", "replace")
        except SnapshotRefused:
            return ""


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
