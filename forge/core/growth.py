"""How much builds write to the RAM disk: what each has written, and what it will yet.

The disk tells how full it is, not who filled it: what it grew by between two looks is shared evenly
among the builds that ran units meanwhile. What a build has written in all is learned like its cost,
for each project, verb and profile, cold and warm apart. A first build of which nothing is known is
taken for one of a middling size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forge.core.builds import Build, BuildPhase
from forge.core.disk import DiskUsage
from forge.core.learned import Observation, key_of_growth, key_of_work
from forge.core.units import MIB

if TYPE_CHECKING:
    from forge.core.state import State

WARM_SHARE = 0.15
"""A warm build writes about so much of its target dir anew before old files are replaced."""

COLD_BYTES = 1024 * MIB
COLD_SHARE = 0.2
"""What a first build is taken to write, of which nothing is known; on a small disk, its part."""

RATE_OVER_S = 1.0
"""The rate of growth is taken over so long; over less it is noise."""


@dataclass(slots=True)
class Growth:
    """What builds have written, by id, and how fast the disk fills."""

    state: "State"
    grown_bytes: dict[str, int] = field(default_factory=dict)
    bytes_per_s: float = 0.0
    _used_bytes: int | None = None
    _looked_s: float = 0.0

    def look(self, usage: DiskUsage, now_s: float) -> None:
        """Take in how full the disk is now."""
        before, self._used_bytes = self._used_bytes, usage.used_bytes
        since_s, self._looked_s = now_s - self._looked_s, now_s
        grown = 0 if before is None else max(0, usage.used_bytes - before)
        weight = min(1.0, since_s / RATE_OVER_S) if since_s > 0 else 0.0
        rate = grown / since_s if since_s > 0 else 0.0
        self.bytes_per_s += weight * (rate - self.bytes_per_s)
        writers = self._writers()
        for build in writers:
            self.grown_bytes[build.id] = self.grown_bytes.get(build.id, 0) + grown // len(writers)

    def forget_disk(self) -> None:
        """Begin anew with another disk, or another size of it."""
        self._used_bytes, self.bytes_per_s = None, 0.0

    def ended(self, build: Build, run_s: float) -> Observation | None:
        """Return what is to be learned from a build that is over; None when it wrote elsewhere."""
        grown_bytes = self.grown_bytes.pop(build.id, None)
        if grown_bytes is None or build.is_spilled or not build.work_key:
            return None
        key = key_of_growth(build.work_key)
        return Observation(build.root or "", key, run_s, 0.0, grown_bytes // 1024)

    def left_bytes(self, build: Build) -> int:
        """Return how much a build is yet to write."""
        return max(0, self.of(build) - self.grown_bytes.get(build.id, 0))

    def of(self, build: Build) -> int:
        """Return how much a build writes in all, as far as anybody knows."""
        known = self.state.target_dirs.get(build.target_dir or "")
        if known is None:
            return 0  # not on the disk, or not there yet
        learned = self.learned_bytes(build)
        if learned is not None:
            return learned
        if build.is_cold or not known.size_bytes:
            return self.unknown_bytes
        return int(WARM_SHARE * known.size_bytes)

    def learned_bytes(self, build: Build) -> int | None:
        """Return the most that builds like this one have written lately; None: there were none."""
        return self._learned(build, build.work_key)

    def cold_bytes(self, build: Build) -> int | None:
        """Return the most that its first builds have written lately; None: nobody knows."""
        return self._learned(build, key_of_work(build.args.verb, build.args.profile, is_cold=True))

    def _learned(self, build: Build, work_key: str) -> int | None:
        key = key_of_growth(work_key)
        known = self.state.gates.learned.estimate_here(build.root, key) if key else None
        return known.peak_kib * 1024 if known else None

    @property
    def unknown_bytes(self) -> int:
        """Return what a first build is taken to write."""
        usage = self.state.disk.usage
        return min(COLD_BYTES, int(COLD_SHARE * usage.total_bytes)) if usage else COLD_BYTES

    def _writers(self) -> Sequence[Build]:
        running = [
            one
            for one in self.state.builds.values()
            if one.phase is BuildPhase.RUNNING and one.target_dir in self.state.target_dirs
        ]
        at_work = [one for one in running if self.state.gates.is_at_work(one.id)]
        return at_work or running
