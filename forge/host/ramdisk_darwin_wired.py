"""The RAM disk that macOS keeps in its kernel: wired, so that it is never compressed or swapped.

`hdiutil attach -kernel` is old, wants root, and nobody has told of one with tens of GiB; macOS may
as well ignore the option. So it is believed only when two things agree: no helper process stands
behind the image, and what is written to it shows up in the machine's wired memory. Other programs
wire and unwire memory meanwhile: that can make a good disk look bad, and then the ordinary one is
taken.
"""

import os
from pathlib import Path

from forge.core.units import MIB, show_bytes
from forge.errors import DiskUnavailable
from forge.host.ramdisk_darwin_tools import DarwinTools

PROBE_MIB = 64
PROBE_NAME = ".opta-forge-probe"
ENOUGH = 0.75
"""So much of what was written must turn up: some pages are wired by others, or not yet."""


def prove_wired(tools: DarwinTools, node: str, root: Path, before_bytes: int) -> None:
    """See that a new disk is wired, or raise DiskUnavailable with what speaks against it.

    `before_bytes` is what was wired before it was attached: it may be allocated all at once.
    """
    image = tools.find(lambda one: one.node == node)
    if image is None:
        raise DiskUnavailable(f"`hdiutil info` does not list {node}")
    if image.helper_pid:
        raise DiskUnavailable(
            f"macOS took no notice of `-kernel`: a helper (pid {image.helper_pid}) keeps its memory"
        )
    _write(root / PROBE_NAME)
    grown_bytes = tools.wired_bytes() - before_bytes
    (root / PROBE_NAME).unlink()
    if grown_bytes < ENOUGH * PROBE_MIB * MIB:
        raise DiskUnavailable(
            f"{PROBE_MIB} MiB were written to it, and wired memory grew by"
            f" {show_bytes(max(0, grown_bytes))}"
        )


def _write(path: Path) -> None:
    block = os.urandom(MIB)  # nothing that could be kept as a hole, or compressed
    with path.open("wb") as file:
        for _ in range(PROBE_MIB):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
