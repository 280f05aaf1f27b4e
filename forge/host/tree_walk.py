"""Walks a target dir, as a program of its own: `python tree_walk.py ROOT [PROFILE_DIR]`.

A walk in a thread of the daemon holds the interpreter's lock half of the time, and the event loop
waits for that; a process can be told to step back as well (nice). It prints one JSON object, knows
nothing of Forge and imports little: it starts in 20 ms.

What is counted: allocated bytes and entries; a hard link once; nothing that is on another device
(a mount point), and no link is followed. A directory with cargo's `.fingerprint` or `.cargo-lock`
in it is a profile's; its directories are *kinds* (deps, build, incremental …). What has a unit's
hash in its name is counted for the rustc that made the unit, as the fingerprint of the unit says.

With PROFILE_DIR (`debug`), profiles of other names are passed over: a build has not touched them.
"""

import json
import os
import re
import stat
import sys
from collections.abc import Iterator

BLOCK_BYTES = 512  # st_blocks counts these, whatever the file system's block is: stat(2)
NICE = 19
KINDS = frozenset((b"deps", b"build", b"incremental", b".fingerprint", b"examples"))
PROFILE_SIGNS = frozenset((b".fingerprint", b".cargo-lock"))
PROFILE_DEPTH = 2  # target/PROFILE or target/TRIPLE/PROFILE
MOST_PLACES = 64
MOST_FINGERPRINTS = 20_000
FINGERPRINT_BYTES = 256  # `rustc` is its first field

_HASH = re.compile(rb"-([0-9a-f]{16})(?![0-9a-z])")
_RUSTC = re.compile(rb'"rustc":\s*(\d+)')
_VERSION = re.compile(r"rustc \S+ \([^)\n]*\)|rustc \S+")


class Walk:
    """One walk. `parts` has bytes and entries by place and kind, `units` bytes by unit's hash."""

    def __init__(self, root: bytes, profile_dir: bytes | None = None) -> None:
        self.root = root
        self.profile_dir = profile_dir
        self.parts: dict[tuple[bytes, bytes], list[int]] = {}
        self.units: dict[bytes, int] = {}
        self.places: list[bytes] = []
        self.kept: list[bytes] = []
        self._linked: set[int] = set()
        status = os.lstat(root)
        self._device = status.st_dev
        self._count(self._part(b"", b"other"), status)

    def run(self) -> None:
        """Walk it all."""
        self._outer(self.root, b"", 0)

    def _outer(self, path: bytes, place: bytes, depth: int) -> None:
        """Walk what may be a profile's directory, or may hold one."""
        entries = list(self._entries(path))
        if depth and any(entry.name in PROFILE_SIGNS for entry, _ in entries):
            self._profile(path, place, entries)
            return
        part = self._part(b"", b"doc" if os.path.basename(place) == b"doc" else b"other")
        for entry, status in entries:
            self._count(part, status)
            if not entry.is_dir(follow_symlinks=False):
                continue
            if depth < PROFILE_DEPTH and entry.name != b"doc":
                self._outer(entry.path, os.path.join(place, entry.name), depth + 1)
            else:
                inner = self._part(b"", b"doc") if entry.name == b"doc" else part
                self._inner(entry.path, inner)

    def _profile(
        self, path: bytes, place: bytes, entries: list[tuple[os.DirEntry[bytes], os.stat_result]]
    ) -> None:
        if self.profile_dir is not None and os.path.basename(place) != self.profile_dir:
            self.kept.append(place)
            return
        if len(self.places) >= MOST_PLACES:
            place = b""  # all further ones together
        else:
            self.places.append(place)
        # what cargo puts on top is a hard link of what is in deps, and counts there
        for entry, status in sorted(
            entries, key=lambda one: not one[0].is_dir(follow_symlinks=False)
        ):
            is_dir = entry.is_dir(follow_symlinks=False)
            part = self._part(place, entry.name if is_dir and entry.name in KINDS else b"final")
            self._count(part, status)
            if is_dir:
                self._inner(entry.path, part, has_units=entry.name in KINDS)

    def _inner(self, top: bytes, part: list[int], *, has_units: bool = False) -> None:
        """Count all below `top` for one part: this is where the many files are."""
        device, linked, units = self._device, self._linked, self.units
        size_bytes = files = 0
        pending: list[tuple[bytes, bytes | None]] = [(top, None)]
        while pending:
            path, above = pending.pop()
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        try:
                            status = entry.stat(follow_symlinks=False)
                            is_dir = entry.is_dir(follow_symlinks=False)
                        except OSError:
                            continue  # gone meanwhile
                        if status.st_dev != device:
                            continue
                        if status.st_nlink > 1 and not is_dir:
                            if status.st_ino in linked:
                                continue
                            linked.add(status.st_ino)
                        own_bytes = status.st_blocks * BLOCK_BYTES
                        size_bytes += own_bytes
                        files += 1
                        unit = above
                        if has_units and unit is None:
                            found = _HASH.search(entry.name)
                            unit = found[1] if found else None
                        if unit is not None:
                            units[unit] = units.get(unit, 0) + own_bytes
                        if is_dir:
                            pending.append((entry.path, unit))
            except OSError:
                continue  # gone meanwhile, or made unreadable by a build script
        part[0] += size_bytes
        part[1] += files

    def _entries(self, path: bytes) -> Iterator[tuple[os.DirEntry[bytes], os.stat_result]]:
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue  # gone meanwhile
                    if status.st_dev == self._device:
                        yield entry, status
        except OSError:
            return

    def _part(self, place: bytes, kind: bytes) -> list[int]:
        return self.parts.setdefault((place, kind), [0, 0])

    def _count(self, part: list[int], status: os.stat_result) -> None:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if status.st_ino in self._linked:
                return
            self._linked.add(status.st_ino)
        part[0] += status.st_blocks * BLOCK_BYTES
        part[1] += 1

    def toolchains(self) -> dict[tuple[bytes, str], list[float]]:
        """Return bytes, units and last use by place and rustc, as the units' fingerprints name it.

        The number is cargo's own hash of what `rustc -vV` prints.
        """
        found: dict[tuple[bytes, str], list[float]] = {}
        for place in self.places:
            top = os.path.join(self.root, place, b".fingerprint")
            for entry, status in list(self._entries(top))[:MOST_FINGERPRINTS]:
                unit = _HASH.search(entry.name)
                rustc = _rustc_of(entry.path) if unit else None
                if unit and rustc:
                    sums = found.setdefault((place, rustc), [0, 0, 0.0])
                    sums[0] += self.units.pop(unit[1], 0)
                    sums[1] += 1
                    sums[2] = max(sums[2], status.st_mtime)
        return found


def _rustc_of(directory: bytes) -> str | None:
    """Read from a unit's fingerprint which rustc made it."""
    try:
        names = [name for name in os.listdir(directory) if name.endswith(b".json")]
        for name in names[:1]:
            found = _RUSTC.search(_head(os.path.join(directory, name), FINGERPRINT_BYTES))
            return found[1].decode() if found else None
    except OSError:
        pass  # a build has just replaced it
    return None


def _head(path: bytes, count: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, count)
    finally:
        os.close(descriptor)


def rustc_version(root: bytes) -> str | None:
    """Return the version of the rustc that was used last, as cargo has noted it."""
    try:
        text = _head(os.path.join(root, b".rustc_info.json"), 1 << 20)
    except OSError:
        return None
    found = _VERSION.search(text.decode("utf-8", "replace"))
    return found[0] if found else None


def main(argv: list[str]) -> int:
    """Walk and print; exit code 2 when there is nothing to walk."""
    os.nice(NICE)
    root = os.fsencode(argv[0])
    try:
        walk = Walk(root, os.fsencode(argv[1]) if len(argv) > 1 else None)
    except OSError:
        return 2
    walk.run()
    answer = {
        "parts": [
            [os.fsdecode(place), os.fsdecode(kind), *sums]
            for (place, kind), sums in walk.parts.items()
        ],
        "kept": [os.fsdecode(place) for place in walk.kept],
        "toolchains": [
            [os.fsdecode(place), rustc, *sums] for (place, rustc), sums in walk.toolchains().items()
        ],
        "rustc": rustc_version(root),
    }
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
