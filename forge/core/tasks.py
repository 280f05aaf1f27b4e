"""What is done to a target dir as a whole, as values."""

from dataclasses import dataclass
from enum import StrEnum

from forge.core.disk import Disk
from forge.core.snapshots import Snapshot
from forge.core.units import show_bytes


class TaskKind(StrEnum):
    """What a task does."""

    SAVE = "save"  # a target dir into a snapshot
    RESTORE = "restore"  # a snapshot onto the disk
    SEED = "seed"  # a sibling's target dir into a new one
    ADOPT = "adopt"  # the `target/` of a project onto the disk
    KEEP = "keep"  # the `target/` of a project into a snapshot
    DISOWN = "disown"  # a target dir into its project
    SPILL = "spill"  # a target dir to the SSD, where its project goes on
    RETURN = "return"  # and back

    @property
    def doing(self) -> str:
        """Say in a word what happens to the target dir."""
        return _DOING[self]


_DOING = {
    TaskKind.SAVE: "saved",
    TaskKind.RESTORE: "restored",
    TaskKind.SEED: "made from that of another checkout",
    TaskKind.ADOPT: "adopted",
    TaskKind.KEEP: "moved into a snapshot",
    TaskKind.DISOWN: "given back to its project",
    TaskKind.SPILL: "moved to the SSD",
    TaskKind.RETURN: "moved back to the RAM disk",
}

BEFORE_A_BUILD = (TaskKind.RESTORE, TaskKind.SEED)


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that is done to the target dir at `path`, which belongs to `root`.

    `source` is the project's own directory for ADOPT and KEEP, where DISOWN puts it, and the place
    on the SSD for SPILL and RETURN. `siblings` are target dirs with their roots, the one used last
    first. `most_bytes` is what there is room for where it goes. `replaces`: what is at `path` gives
    way; otherwise only an empty one does. `nice` is how far its threads give way to others.
    """

    number: int
    kind: TaskKind
    path: str
    root: str | None
    disk: Disk | None = None
    snapshot: Snapshot | None = None
    source: str = ""
    siblings: tuple[tuple[str, str], ...] = ()
    most_bytes: int = 0
    replaces: bool = False
    snapshots_dir: str = ""
    cores: int = 2
    nice: int = 0

    @property
    def name(self) -> str:
        """The name of the target dir."""
        return self.path.rpartition("/")[2]


def progress(kind: TaskKind, done_bytes: int, whole_bytes: int) -> str:
    """Say how far a task is: `the target dir is being restored: 1.2 GiB of 5.0 GiB`."""
    text = f"the target dir is being {kind.doing}"
    if not whole_bytes:
        return text
    return f"{text}: {show_bytes(done_bytes)} of {show_bytes(whole_bytes)}"
