"""How much a directory tree holds: allocated bytes, each hard link once, no link followed."""

import os
from dataclasses import dataclass

_BLOCK_BYTES = 512  # st_blocks counts these, whatever the file system's block is: stat(2)


@dataclass(frozen=True, slots=True)
class TreeSize:
    """Allocated bytes and the number of files and directories."""

    size_bytes: int
    files: int


def measure_tree(root: str) -> TreeSize | None:
    """Walk `root` without leaving its file system; None when it is not there.

    What vanishes while we walk (a build that runs) is passed over.
    """
    try:
        status = os.lstat(root)
    except OSError:
        return None
    device, size_bytes, files = status.st_dev, status.st_blocks * _BLOCK_BYTES, 1
    linked: set[int] = set()
    pending = [root]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if status.st_dev != device or status.st_ino in linked:
                        continue
                    if status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        linked.add(status.st_ino)
                    size_bytes += status.st_blocks * _BLOCK_BYTES
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:
            continue
    return TreeSize(size_bytes, files)
