"""The files of a snapshot beside its layers: what it holds, of what, and how files looked.

A snapshot is a directory:

    manifest.json   what was saved, when, by which Forge; sizes and digests of all the rest
    index.zst       every entry of the tree, and in which layer a file's content is
    0.tar.zst       the first layer, all of an earlier tree or of this one: a tar of everything
    1.tar.zst       the second layer, if there is one: a tar of what has changed since the first
    seen.zst        which files these are on the disk that they were last on, by inode: a mere help
    disk            the token of that disk

Snapshots share their first layer by hard links, so that one can be deleted without asking what the
others need. The index alone says what a restored tree consists of; the manifest vouches for the
index and for each frame of the layers, and its own last field for itself. That finds damage; it
is no signature, so paths are looked at as if a stranger had written them.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from forge.core.snapshots import Snapshot
from forge.errors import SnapshotRefused
from forge.host.frames import Frame, digest_of, pack, unpack, write_all
from forge.host.trees import Entry, Kind

FORMAT = 1

MANIFEST, INDEX, SEEN, DISK = "manifest.json", "index.zst", "seen.zst", "disk"
LAYERS = ("0.tar.zst", "1.tar.zst")

_MAX_FILE_BYTES = 256 * 1024 * 1024
_MAX_INDEX_BYTES = 2 * 1024 * 1024 * 1024
_FIELDS = 3  # of an entry in the index: its numbers, its path, its target


class Placed(NamedTuple):
    """An entry, and the number of the layer that its content is in."""

    entry: Entry
    layer: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in manifest.json. `layers` lists the frames of each layer."""

    snapshot: Snapshot
    layers: tuple[tuple[Frame, ...], ...]
    index_digest: str

    def encode(self) -> bytes:
        """Write it, its own digest last."""
        fields: dict[str, Any] = {
            "format": FORMAT,
            "snapshot": asdict(self.snapshot),
            "layers": self.layers,
            "index_digest": self.index_digest,
        }
        return json.dumps({**fields, "digest": _digest_of_fields(fields)}).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """Read it. Raises SnapshotRefused."""
        try:
            fields = json.loads(data)
            if fields["format"] != FORMAT:
                raise SnapshotRefused(
                    f"its format is {fields['format']!r}, and this Forge reads {FORMAT}",
                    hint="the Forge that saved it restores it",
                )
            if fields.pop("digest") != _digest_of_fields(fields):
                raise SnapshotRefused("its manifest was changed or is damaged")
            layers = tuple(tuple(Frame(*one) for one in layer) for layer in fields["layers"])
            return cls(Snapshot(**fields["snapshot"]), layers, fields["index_digest"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise SnapshotRefused("its manifest cannot be read") from None


def encode_index(placed: Sequence[Placed]) -> bytes:
    """Write the entries of a tree."""
    fields: list[bytes] = []
    for entry, layer in placed:
        sparse = int(entry.is_sparse)
        fields += (
            f"{entry.kind.value} {entry.mode} {entry.size_bytes} {entry.mtime_ns} {layer} {sparse}"
            .encode(),
            os.fsencode(entry.path),
            os.fsencode(entry.target),
        )  # fmt: skip
    return pack(b"\0".join(fields))


def decode_index(stored: bytes) -> list[Placed]:
    """Read them. Raises SnapshotRefused where one could lead out of the tree, or contradicts."""
    content = unpack(stored, _MAX_INDEX_BYTES)
    fields = content.split(b"\0") if content else []
    if len(fields) % _FIELDS:
        raise SnapshotRefused("its index is cut off")
    kinds: dict[str, Kind] = {}
    placed = []
    for at in range(0, len(fields), _FIELDS):
        one = _decode_entry(*fields[at : at + _FIELDS])
        _check_place(one.entry, kinds)
        kinds[one.entry.path] = one.entry.kind
        placed.append(one)
    return placed


def encode_seen(token: str, entries: Iterable[Entry]) -> bytes:
    """Write which files these were, on the disk with this token, in the order of the index."""
    stamps = (f"{entry.inode} {entry.ctime_ns}" for entry in entries)
    return pack("\n".join((token, *stamps)).encode())


def decode_seen(stored: bytes, token: str) -> list[tuple[int, int]] | None:
    """Read inode and ctime of each; None where that is of another disk, or cannot be read."""
    try:
        of, *stamps = unpack(stored, _MAX_FILE_BYTES).decode().split("\n")
        if of != token:
            return None
        pairs = [stamp.split(" ") for stamp in stamps if stamp]
        return [(int(inode), int(ctime_ns)) for inode, ctime_ns in pairs]
    except (SnapshotRefused, ValueError):
        return None


def read_small(path: str) -> bytes:
    """Read one of these files whole. Raises SnapshotRefused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SnapshotRefused(f"{os.path.basename(path)}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise SnapshotRefused(f"{os.path.basename(path)} is larger than it can be")
    return data


def create(path: str) -> int:
    """Create a file that is ours alone, and open it for writing. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def write_file(path: str, data: bytes) -> None:
    """Create a file with this content, which has reached the disk then. Raises OSError."""
    descriptor = create(path)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _decode_entry(numbers: bytes, path: bytes, target: bytes) -> Placed:
    try:
        kind, *figures = numbers.decode().split(" ")
        mode, size_bytes, mtime_ns, layer, sparse = map(int, figures)
        entry = Entry(os.fsdecode(path), Kind(kind), mode & 0o777, size_bytes, mtime_ns,
                      target=os.fsdecode(target), is_sparse=bool(sparse))  # fmt: skip
    except (ValueError, TypeError):
        raise SnapshotRefused("its index cannot be read") from None
    if size_bytes < 0 or not 0 <= layer < len(LAYERS):
        raise SnapshotRefused("its index has impossible figures")
    return Placed(entry, layer)


def _check_place(entry: Entry, kinds: Mapping[str, Kind]) -> None:
    """See that an entry lies in the tree: in a directory that came before, under a name of its own.

    So nothing is ever made through a link, which is no directory, nor outside by way of `..`.
    """
    parent, _, name = entry.path.rpartition("/")
    if name in ("", ".", "..") or entry.path.startswith("/") or "\0" in entry.path:
        raise SnapshotRefused(f"{entry.path[:200]!r} in it is no path inside a target dir")
    if parent and kinds.get(parent) is not Kind.DIRECTORY:
        raise SnapshotRefused(f"{entry.path[:200]!r} in it is not in a directory of its own")
    if entry.path in kinds:
        raise SnapshotRefused(f"{entry.path[:200]!r} is in it twice")
    if entry.kind is Kind.HARD_LINK and kinds.get(entry.target) is not Kind.FILE:
        raise SnapshotRefused(f"{entry.path[:200]!r} in it is linked to nothing in it")


def _digest_of_fields(fields: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(fields, sort_keys=True).encode())
