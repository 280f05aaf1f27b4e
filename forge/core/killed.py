"""Compilers and linkers that were killed for memory, which looks like a compile error and is none.

The kernel tells nobody why a process was killed. What can be known: a rustc or a linker died of a
SIGKILL that was not ours, and while it ran the kernel's count of processes that were killed for
memory went up, or memory was tight by our own ladder. The driver of a linker dies of no signal when
the linker below it is killed; there the kernel's count alone decides. Anything else (a person's
`kill -9`) is not for memory, and its build fails as it would without us.

A verdict needs a reading that is younger than the death. So the launcher of a build that failed is
answered at the next reading: its build is over, or it is to begin anew, once, with the need known.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from forge.core import events, messages
from forge.core.actions import Action, Log, Send
from forge.core.behind import Behind, What
from forge.core.builds import Build
from forge.core.cargo_args import Kind
from forge.core.learned import Observation
from forge.core.memory import Reading
from forge.core.moment import Moment
from forge.core.pressure import Rung
from forge.core.requeue import may_begin_anew, requeue
from forge.core.units import show_bytes

if TYPE_CHECKING:
    from forge.core.state import State

EXIT_FAILED = 101
"""What cargo exits with when something did not compile."""

SIGKILL = 9
NEEDS_MORE = 1.5
"""What was killed had not yet reached its peak: it is taken to need so many times what it had."""

REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Suspect:
    """A rustc or a linker that may have been killed for memory, and how things stood then."""

    one: Behind
    message: messages.UnitEnded
    ended_s: float
    available_bytes: int
    was_tight: bool

    @property
    def died_of_a_signal(self) -> bool:
        """Say whether it was itself killed, and not something below it."""
        return self.message.signal == SIGKILL

    @property
    def title(self) -> str:
        """Name it as people know it: `linker of app`."""
        return f"{'linker' if self.one.what is What.LINK else 'rustc'} of {self.name}"

    @property
    def name(self) -> str:
        """Return the crate's name, where it is known."""
        return self.one.crate or self.one.name

    @property
    def reached_bytes(self) -> int:
        """Return the largest resident set that it had."""
        return self.message.peak_kib * 1024


class Killed:
    """Who may have been killed for memory, when the kernel did so, and who waits for a verdict.

    `_rises` are pairs of moments between which the kernel's count went up.
    """

    def __init__(self, state: "State") -> None:
        self._state = state
        self._suspects: list[Suspect] = []
        self._rises: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)
        self._seen: tuple[float, int] | None = None
        self._judged_s = float("-inf")

    def ended(self, conn: int, message: messages.UnitEnded, now: Moment) -> list[Action]:
        """Take note of what something has cost, and whether it may have been killed for memory."""
        one = self._state.gates.behind.get(conn)
        actions = self._state.gates.ended(conn, message, now)
        build = self._state.builds.get(one.build) if one else None
        if one and build and message.exit and one.what is not What.TEST:
            link_bytes = one.want_bytes if one.what is What.LINK else 0
            actions += self._state.full_disk.failed_part(build, link_bytes)
        if one is None or not self._is_suspect(one, message):
            return actions
        reading = self._state.memory.reading
        suspect = Suspect(
            one, message, now.steady_s,
            available_bytes=reading.available_bytes if reading else 0,
            was_tight=self._state.memory.ladder.rung > Rung.CALM,
        )  # fmt: skip
        self._suspects.append(suspect)
        return actions + self._state.memory.ask(now)

    def waits_for_verdict(self, build: Build) -> bool:
        """Say whether the launcher of a build that has ended is owed an answer."""
        is_over = build.is_cancelled or build.is_requeued or build.conn is None
        has_failed = build.exit == EXIT_FAILED and build.args.kind is Kind.BUILD
        return build.requeues and has_failed and not is_over

    def await_verdict(self, build: Build, now: Moment) -> list[Action]:
        """Answer a launcher at the next reading: what ends its units may be told after it."""
        build.failed_s = now.steady_s
        return [
            *self._state.disk_watch.loss.look(build),
            *self._state.disk.measure(),
            *self._state.memory.ask(now),
        ]

    def disk_seen(self, now: Moment) -> list[Action]:
        """Answer those that only the look at the disk was still missing for."""
        for build in self._state.builds.values():
            build.awaits_disk = False
        return self._answer(self._judged_s, now)

    def measured(self, event: events.MemoryMeasured, now: Moment) -> list[Action]:
        """Judge those that ended before this reading was taken, then answer their launchers."""
        self._count(event.reading)
        return self._judge(event.reading.taken_s) + self._answer(event.reading.taken_s, now)

    def disk_measured(self, now: Moment) -> list[Action]:
        """Answer those that waited for a look at the disk."""
        return self._answer(self._judged_s, now)

    def unmeasured(self, now: Moment) -> list[Action]:
        """Judge by what there is where memory cannot be read."""
        return self._judge(now.steady_s) + self._answer(now.steady_s, now)

    def _is_suspect(self, one: Behind, message: messages.UnitEnded) -> bool:
        build = self._state.builds.get(one.build)
        if build is None or build.is_cancelled or build.is_requeued or one.is_cancelled:
            return False  # we have ended it, or may have
        if one.what is What.LINK and message.exit:
            return True
        return one.what is not What.TEST and message.signal == SIGKILL

    def _count(self, reading: Reading) -> None:
        if reading.oom_kills is None:
            return
        if self._seen is not None and reading.oom_kills > self._seen[1]:
            self._rises.append((self._seen[0], reading.taken_s))
        self._seen = reading.taken_s, reading.oom_kills

    def _judge(self, by_s: float) -> list[Action]:
        due = [one for one in self._suspects if one.ended_s <= by_s]
        self._suspects = [one for one in self._suspects if one.ended_s > by_s]
        return [action for one in due if self._was_killed(one) for action in self._confirm(one)]

    def _was_killed(self, suspect: Suspect) -> bool:
        started_s = suspect.one.started_s or 0.0
        has_killed = any(
            before_s <= suspect.ended_s and after_s >= started_s
            for before_s, after_s in self._rises
        )
        return has_killed or (suspect.was_tight and suspect.died_of_a_signal)

    def _confirm(self, suspect: Suspect) -> list[Action]:
        """Keep that something was killed, and what it is taken to need from now on."""
        one, message = suspect.one, suspect.message
        build = self._state.builds.get(one.build)
        recorder = self._state.gates.recorders.get(one.build)
        if build is None or recorder is None:
            return []  # it was over before we knew
        reached, available = show_bytes(suspect.reached_bytes), show_bytes(suspect.available_bytes)
        build.killed[suspect.title] = f"it had reached {reached}, {available} was available"
        need_kib = max(int(NEEDS_MORE * message.peak_kib), one.want_bytes // 1024)
        cpu_s = message.user_s + message.system_s
        if one.key:
            root = build.root or ""
            recorder.needs.append(Observation(root, one.key, message.wall_s, cpu_s, need_kib))
        decision = "link.killed" if one.what is What.LINK else "unit.killed"
        fields = {
            "build": one.build,
            one.what: suspect.name,
            "reached": suspect.reached_bytes,
            "available": suspect.available_bytes,
            "needs": need_kib * 1024,
        }
        return [Log(decision, fields)]

    def _answer(self, by_s: float, now: Moment) -> list[Action]:
        self._judged_s = max(by_s, self._judged_s)
        due = [
            one
            for one in self._state.builds.values()
            if one.failed_s is not None
            and one.failed_s <= by_s
            and not one.awaits_disk
            and self._state.full_disk.has_looked_at(one)
        ]
        return [action for build in due for action in self._close(build, now)]

    def _close(self, build: Build, now: Moment) -> list[Action]:
        assert build.conn is not None, f"{build.id} waits for an answer without a launcher"
        told = "; ".join(f"the {one} was killed for memory: {how}" for one, how in _shown(build))
        answer: Action = Send(build.conn, {"type": "over", "line": told or None})
        loss = self._state.disk_watch.loss
        if build.lost_disk:
            answer = Send(build.conn, {"type": "over", "line": build.lost_disk})
            if loss.may_run_again(build):
                answer = loss.again(build, build.lost_disk)
        elif build.killed and self._may_run_again(build):
            again = replace(build.carried_on, killed=build.carried_on.killed + 1)
            answer = requeue(build, f"{told}; the build runs once more and books more", again)
        full = None if build.killed else self._state.full_disk.ran_out(build, now)
        if full:
            answer = self._state.full_disk.run_out(build, full, now) or Send(
                build.conn, {"type": "over", "line": f"{full} when this build failed"}
            )
            log = Log("build.ran_out", {"build": build.id, "root": build.root, "why": full})
            return [log, answer, *self._state.leases.forget(build, now)]
        return [answer, *self._state.leases.forget(build, now)]

    def _may_run_again(self, build: Build) -> bool:
        is_wanted = self._state.settings.rerun_killed and build.env.get("FORGE_RERUN") != "0"
        return is_wanted and not build.carried_on.killed and may_begin_anew(build)


def _shown(build: Build) -> list[tuple[str, str]]:
    return list(build.killed.items())[:3]
