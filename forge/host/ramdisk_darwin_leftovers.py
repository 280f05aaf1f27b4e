"""Taking RAM devices away: our disk on request, and what a broken attempt left behind.

A device number says nothing: macOS gives it out again as soon as it is free. So every detach is
preceded by a fresh look that proves that the device is, at this moment, the one we mean.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from forge.errors import DiskBusy, DiskUnavailable
from forge.host.disk_marker import read_marker
from forge.host.ramdisk_darwin_intent import Intent, clear_intent, read_intent, write_intent
from forge.host.ramdisk_darwin_plist import RamImage
from forge.host.ramdisk_darwin_tools import DarwinTools, Detached, Dissenter

FORGET_LOST_S = 900.0  # an attach that has not turned up by then never will
# They look at every volume and let go by themselves.
PASSING_DISSENTERS = frozenset({"fseventsd", "kernel", "loginwindow", "mds", "mds_stores"}) | {
    "mdworker",
    "mdworker_shared",
    "syspolicyd",
}


def is_own(image: RamImage) -> bool:
    """Say whether our user attached it; unknown is no.

    The marker alone proves little: on a volume that ignores ownership every file looks like the
    reader's own.
    """
    if image.owner_uid is not None:
        return image.owner_uid == os.getuid()
    try:
        return Path(image.node).stat().st_uid == os.getuid()  # a RAM device belongs to its maker
    except OSError:
        return False


def detach(tools: DarwinTools, is_meant: Callable[[RamImage], bool], *, force: bool) -> None:
    """Detach the device that `is_meant` proves, as long as there is one; DiskBusy when held."""
    give_up_at = time.monotonic() + tools.deadlines.busy_s
    pause_s = tools.deadlines.pause_s
    while image := tools.find(is_meant):
        ended = tools.detach(image.node, force=force)
        if ended is Detached.DONE:
            return
        holder = tools.unmount_volumes(image, force=force) if ended is Detached.BUSY else None
        if time.monotonic() >= give_up_at or (holder and not force and not _lets_go(holder)):
            raise _busy(image, holder)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 2.0)


def recover(
    tools: DarwinTools, state_dir: Path, *, settle_s: float, keep: str | None = None
) -> Intent | None:
    """Take away what the journal's unfinished attempt left; return it if a part is still lost.

    The device `keep` is in good use and stays. Waits up to `settle_s` for a lost attach.
    """
    intent = read_intent(state_dir)
    if intent is None or _is_from_another_boot(intent, tools.boot_id()):
        clear_intent(state_dir)
        return None
    if intent.node not in (None, keep):
        detach(tools, partial(is_leftover, intent=intent), force=True)
        intent = replace(intent, node=None)
        note(state_dir, intent)
    rest = replace(intent, node=None, lost=_sweep(tools, intent, settle_s, keep))
    note(state_dir, rest)
    return rest if rest.lost else None


def note(state_dir: Path, intent: Intent) -> None:
    """Write the journal, or clear it when `intent` leaves nothing unsettled."""
    if intent.node is None and not intent.lost:
        clear_intent(state_dir)
    else:
        write_intent(state_dir, intent)


def is_leftover(image: RamImage, intent: Intent) -> bool:
    """Say whether this is the device that `intent` was working on, and nobody else's since."""
    if image.node != intent.node or image.sectors != intent.sectors or not is_own(image):
        return False
    return all(_is_of(intent, volume.mount_point) for volume in image.volumes)


def _is_of(intent: Intent, mount_point: str) -> bool:
    if intent.staging and Path(mount_point).name.startswith(intent.staging):
        return True
    marker = read_marker(Path(mount_point))
    return marker is not None and marker.token == intent.token


def _is_from_another_boot(intent: Intent, boot: str) -> bool:
    return bool(boot and intent.boot and boot != intent.boot)


def _sweep(tools: DarwinTools, intent: Intent, settle_s: float, keep: str | None) -> int:
    """Detach the devices of attaches that we gave up on; return how many are still missing."""
    lost = intent.lost if abs(time.time() - intent.began_at) < FORGET_LOST_S else 0
    give_up_at = time.monotonic() + settle_s
    while lost:
        strays = [one for one in tools.images() if _is_stray(one, intent, keep)]
        if len(strays) > lost:
            nodes = ", ".join(one.node for one in strays)
            raise DiskUnavailable(
                f"{len(strays)} nameless RAM devices could be left over from us: {nodes}",
                hint="detach those that nobody needs: `hdiutil detach /dev/diskN`",
            )
        for stray in strays:
            detach(tools, partial(_is_same_stray, stray.node, intent, keep), force=True)
        lost -= len(strays)
        if not lost or time.monotonic() >= give_up_at:
            break
        time.sleep(tools.deadlines.pause_s)
    return lost


def _is_stray(image: RamImage, intent: Intent, keep: str | None) -> bool:
    """Say whether a lost attach of ours made it: a bare device of our size that was not there."""
    if image.node in intent.before or image.node in (keep, intent.node):
        return False
    return image.sectors == intent.sectors and len(image.devices) == 1 and is_own(image)


def _is_same_stray(node: str, intent: Intent, keep: str | None, image: RamImage) -> bool:
    return image.node == node and _is_stray(image, intent, keep)


def _lets_go(holder: Dissenter) -> bool:
    return Path(holder.program).name in PASSING_DISSENTERS


def _busy(image: RamImage, holder: Dissenter | None) -> DiskBusy:
    where = image.volumes[0].mount_point if image.volumes else image.node
    if holder is None:
        return DiskBusy(f"{where} is in use", hint=f"see who holds it with `lsof +D {where}`")
    return DiskBusy(
        f"{where} is in use by {holder.program} (pid {holder.pid})",
        hint="end that process, or take the disk away with force",
    )
