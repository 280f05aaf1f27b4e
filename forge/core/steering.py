"""What people ask of builds that are under way: end one, change its priority, hold the machine."""

from typing import TYPE_CHECKING

from forge.core import messages
from forge.core.actions import Action, EndTree, Log, Send
from forge.core.builds import Build
from forge.core.moment import Moment
from forge.core.replies import error
from forge.core.shares import Priority
from forge.core.units import plural

if TYPE_CHECKING:
    from forge.core.state import State

EXIT_CANCELLED = 130
"""What a shell gives for Ctrl-C, which is what a cancelled build looks like to its caller."""


class Steering:
    """Requests that change what builds do. `held_since_s`: since when the machine is held."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self.held_since_s: float | None = None

    def cancel_build(self, conn: int, message: messages.CancelBuild, now: Moment) -> list[Action]:
        """End a build and those inside it, wherever they stand."""
        reservation = self._state.reserved.by_id.get(message.build)
        if reservation:
            was = "running" if reservation.runs else "waiting"
            line = f"{reservation.id} is cancelled; it was {was}"
            cancelled = self._state.reserved.cancel(reservation, EXIT_CANCELLED, now)
            return [*cancelled, Send(conn, {"type": "ok", "line": line})]
        build = self._state.builds.get(message.build)
        if build is None:
            return [_no_such_build(conn, message.build)]
        was = build.phase
        actions: list[Action] = []
        for one in [build, *self._inside(build)]:
            actions += self._cancel(one, now)
        line = f"{build.name} is cancelled; it was {was}"
        return [*actions, Send(conn, {"type": "ok", "line": line})]

    def set_priority(self, conn: int, message: messages.SetPriority, now: Moment) -> list[Action]:
        """Change the priority of a build and of those inside it."""
        build = self._state.builds.get(message.build)
        if build is None:
            return [_no_such_build(conn, message.build)]
        if message.priority not in tuple(Priority):
            known = " and ".join(f"`{one}`" for one in Priority)
            reason = f"there is no priority `{message.priority[:40]}`"
            return [error(conn, "usage-mistake", reason, f"there are {known}")]
        priority = Priority(message.priority)
        line = f"{build.name} is {priority} now"
        if build.priority is priority:
            line = f"{build.name} is {priority} already"
        actions: list[Action] = [Log("build.priority", {"build": build.id, "priority": priority})]
        for one in [build, *self._inside(build)]:
            one.priority = priority
            actions += self._state.gates.set_priority(one, now)
            actions += self._state.line.set_priority(one, now)
        return [*actions, Send(conn, {"type": "ok", "line": line})]

    def hold(self, conn: int, message: messages.Hold, now: Moment) -> list[Action]:
        """Start nothing more on the whole machine, or go on."""
        was_held = self.held_since_s is not None
        if message.on and not was_held:
            self.held_since_s = now.steady_s
        if not message.on:
            self.held_since_s = None
        running = len(self._state.gates.budget.running())
        rest = f"{plural(running, 'unit')} still to end" if running else "nothing runs"
        line = {
            (True, False): f"the machine is held; {rest}",
            (True, True): "the machine is held already",
            (False, True): "builds go on",
            (False, False): "the machine is not held",
        }[message.on, was_held]
        return [
            Log("machine.held" if message.on else "machine.resumed", {"running": running}),
            *self._state.gates.hold(message.on, now),
            *self._state.line.hold(message.on, now),
            Send(conn, {"type": "ok", "line": line}),
        ]

    def _cancel(self, build: Build, now: Moment) -> list[Action]:
        line = f"{build.id} was cancelled by `forge cancel`"
        log = Log("build.cancelled", {"build": build.id, "phase": build.phase})
        build.is_cancelled = True
        if build.cargo_pid is None and build.phase.is_before_cargo:
            return [log, *self._state.leases.refuse(build, line, EXIT_CANCELLED, now)]
        told: list[Action] = []
        if build.conn is not None:
            end = {"type": "end", "line": line, "exit": EXIT_CANCELLED}
            told.append(Send(build.conn, end))
        return [log, *told, *self._state.gates.end(build.id), EndTree(build.cargo_key)]

    def _inside(self, build: Build) -> list[Build]:
        found = [build]
        for outer in found:  # grows while it is walked
            builds = self._state.builds.values()
            found += [one for one in builds if one.parent == outer.id and one not in found]
        return found[1:]


def _no_such_build(conn: int, build: str) -> Action:
    hint = "`forge status` lists those that run, `forge history` those that are over"
    return error(conn, "no-such-build", f"there is no build `{build[:40]}` under way", hint)
