"""Making a RAM disk: attach, format, mount under a staging name, mark, rename.

The journal is always one step ahead of what macOS is asked to do, so that whoever comes after a
crash knows which device is ours.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

from forge.core.disk import DiskKind
from forge.errors import DiskTaken, DiskUnavailable, ForgeError
from forge.host.disk_marker import DiskMarker, new_token, write_marker
from forge.host.ramdisk_darwin_intent import Intent, write_intent
from forge.host.ramdisk_darwin_leftovers import detach, is_leftover, note
from forge.host.ramdisk_darwin_plist import SECTORS_PER_MIB, Volume
from forge.host.ramdisk_darwin_tools import READINGS, DarwinTools
from forge.host.ramdisk_darwin_wired import prove_wired


def make_disk(
    tools: DarwinTools,
    state_dir: Path,
    target: Path,
    size_mib: int,
    earlier: Intent | None,
    kind: DiskKind = DiskKind.APFS,
) -> None:
    """Make a marked disk at `target`, or leave nothing; `earlier` is what is still unsettled."""
    token = new_token()
    is_wired = kind is DiskKind.APFS_WIRED
    wired_bytes = tools.wired_bytes() if is_wired else 0
    intent = Intent(
        boot=tools.boot_id(),
        token=token,
        sectors=size_mib * SECTORS_PER_MIB,
        staging=f"{target.name}-{token[:8]}",
        before=earlier.before if earlier else tools.nodes(),
        began_at=time.time(),
        lost=(earlier.lost if earlier else 0) + 1,
    )
    write_intent(state_dir, intent)
    try:
        node = tools.attach(intent.sectors, in_kernel=is_wired)
    except DiskUnavailable:
        note(state_dir, replace(intent, lost=intent.lost - 1))
        raise
    intent = replace(intent, node=node, lost=intent.lost - 1)
    write_intent(state_dir, intent)
    try:
        volume = _stage(tools, intent, node)
        if is_wired:
            prove_wired(tools, node, Path(volume.mount_point), wired_bytes)
        _furnish(tools, intent, node, target, volume, kind)
    except (ForgeError, OSError) as error:
        _abandon(tools, state_dir, intent)
        if isinstance(error, ForgeError):
            raise
        raise DiskUnavailable(f"the new disk on {node} does not work: {error}") from error
    note(state_dir, replace(intent, node=None))


def _stage(tools: DarwinTools, intent: Intent, node: str) -> Volume:
    """Make the device a volume, mounted under its staging name."""
    device = tools.add_volume(tools.create_container(node), intent.staging)
    tools.mount(device)
    return Volume(device, str(_await_mounted(tools, node, device, None)))


def _furnish(
    tools: DarwinTools, intent: Intent, node: str, target: Path, volume: Volume, kind: DiskKind
) -> None:
    """Mark a volume as ours, and only then give it its name."""
    staged = Path(volume.mount_point)
    staged.chmod(0o700)
    (staged / ".metadata_never_index").touch()
    size_mib = intent.sectors // SECTORS_PER_MIB
    write_marker(staged, DiskMarker(intent.token, os.getuid(), kind, size_mib))
    tools.stop_indexing(str(staged))
    tools.rename(volume.device, target.name)
    actual = _await_mounted(tools, node, volume.device, target)
    if actual != target:
        raise DiskTaken(
            f"macOS mounted the RAM disk at {actual}: something else came to {target}",
            hint=f"look at {target}, move it away and try again",
        )


def _await_mounted(tools: DarwinTools, node: str, device: str, wanted: Path | None) -> Path:
    """Return where the volume is mounted, once it is, and is at `wanted` or stays elsewhere."""
    seen: Path | None = None
    for reading in range(2 * READINGS):
        if reading:
            time.sleep(tools.deadlines.pause_s)
        found = [
            Path(volume.mount_point)
            for image in tools.images()
            for volume in image.volumes
            if image.node == node and volume.device == device
        ]
        seen = found[0] if found else seen
        if seen is not None and wanted in (None, seen):
            return seen
    if seen is None:
        raise DiskUnavailable(f"the volume {device} on {node} was mounted and is not there")
    return seen


def _abandon(tools: DarwinTools, state_dir: Path, intent: Intent) -> None:
    """Take back a disk that could not be finished; what resists stays in the journal."""
    try:
        detach(tools, lambda image: is_leftover(image, intent), force=True)
    except ForgeError:
        return  # the first failure is the one to tell; the next `ensure` tries again
    note(state_dir, replace(intent, node=None))
