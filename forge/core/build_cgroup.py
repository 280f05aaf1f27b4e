"""The cgroup that all builds run in (Linux): their memory is never swapped, and has a ceiling.

The ceiling is what the machine can give at all: its memory less the low water, and less what models
have. So builds that read and write whole disks lose page cache of their own to it, and not a
model's pages; and what outruns the ladder ends among builds. A tighter one, such as the row of the
linker buffer, would end builds for what they wrote to the RAM disk: a tmpfs page is charged to
whoever wrote it, and stays charged after that one has ended. Holding builds to their rows is the
ledger's business. docs/design/build-cgroup.md has the measurements.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forge.core.actions import Action, LimitBuilds, Log, OpenBuildCgroup
from forge.core.units import MIB

if TYPE_CHECKING:
    from forge.core import events
    from forge.core.builds import Build
    from forge.core.moment import Moment
    from forge.core.state import State

BUILD_OOM_SCORE_ADJ = 500
"""What builds offer themselves with when memory runs out: before a model server, which has 0."""

STEP_BYTES = 64 * MIB
"""What models have changes by a little all the time; the ceiling follows in steps."""

AGAIN_S = 5.0
"""A ceiling that is below what builds have is as low as it can be, and lowered again later."""

OFF = "off: builds.cgroup is false"


@dataclass(frozen=True, slots=True)
class BuildCgroup:
    """A cgroup for builds. `directory` is where its files are.

    `caveats` are lines that say what it does not guarantee. `cpu_file` sets how much builds get of
    cores that others want as well, and has `cpu_usual` in it at first; None: nothing weighs them.
    `cpu_procs` is by what a process enters where that is a cgroup of its own (version 1).
    """

    directory: str
    version: int
    is_swap_off: bool
    caveats: tuple[str, ...] = ()
    cpu_file: str | None = None
    cpu_usual: int = 100
    cpu_procs: str | None = None

    @property
    def procs(self) -> str:
        """The file by which a process enters."""
        return f"{self.directory}/cgroup.procs"


class CgroupLife:
    """What the core knows of the builds' cgroup: where it is, or why there is none."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self.cgroup: BuildCgroup | None = None
        self.failure: str | None = None
        self.ceiling_bytes: int | None = None
        self._asked_bytes: int | None = None
        self._asked_s = 0.0

    @property
    def is_wanted(self) -> bool:
        """Say whether builds are to have a cgroup."""
        return self._state.settings.cgroup

    def open_if_wanted(self) -> list[Action]:
        """Ask for a cgroup, unless there is one or none is wanted."""
        return [OpenBuildCgroup()] if self.is_wanted and self.cgroup is None else []

    def opened(self, event: "events.BuildCgroupOpened", now: "Moment") -> list[Action]:
        """Take note of a cgroup that builds can enter."""
        self.cgroup, self.failure = event.cgroup, None
        fields = {"directory": event.cgroup.directory, "swap_off": event.cgroup.is_swap_off}
        return [Log("cgroup.opened", fields), *self.fit()]

    def missing(self, event: "events.BuildCgroupMissing", now: "Moment") -> list[Action]:
        """Take note that there is none; builds run where they were started."""
        self.failure = event.reason
        return [Log("cgroup.missing", {"reason": event.reason})]

    def fit(self) -> list[Action]:
        """Set the ceiling, as soon as memory was measured and when its size has changed."""
        reading = self._state.memory.reading
        if self.cgroup is None or reading is None:
            return []
        models_bytes = self._state.inference.held_bytes(reading)
        room_bytes = reading.total_bytes - self._state.memory.low_water_bytes - models_bytes
        ceiling_bytes = (
            max(0, room_bytes // STEP_BYTES * STEP_BYTES) if models_bytes else room_bytes
        )
        is_too_high = self.ceiling_bytes is not None and self.ceiling_bytes > ceiling_bytes
        is_time = is_too_high and reading.taken_s - self._asked_s >= AGAIN_S
        if ceiling_bytes == self._asked_bytes and not is_time:
            return []
        self._asked_bytes, self._asked_s = ceiling_bytes, reading.taken_s
        return [LimitBuilds(self.cgroup.directory, self.cgroup.version, ceiling_bytes)]

    def limited(self, event: "events.BuildsLimited", now: "Moment") -> list[Action]:
        """Take note of the ceiling that holds now."""
        if event.reason is None:
            self.ceiling_bytes = event.ceiling_bytes
            return []
        return [Log("cgroup.unlimited", {"reason": event.reason})]

    def procs_for(self, build: "Build") -> str | None:
        """Return what a build is to enter; None when it stays where it was started.

        One that has a limit of its own there stays: entering would take it out of that.
        """
        if self.cgroup is None or not self.is_wanted or build.own_limit:
            return None
        return self.cgroup.procs

    def cpu_procs_for(self, build: "Build") -> str | None:
        """Return what a build is to enter besides, so that its cores can be weighed."""
        return self.cgroup.cpu_procs if self.cgroup and self.procs_for(build) else None

    def report(self) -> dict[str, Any]:
        """Build the part of the status that tells of the cgroup."""
        cgroup = self.cgroup if self.is_wanted else None
        return {
            "directory": cgroup.directory if cgroup else None,
            "version": cgroup.version if cgroup else None,
            "swap_off": cgroup.is_swap_off if cgroup else False,
            "ceiling_bytes": self.ceiling_bytes if cgroup else None,
            "weighs": bool(cgroup and cgroup.cpu_file),
            "caveats": list(cgroup.caveats) if cgroup else [],
            "failure": self.failure if self.is_wanted else OFF,
            "oom_score_adj": BUILD_OOM_SCORE_ADJ,
        }
