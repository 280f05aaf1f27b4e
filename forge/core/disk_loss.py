"""What becomes of the builds on a disk that is gone, or that has become read-only, unasked.

Left alone they would fail one unit after the other, and rustc would make their directories anew on
whatever is below the mount point. So they are ended with one line that says why. What may be done
twice begins anew, once, on the disk that is made then; a program or a test that runs is left to
itself: it may need nothing more of the disk.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from forge.core.actions import Action, EndTree, Log, Send
from forge.core.behind import What
from forge.core.builds import Build, BuildPhase
from forge.core.disk_actions import LookAtDisk
from forge.core.requeue import may_begin_anew, requeue

if TYPE_CHECKING:
    from forge.core.state import State

AGAIN = "it goes on with another disk"


@dataclass(frozen=True, slots=True)
class DiskLoss:
    """Ends builds that have lost their disk."""

    state: "State"

    def end_builds(self, line: str) -> list[Action]:
        """End those that are at work, and keep in mind why for those that have just failed."""
        actions: list[Action] = []
        for build in list(self.state.builds.values()):
            is_over = build.is_cancelled or build.is_requeued
            if build.target_dir is None or build.is_spilled or is_over:
                continue
            build.lost_disk = line
            if build.failed_s is None and not build.phase.is_before_cargo:
                actions += self._end(build, line)
        return actions

    def look(self, build: Build) -> list[Action]:
        """Look at the disk before a failed build is judged: it may have failed for that."""
        disk = self.state.disk.disk
        is_here = build.target_dir is not None and not build.is_spilled
        if not is_here or disk is None or build.lost_disk:
            return []
        build.awaits_disk = True
        return [LookAtDisk(disk)]

    def may_run_again(self, build: Build) -> bool:
        """Say whether a build that has lost its disk is begun anew."""
        return not build.carried_on.lost and may_begin_anew(build)

    def again(self, build: Build, line: str) -> Action:
        """Tell a launcher to begin anew, once."""
        again = replace(build.carried_on, lost=build.carried_on.lost + 1)
        return requeue(build, f"{line}; {AGAIN}", again)

    def _end(self, build: Build, line: str) -> list[Action]:
        if build.conn is None or build.phase is BuildPhase.ORPHANED:
            return []
        if self.may_run_again(build):
            told = self.again(build, line)
        elif self._compiles(build):
            build.is_cancelled = True
            told = Send(build.conn, {"type": "end", "line": line, "exit": 101})
        else:
            return [Send(build.conn, {"type": "say", "line": line})]
        how = {"build": build.id, "again": build.is_requeued}
        ended = self.state.gates.end(build.id)
        return [Log("build.lost_disk", how), told, *ended, EndTree(build.cargo_key)]

    def _compiles(self, build: Build) -> bool:
        """Say whether cargo itself is at work, as far as the gates tell, and not what it runs."""
        mine = [one for one in self.state.gates.behind.values() if one.build == build.id]
        runs_tests = any(one.what is What.TEST for one in mine)
        return bool(mine) and not runs_tests and not build.is_compiled
