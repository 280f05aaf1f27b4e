"""Trees like target dirs, with all that may lie in one, and what there is to say about two."""

import os
import socket
from pathlib import Path

from forge.core.disk import Disk, DiskKind
from forge.host.trees import Entry, walk

NOT_UTF8 = os.fsdecode(b"caf\xe9.o")
LONG = "n" * 240


def disk_at(path: Path, token: str = "t") -> Disk:
    return Disk(DiskKind.SHM, str(path), 64, os.stat(path).st_dev, token)


def odd_tree(root: Path) -> Path:
    """Make a tree with everything in it; links lead outside, where nothing may be touched."""
    deps = root / "debug" / "deps"
    deps.mkdir(parents=True)
    (root / "debug" / "empty").mkdir()
    (root / "debug" / ".cargo-lock").touch()
    (root / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (deps / "liba-1.rlib").write_bytes(os.urandom(300_000))
    (deps / NOT_UTF8).write_bytes(b"x")
    (deps / LONG).write_text("long")
    (deps / "grüße").write_text("utf-8")
    os.link(deps / "liba-1.rlib", root / "debug" / "liba.rlib")
    (root / "outside").symlink_to("/etc")
    (root / "debug" / "dangling").symlink_to(NOT_UTF8 + "/" + LONG)
    (deps / "tool").write_text("#!/bin/sh\n")
    (deps / "tool").chmod(0o755)
    (deps / "read-only").write_text("r")
    (deps / "read-only").chmod(0o444)
    with open(deps / "holes", "wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
    for number, path in enumerate(sorted(root.rglob("*"))):
        ns = 1_700_000_000_123_456_789 + number
        os.utime(path, ns=(ns, ns), follow_symlinks=False)
    return root


def add_special(root: Path) -> None:
    """Add what no snapshot can keep."""
    os.mkfifo(root / "pipe")
    here = os.getcwd()
    os.chdir(root)  # a socket's path may have 100 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket")
    finally:
        os.chdir(here)


def content(root: Path | str) -> list[tuple[object, ...]]:
    """Tell all that must be the same in two trees, times to the nanosecond included."""
    return [(*_same(entry), _bytes(root, entry)) for entry in walk(str(root)).entries]


def _same(entry: Entry) -> tuple[object, ...]:
    return entry.path, entry.kind, entry.mode, entry.size_bytes, entry.mtime_ns, entry.target


def _bytes(root: Path | str, entry: Entry) -> bytes:
    return Path(f"{root}/{entry.path}").read_bytes() if entry.kind.value in "fh" else b""
