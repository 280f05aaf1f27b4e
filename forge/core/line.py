"""The line in which builds wait for other builds, before anything is done for them.

First a build waits for the lock of its target dir, if another build of ours has it; then it stands
in the line of admission. It leaves both when it is over, or when its cargo has compiled all and
only runs what it built: a server under `cargo run` keeps nobody waiting.

A build inside another one, or inside a command that holds cores, never stands here: the outer one
would wait for it, and it for the outer one. It is counted beside the limit.
"""

from typing import TYPE_CHECKING

from forge.core import events
from forge.core.actions import Action, Log, ProbeLock
from forge.core.admission import Admission, proposed_limit
from forge.core.build_lock import BuildLocks
from forge.core.builds import PAUSED_PHASES, Build, BuildPhase
from forge.core.cargo_args import Kind
from forge.core.moment import Moment
from forge.core.shares import Priority
from forge.core.units import show_duration

if TYPE_CHECKING:
    from forge.core.state import State

EXIT_WAITED_TOO_LONG = 75
"""os.EX_TEMPFAIL: the build may be tried again."""


class WaitingLine:
    """Who waits for whom. Invariant: a build is in the line exactly while its phase says so."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self.locks = BuildLocks()
        self.admission = Admission(self._limit())
        self._probing: set[str] = set()

    def enter(self, build: Build, now: Moment) -> list[Action]:
        """Let a build go on, or wait for its turn."""
        if build.args.kind is not Kind.BUILD:
            return self._state.launches.go_on(build, now)
        if build.lender or build.parent in self._state.builds:
            build.lock = None
            self.admission.adopt(build.id)
            return self._state.launches.go_on(build, now)
        if build.lock and not self.locks.take(build.lock, build.id, build.priority, build.order):
            build.enters(BuildPhase.WAITING_FOR_TARGET_DIR, now.steady_s)
            self._note(build, self.ahead(build))
            return self._begin_waiting(build, now)
        return self._stand(build, now)

    def adopt(self, build: Build) -> None:
        """Count a build that runs already."""
        self.admission.adopt(build.id)
        if build.lock and not self.locks.take(build.lock, build.id, build.priority, build.order):
            self.locks.leave(build.lock, build.id)
            build.lock = None

    def leave(self, build: Build, now: Moment) -> list[Action]:
        """Take a build out, and let those go on that waited for it."""
        actions: list[Action] = []
        lock, build.lock = build.lock, None
        following = self.locks.leave(lock, build.id) if lock else None
        if following:
            actions += self._stand(self._state.builds[following], now)
        return actions + self._go_on(self.admission.leave(build.id), now)

    def set_priority(self, build: Build, now: Moment) -> list[Action]:
        """Move a build to where its new priority puts it."""
        if build.lock and build.phase is BuildPhase.WAITING_FOR_TARGET_DIR:
            self.locks.set_priority(build.lock, build.id, build.priority)
        admitted = self.admission.set_priority(build.id, build.priority, build.args.verb)
        return self._go_on(admitted, now)

    def hold(self, on: bool, now: Moment) -> list[Action]:
        """Admit nobody, or go on."""
        return self._go_on(self.admission.hold(on), now)

    def is_short(self, on: bool, now: Moment) -> list[Action]:
        """Admit nobody while memory is short, unless nobody else is at work, or go on."""
        return self._go_on(self.admission.short(on), now)

    def set_limit(self, now: Moment) -> list[Action]:
        """Admit as many as the settings allow from now on."""
        return self._go_on(self.admission.set_limit(self._limit()), now)

    def in_order(self) -> list[Build]:
        """Return the builds that wait, those that are next first."""
        builds = self._state.builds
        paused = [one for one in builds.values() if one.phase is BuildPhase.WAITING_FOR_TARGET_DIR]
        paused.sort(key=lambda one: one.priority is Priority.BATCH)
        return [*(builds[name] for name in self.admission.line()), *paused]

    def reason(self, build: Build, now: Moment) -> str:
        """Say why a build waits, in a line for people."""
        if build.phase is BuildPhase.WAITING_FOR_TARGET_DIR:
            first, *others = self.ahead(build)
            holder = self._state.builds[first]
            then = f"; then {', '.join(map(self._name, others))}" if others else ""
            verb = f"cargo {holder.args.verb}"
            return f"waiting for {holder.id} (`{verb}`), which builds in the same target dir{then}"
        queued = self.admission.waiting(build.id, now_s=now.steady_s)
        assert queued, f"{build.id} is said to wait and does not"
        return queued.text(self._name)

    def ahead(self, build: Build) -> tuple[str, ...]:
        """Return the ids of those that a waiting build waits for, the first in line first."""
        if build.phase is BuildPhase.WAITING_FOR_TARGET_DIR:
            assert build.lock, f"{build.id} waits for the lock of nothing"
            return self.locks.ahead(build.lock, build.id)
        queued = self.admission.waiting(build.id, now_s=0.0)
        return queued.ahead if queued else ()

    def tick(self, now: Moment) -> list[Action]:
        """Look who is through with its lock, if anybody waits; end those that lost patience."""
        waiting = [one for one in self._state.builds.values() if one.phase in PAUSED_PHASES]
        actions: list[Action] = []
        for build in waiting:
            # the end of one may have let the next go on, or ended it too
            waits_still = build.id in self._state.builds and build.phase in PAUSED_PHASES
            if waits_still and build.has_lost_patience(now.steady_s):
                actions += self._end_waiting(build, now)
        return actions + (self._probe() if waiting else [])

    def lock_seen(self, event: events.LockSeen, now: Moment) -> list[Action]:
        """Take in whether a build's lock file is locked now."""
        self._probing.discard(event.build)
        build = self._state.builds.get(event.build)
        if build is None or build.lock is None or build.phase is not BuildPhase.RUNNING:
            return []
        idle = not self._state.gates.is_at_work(build.id)
        if not self.locks.seen(
            build.lock, build.id, locked=event.locked, idle=idle, now_s=now.steady_s
        ):
            return []
        return self.compiled(build, now)

    def compiled(self, build: Build, now: Moment) -> list[Action]:
        """Take note that a build's cargo has compiled all that it was to compile."""
        if build.is_compiled:
            return []
        build.is_compiled = True
        return [Log("build.compiled", {"build": build.id}), *self.leave(build, now)]

    def check(self) -> None:
        """Assert the invariants."""
        self.admission.check()
        self.locks.check()
        for build in self._state.builds.values():
            is_queued = build.id in self.admission.line()
            assert is_queued == (build.phase is BuildPhase.QUEUED), f"{build.id} is misfiled"
            if build.phase is BuildPhase.WAITING_FOR_TARGET_DIR:
                assert build.lock and self.ahead(build), f"{build.id} waits for nobody"
        known = set(self._state.builds)
        assert set(self.admission.line()) <= known, "a build waits that is over"

    def _limit(self) -> int:
        settings = self._state.settings
        return settings.builds_at_once or proposed_limit(settings.cores)

    def _stand(self, build: Build, now: Moment) -> list[Action]:
        admitted = self.admission.join(
            build.id,
            order=build.order,
            priority=build.priority,
            verb=build.args.verb,
            now_s=now.steady_s,
        )
        build.enters(BuildPhase.QUEUED, now.steady_s)
        actions = self._go_on(admitted, now)
        if build.phase is BuildPhase.QUEUED:
            self._note(build, self._waits_behind(build))
            actions += self._begin_waiting(build, now)
        return actions

    def _begin_waiting(self, build: Build, now: Moment) -> list[Action]:
        """Tell a build that it waits; send it away at once when it would not wait at all."""
        if build.has_lost_patience(now.steady_s):
            return self._end_waiting(build, now)
        return [self._log_wait(build), *self._state.launches.tell_wait(build, now)]

    def _go_on(self, admitted: list[str], now: Moment) -> list[Action]:
        builds = [self._state.builds[name] for name in admitted]
        for build in builds:
            build.enters(BuildPhase.RESOLVING, now.steady_s)  # out of the line before others look
        return [action for one in builds for action in self._state.launches.go_on(one, now)]

    def _end_waiting(self, build: Build, now: Moment) -> list[Action]:
        patience = f"after {show_duration(build.patience_s)}" if build.patience_s else "at once"
        line = f"gave up {patience}: {self.reason(build, now)}"
        return [
            Log("build.impatient", {"build": build.id, "patience_s": build.patience_s}),
            *self._state.leases.refuse(build, line, EXIT_WAITED_TOO_LONG, now),
        ]

    def _probe(self) -> list[Action]:
        found: list[Action] = []
        for build in self._state.builds.values():
            is_asked = build.id in self._probing or build.is_compiled
            if build.lock and build.phase is BuildPhase.RUNNING and not is_asked:
                self._probing.add(build.id)
                lock = self._state.spills.lock_of(build) or build.lock
                found.append(ProbeLock(build.id, lock))
        return found

    def _waits_behind(self, build: Build) -> tuple[str, ...]:
        """Return those at work and those ahead in line; none while the machine is held."""
        queued = self.admission.waiting(build.id, now_s=0.0)
        return () if queued is None or queued.is_held else (*queued.admitted, *queued.ahead)

    def _note(self, build: Build, behind: tuple[str, ...]) -> None:
        """Keep for later whom a build waits for."""
        known = self._state.builds
        build.waited_behind |= {one: known[one].root for one in behind if one in known}

    def _log_wait(self, build: Build) -> Log:
        ahead = list(self.ahead(build))
        fields = {"build": build.id, "root": build.root, "for": build.phase, "ahead": ahead}
        return Log("build.waits", fields)

    def _name(self, build: str) -> str:
        known = self._state.builds.get(build)
        return known.name if known else build
