"""What is kept of target dirs on the SSD, and when: values, and the policy over them.

A snapshot is one state of one target dir. It is worth its bytes only as long as a restore is faster
than a build, and only the newest of a project is ever restored by itself; older ones are there for
people. So few are kept of each project, and all of them together stay below a size: of what is too
much, second copies go first, then the project that was saved longest ago.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forge.core.units import MIB

SMALL_SSD_BYTES = 64 * 1024 * MIB
"""On a disk with less than this nothing is saved by itself: it is needed for other things."""

SHARE_OF_FREE = 4
"""Unless a size is set, snapshots may have the fourth part of what is free, themselves included."""

MOST_BYTES = 128 * 1024 * MIB

BUSY_FACTOR = 4
"""While anything is built, a target dir must be idle for so many times as long to be saved."""

RESERVE_BYTES = 1024 * MIB
"""What a save leaves free on the SSD: a full system disk stops more than builds."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One saved state. `name` is that of the target dir, `root` the project it belongs to.

    `size_bytes` and `files` are those of the tree; `base_bytes` of the first layer, which several
    share that have the same `base`, and `own_bytes` of all the rest. `at` is when it was saved, in
    seconds since the epoch, `took_s` how long that took, `version` that of the Forge that saved it.
    `disk` is the token of the disk that its files were on when it was last saved or restored.
    """

    id: str
    name: str
    root: str | None
    at: float
    size_bytes: int
    files: int
    base: str
    base_bytes: int
    own_bytes: int
    toolchain: str | None = None
    left_out: int = 0
    took_s: float = 0.0
    version: str = ""
    disk: str = ""

    @property
    def stored_bytes(self) -> int:
        """Return what it would take alone."""
        return self.base_bytes + self.own_bytes


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """The section `snapshots` of forge.toml. `enabled` None: as the size of the SSD allows.

    `idle_s` 0 saves nothing for being idle.
    """

    directory: str = ""
    enabled: bool | None = None
    max_bytes: int | None = None
    keep: int = 2
    idle_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Room:
    """How large the disk is that snapshots lie on, and how much of it is free."""

    total_bytes: int
    free_bytes: int


def saves_by_itself(settings: SnapshotSettings, room: Room | None) -> bool:
    """Say whether target dirs are saved without being asked."""
    if settings.enabled is not None:
        return settings.enabled
    return room is not None and room.total_bytes >= SMALL_SSD_BYTES


def most_bytes(settings: SnapshotSettings, room: Room, held_bytes: int) -> int:
    """Return how much all snapshots together may take."""
    if settings.max_bytes is not None:
        return settings.max_bytes
    return min(MOST_BYTES, (room.free_bytes + held_bytes) // SHARE_OF_FREE)


def total_bytes(snapshots: Iterable[Snapshot]) -> int:
    """Return what snapshots take together, a layer that several share once."""
    known = list(snapshots)
    bases = {one.base: one.base_bytes for one in known}
    return sum(bases.values()) + sum(one.own_bytes for one in known)


def newest(snapshots: Iterable[Snapshot], name: str) -> Snapshot | None:
    """Return the newest snapshot of a target dir."""
    of_it = [one for one in snapshots if one.name == name]
    return max(of_it, key=_age, default=None)


def superfluous(snapshots: Sequence[Snapshot], keep: int, max_bytes: int) -> list[Snapshot]:
    """Return what is to be deleted, in order, so that the rest is as few and as small as wanted.

    The one saved last stays whatever its size: to save it and then delete it would be absurd.
    """
    left = sorted(snapshots, key=_age)
    gone: list[Snapshot] = []
    for one in list(left):
        if sum(other.name == one.name for other in left) > max(1, keep):
            left.remove(one)
            gone.append(one)
    while len(left) > 1 and total_bytes(left) > max_bytes:
        seconds = [one for one in left if newest(left, one.name) != one]
        victim = (seconds or left)[0]
        left.remove(victim)
        gone.append(victim)
    return gone


def restorable(snapshots: Iterable[Snapshot], name: str, disk: str) -> Snapshot | None:
    """Return what is to be restored by itself where a target dir is missing from a disk.

    Nothing if its files were on this very disk: then somebody has deleted it there, by `cargo
    clean` or by hand, and does not want it back.
    """
    last = newest(snapshots, name)
    return last if last and last.disk != disk else None


def is_due(
    last_used_at: float, tried_at: float, now: float, idle_s: float, *, machine_is_idle: bool
) -> bool:
    """Say whether a target dir is to be saved for being idle.

    `tried_at` is when it was last used before it was saved, or tried to be. While others build it
    waits, but not for ever: a machine that is never idle loses power as well.
    """
    if not idle_s or last_used_at <= tried_at:
        return False
    patience_s = idle_s if machine_is_idle else idle_s * BUSY_FACTOR
    return now - last_used_at >= patience_s


def pays_as_delta(kept_bytes: int, changed_bytes: int) -> bool:
    """Say whether to save only what has changed: until that is half of it, then anew."""
    return kept_bytes > 0 and changed_bytes <= kept_bytes


def _age(one: Snapshot) -> tuple[float, str]:
    return one.at, one.id
