"""What people ask of builds afterwards: which there were, where the time went, and to forget it."""

from typing import TYPE_CHECKING, Any

from forge.core import messages
from forge.core.actions import Action, ForgetPast, Log, Send, TellBuild, TellHistory
from forge.core.builds import Build
from forge.core.history import Recorder, build_record
from forge.core.leases import build_number
from forge.core.moment import Moment
from forge.core.replies import error

if TYPE_CHECKING:
    from forge.core.state import State

MAX_HISTORY = 500
SHOWN_NOW = 20
"""Of what a build does now so much is told by name."""


class PastBuilds:
    """Requests about builds that are over, or under way; none of them changes a build."""

    def __init__(self, state: "State") -> None:
        self._state = state

    def history(self, conn: int, message: messages.History, now: Moment) -> list[Action]:
        """Tell which builds there were, from the database."""
        limit = min(max(1, message.limit), MAX_HISTORY)
        return [TellHistory(conn, limit, message.root, message.failed)]

    def explain(self, conn: int, message: messages.Explain, now: Moment) -> list[Action]:
        """Tell of a build that is under way from here, of one that is over from the database."""
        build = self._state.builds.get(message.build)
        if build:
            return [Send(conn, {"type": "explained", "build": self._so_far(build, now)})]
        number = build_number(message.build)
        if number is None:
            reason = f"there is nothing to tell of `{message.build[:40]}`"
            return [error(conn, "no-such-build", reason, "`forge history` lists builds")]
        return [TellBuild(conn, message.build, number)]

    def forget(self, conn: int, message: messages.Forget, now: Moment) -> list[Action]:
        """Forget what was learned, here and in the database; a build under way teaches it anew."""
        learned, root = self._state.gates.learned, message.root
        costs = len(learned.of(root))
        told = ForgetPast(conn, root, costs, message.builds, message.dry_run)
        if message.dry_run:
            return [told]
        learned.forget(root)
        fields = {"root": root, "costs": costs, "with_builds": message.builds}
        return [Log("history.forgotten", fields), told]

    def _so_far(self, build: Build, now: Moment) -> dict[str, Any]:
        gates = self._state.gates
        recorder = gates.recorders.get(build.id)
        if recorder is None:  # its cargo does not run yet
            recorder = Recorder(build.began_steady_s, gates.budget.capacity)
        waiting = [one for one in gates.crowd.of(build.id) if not one.runs]
        why = gates.why_waits(waiting[0], now) if waiting else None
        under_way = {
            "running": True,
            "outcome": None,
            "phase": build.phase,
            "wait": self._state.launches.wait_reason(build, now) or why,
            "runs_now": [one.name for one in gates.crowd.of(build.id) if one.runs][:SHOWN_NOW],
            "waits_now": [one.name for one in waiting][:SHOWN_NOW],
        }
        return build_record(build, recorder, now.steady_s) | under_way | recorder.details()
