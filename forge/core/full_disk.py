"""What is done when eviction does not make the room that builds need, step by step.

The disk grows, where it can and where nobody was promised the memory. Other builds start no
further unit, so that one gets to its end. Compilers are stopped for as long as something is being
deleted for them. Last, before the disk is full, a build is ended and goes on on the SSD. Each step
is undone when there is room again. docs/design/room.md tells what was considered.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forge.core.actions import Action, EndTree, Log, Send
from forge.core.behind import What
from forge.core.builds import Build, BuildPhase
from forge.core.cargo_args import Kind
from forge.core.disk import DiskKind
from forge.core.disk_life import DiskPhase
from forge.core.memory_claims import LINK_BASE_BYTES
from forge.core.moment import Moment
from forge.core.pressure import Rung
from forge.core.requeue import may_begin_anew, requeue
from forge.core.shares import HELD_CAP, Priority
from forge.core.tasks import TaskKind
from forge.core.units import MIB, show_bytes

if TYPE_CHECKING:
    from forge.core.state import State

URGENT_BYTES = 64 * MIB
URGENT_SHARE = 0.01
AHEAD_S = 0.5
"""It is urgent when less is free than that, and what will be written until a build has ended."""

GROW_STEP_BYTES = 1024 * MIB
LEAST_GROWTH_BYTES = 64 * MIB
GROW_AGAIN_S = 1.0
SHRINK_BELOW = 0.8
"""A disk that has grown takes its old size again when so much of that is not used any more."""

REMEMBERED_S = 5.0
"""What a build fails of shows in how little was free at most so long before its end."""

HELD = "waiting: there is no room on the RAM disk, and {first} goes first"
TEST_VERBS = frozenset(("t", "test"))


@dataclass(slots=True)
class FullDisk:
    """Which builds are held for room, which compilers stopped, and how little was free lately."""

    state: "State"
    paused: set[int] = field(default_factory=set)
    _grew_s: float = float("-inf")
    _has_grown: bool = False
    _free: list[tuple[float, int]] = field(default_factory=list)

    def note(self, free_bytes: int, now: Moment) -> None:
        """Keep how much is free now."""
        self._free.append((now.steady_s, free_bytes))
        while self._free and self._free[0][0] < now.steady_s - 2 * REMEMBERED_S:
            del self._free[0]

    def has_looked_at(self, build: Build) -> bool:
        """Say whether the disk was looked at after a build has failed on it, if that matters."""
        is_here = build.target_dir in self.state.target_dirs and self.state.disk.disk is not None
        looked_s = self._free[-1][0] if self._free else float("-inf")
        return not is_here or build.failed_s is None or looked_s >= build.failed_s

    def press(self, short_bytes: int, now: Moment) -> list[Action]:
        """Do what is left to do: so much is missing, whatever is being evicted included."""
        grown = self._grow(short_bytes, now) if short_bytes > 0 else []
        if grown:
            return grown
        actions = self._hold_others(now) if short_bytes > 0 else []
        if not self.is_urgent():
            return actions
        if self.state.room.evicting:
            return actions + self._pause()
        return actions + self._resume() + self._spill(now)

    def calm(self, now: Moment) -> list[Action]:
        """Undo what was done: there is room again."""
        return self._resume() + self._hold((), "", now) + self._shrink(now)

    def forget_disk(self, now: Moment) -> list[Action]:
        """Let all go on: the disk is gone."""
        self._has_grown = False
        self._free.clear()
        return self._resume() + self._hold((), "", now)

    # The disk grows

    def _grow(self, short_bytes: int, now: Moment) -> list[Action]:
        """Give the disk more, if its kind can take it and the memory is nobody's."""
        disk, usage = self.state.disk.disk, self.state.disk.usage
        is_able = disk is not None and disk.kind is DiskKind.TMPFS and self.state.settings.grow_disk
        if not is_able or usage is None or now.steady_s - self._grew_s < GROW_AGAIN_S:
            return []
        assert disk, "checked above"
        more_bytes = min(
            self._unpromised_bytes(usage.free_bytes), max(short_bytes, GROW_STEP_BYTES)
        )
        if more_bytes < LEAST_GROWTH_BYTES:
            return []
        self._grew_s, self._has_grown = now.steady_s, True
        return self.state.disk.resize(disk.size_mib + more_bytes // MIB)

    def _unpromised_bytes(self, disk_free_bytes: int) -> int:
        """Return the memory that is available and was promised to nobody."""
        headroom_bytes = self.state.memory.headroom_bytes
        if headroom_bytes is None:
            return 0  # not measured: then nobody knows
        reservations = self.state.gates.memory.reservations
        promised = reservations.untouched_bytes + self.state.inference.promised_bytes
        return max(0, headroom_bytes - promised - disk_free_bytes)

    def _shrink(self, now: Moment) -> list[Action]:
        disk, usage, wish = self.state.disk.disk, self.state.disk.usage, self.state.settings.disk
        if not (self._has_grown and disk and usage and wish) or self.state.builds:
            return []
        if self.state.disk.phase is not DiskPhase.MOUNTED or disk.size_mib <= wish.size_mib:
            return []
        if usage.used_bytes > SHRINK_BELOW * wish.size_mib * MIB:
            return []
        self._has_grown = False
        return self.state.disk.resize(wish.size_mib)

    # Others are held

    def _hold_others(self, now: Moment) -> list[Action]:
        """Let as many builds go on as will fit, the first in any case."""
        usage = self.state.disk.usage
        assert usage, "the disk was measured"
        at_work = self._at_work()
        left_bytes = usage.free_bytes
        held: list[Build] = []
        for number, build in enumerate(at_work):
            left_bytes -= self.state.growth.left_bytes(build)
            if number and left_bytes < 0:
                held.append(build)
        return self._hold(tuple(held), at_work[0].name if at_work else "", now)

    def _hold(self, builds: tuple[Build, ...], first: str, now: Moment) -> list[Action]:
        gates = self.state.gates
        wanted = {one.id for one in builds}
        actions: list[Action] = []
        for build in builds:
            if build.id not in gates.held:
                fields = {"build": build.id, "behind": first}
                actions.append(Log("build.held_for_room", fields))
                gates.held[build.id] = HELD.format(first=first)
                actions += gates.set_cap(build.id, HELD_CAP, now)
        for name in [name for name in gates.held if name not in wanted]:
            del gates.held[name]
            start = self.state.builds[name].start
            cap = start.tokens + 1 if start and start.tokens is not None else None
            actions += gates.set_cap(name, cap, now)
        return actions

    def _at_work(self) -> list[Build]:
        """Return the builds that write to the disk: a person's first, then by arrival."""
        found = [
            one
            for one in self.state.builds.values()
            if one.phase is BuildPhase.RUNNING and one.target_dir in self.state.target_dirs
            and one.failed_s is None
            and not (one.is_compiled or one.is_requeued or one.is_cancelled)
        ]  # fmt: skip
        return sorted(found, key=lambda one: (one.priority is Priority.BATCH, one.order))

    # Compilers are stopped

    def is_urgent(self) -> bool:
        """Say whether something must be done before the next look but one."""
        usage = self.state.disk.usage
        return usage is not None and usage.free_bytes < self.urgent_bytes

    @property
    def urgent_bytes(self) -> int:
        """Return what must be free at any moment."""
        usage = self.state.disk.usage
        least_bytes = max(URGENT_BYTES, int(URGENT_SHARE * usage.total_bytes)) if usage else 0
        return least_bytes + int(AHEAD_S * self.state.growth.bytes_per_s)

    def _pause(self) -> list[Action]:
        """Stop what writes, while something is deleted that makes room for it."""
        on_disk = {one.id for one in self._at_work()}
        stopped = [
            one
            for one in self.state.gates.behind.values()
            if one.what is What.UNIT and one.runs and one.build in on_disk and not one.is_paused
        ]
        actions: list[Action] = []
        for one in stopped:
            one.is_paused = True
            self.paused.add(one.conn)
            actions.append(Send(one.conn, {"type": "pause"}))
        if stopped:
            actions.append(Log("disk.paused_units", {"units": len(stopped)}))
        return actions

    def _resume(self) -> list[Action]:
        """Let them go on, unless memory wants them to stand still as well."""
        if not self.paused or self.state.memory.ladder.rung >= Rung.STOP_UNITS:
            return []
        behind = self.state.gates.behind
        stopped = [behind[conn] for conn in self.paused if conn in behind]
        self.paused.clear()
        actions: list[Action] = []
        for one in stopped:
            if one.is_paused:
                one.is_paused = False
                actions.append(Send(one.conn, {"type": "resume"}))
        return [*actions, Log("disk.resumed_units", {"units": len(stopped)})]

    # A build moves to the SSD

    def _spill(self, now: Moment) -> list[Action]:
        """End the youngest build that can go on elsewhere, one at a time."""
        if self._moves():
            return []
        at_work = self._at_work()
        for build in reversed(at_work):
            root = build.root
            beside = [one for one in at_work if one.target_dir == build.target_dir]
            if root is None or not self.state.spills.may_move(root, now.steady_s):
                continue
            if all(self.may_move(one) for one in beside):
                usage = self.state.disk.usage
                free = show_bytes(usage.free_bytes) if usage else "nothing"
                return self._put_out(beside, root, f"the RAM disk had {free} free", now)
        return []

    def may_move(self, build: Build) -> bool:
        """Say whether a build can be ended and begun anew: no test of it may have run."""
        if build.conn is None or build.is_compiled:
            return False
        recorder = self.state.gates.recorders.get(build.id)
        only_compiles = build.is_gated and recorder is not None and not recorder.tally.tests
        is_test = build.args.verb in TEST_VERBS and build.requeues and not build.is_cancelled
        return may_begin_anew(build) or (is_test and only_compiles)

    def _moves(self) -> bool:
        """Say whether a build is on its way to the SSD."""
        is_ending = any(
            one.is_requeued and one.target_dir in self.state.target_dirs
            for one in self.state.builds.values()
        )
        running = self.state.tasks.running.values()
        return is_ending or any(one.task.kind is TaskKind.SPILL for one in running)

    def _put_out(self, builds: list[Build], root: str, why: str, now: Moment) -> list[Action]:
        self.state.spills.put_out(root, self._needs_bytes(builds[0]), why, now)
        actions: list[Action] = []
        for build in builds:
            line = f"{why}: this build is ended and goes on on the SSD"
            actions += [
                Log("build.spilled", {"build": build.id, "root": root, "why": why}),
                requeue(build, line, build.carried_on),
                *self.state.gates.end(build.id),
                EndTree(build.cargo_key),
            ]
        return actions

    def _needs_bytes(self, build: Build) -> int:
        known = self.state.target_dirs.get(build.target_dir or "")
        size_bytes = (known.size_bytes or 0) if known else 0
        growth = self.state.growth
        written_bytes = growth.grown_bytes.get(build.id, 0)
        return size_bytes + max(2 * written_bytes, growth.of(build))

    # A build has run out of room

    def ran_out(self, build: Build, now: Moment) -> str | None:
        """Say that a build has failed because the disk was full, if it looks like that.

        The compiler tells people, and not us. What can be known: it failed, and so little was free
        at that time that nobody could have written what it was about to write.
        """
        if build.target_dir not in self.state.target_dirs or build.args.kind is not Kind.BUILD:
            return None
        since_s = now.steady_s - REMEMBERED_S
        free_bytes = min((free for at_s, free in self._free if at_s >= since_s), default=None)
        if free_bytes is None or free_bytes >= max(self.urgent_bytes, build.failed_bytes):
            return None
        return f"the RAM disk was full ({show_bytes(free_bytes)} free)"

    def failed_part(self, build: Build, want_bytes: int) -> list[Action]:
        """Take note that a part of a build has failed: a link needs room for all its output."""
        if build.target_dir not in self.state.target_dirs:
            return []
        output_bytes = max(0, want_bytes - LINK_BASE_BYTES) // 2
        build.failed_bytes = max(build.failed_bytes, output_bytes)
        return self.state.disk.measure()

    def run_out(self, build: Build, why: str, now: Moment) -> Action | None:
        """Let a build that has run out of room begin anew on the SSD; None when it cannot."""
        root = build.root
        if root is None or not self.state.spills.may_move(root, now.steady_s):
            return None
        if not self.may_move(build):
            return None
        self.state.spills.put_out(root, self._needs_bytes(build), why, now)
        return requeue(build, f"{why}: the build goes on on the SSD", build.carried_on)
