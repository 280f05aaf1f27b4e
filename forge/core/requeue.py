"""Builds that begin anew: which may be ended for that, and what their launcher brings back.

A build that is ended for memory loses nothing but time: its cargo goes on where it was. Its
launcher stays, waits in line like any other, and starts cargo once more. To the daemon that is
another build with another id, since the first one's compilers may still be ending; it brings back
whom it carries on, so that it stands in line where the first one stood. Nothing of that is kept
here: a daemon that has just been replaced knows as much.

Only what may be done twice is: a program that is run may have read its standard input, a test may
have changed something, and what a person waits for is not taken from them.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from forge.core.actions import Action, EndTree, Log, Send
from forge.core.builds import Again, Build, BuildPhase
from forge.core.cargo_args import Kind
from forge.core.shares import Priority

if TYPE_CHECKING:
    from forge.core.state import State

MOST_ENDED = 2
"""A build that was ended for memory so often is left in peace: it would never get to its end."""

REPEATABLE_VERBS = frozenset(("b", "build", "c", "check", "clippy", "d", "doc", "rustc", "rustdoc"))
"""What compiles and does nothing else."""

LINE = "memory is short: this build is ended and goes on later"


def may_begin_anew(build: Build) -> bool:
    """Say whether a build's cargo may be run a second time, by a launcher that can do it."""
    is_repeatable = build.args.verb in REPEATABLE_VERBS and "--fix" not in build.args.argv
    return build.requeues and is_repeatable and not build.is_cancelled


def requeue(build: Build, line: str, again: Again) -> Action:
    """Tell a launcher to begin anew when its cargo has ended."""
    assert build.conn is not None, f"{build.id} has no launcher to begin it anew"
    build.is_requeued = True
    return Send(build.conn, {"type": "requeue", "line": line, "again": again.text})


@dataclass(frozen=True, slots=True)
class Requeues:
    """The top rung of the ladder: the youngest batch build is ended, to go on later."""

    state: "State"

    def youngest(self) -> Build | None:
        """Return the build to be ended next; None when it would be the last one at work."""
        at_work = [
            one for one in self.state.builds.values() if _compiles(one) and self._stood_in_line(one)
        ]
        if len(at_work) < 2:
            return None
        return max(filter(_may_be_taken, at_work), key=lambda one: one.order, default=None)

    def end_youngest(self) -> list[Action]:
        """End that build, its compilers and all that it has started."""
        build = self.youngest()
        if build is None:
            return []
        again = replace(build.carried_on, ended=build.carried_on.ended + 1)
        fields = {"build": build.id, "root": build.root, "times": again.ended}
        return [
            Log("build.requeued", fields),
            requeue(build, LINE, again),
            *self.state.gates.end(build.id),
            EndTree(build.cargo_key),
        ]

    def _stood_in_line(self, build: Build) -> bool:
        """Say whether it did: one inside another, or inside a command, would go on at once."""
        return not build.lender and build.parent not in self.state.builds


def _compiles(build: Build) -> bool:
    is_over = build.is_compiled or build.is_cancelled or build.is_requeued
    is_over = is_over or build.failed_s is not None
    return build.phase is BuildPhase.RUNNING and build.args.kind is Kind.BUILD and not is_over


def _may_be_taken(build: Build) -> bool:
    is_batch = build.priority is Priority.BATCH and build.conn is not None
    return is_batch and build.carried_on.ended < MOST_ENDED and may_begin_anew(build)
