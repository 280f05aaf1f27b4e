"""What the ladder did, read from the decision log."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from forge.core.pressure import Rung
from tests.sim.memory_policies import Decision


@dataclass(frozen=True, slots=True)
class Step:
    """A rung climbed or left."""

    at_s: float
    rung: Rung
    was: Rung


def rungs(decisions: Iterable[Decision]) -> list[Step]:
    named = {rung.title: rung for rung in Rung}
    return [
        Step(one.at_s, named[one.fields["rung"]], named[one.fields["was"]])
        for one in decisions
        if one.name in ("memory.tight", "memory.eased")
    ]


def turns(steps: list[Step], within_s: float) -> int:
    """Count the steps up that come so soon after a step down, the foot of the ladder left out."""
    return sum(
        first.rung < first.was and second.rung > second.was and first.rung is not Rung.CALM
        and second.at_s - first.at_s < within_s
        for first, second in pairwise(steps)
    )  # fmt: skip


def first_after(
    decisions: Iterable[Decision], begin_s: float, name: str, rung: Rung | None = None
) -> float | None:
    """Tell how long after `begin_s` something was decided first."""
    return next(
        (
            one.at_s - begin_s
            for one in decisions
            if one.name == name and one.at_s >= begin_s
            and (rung is None or one.fields["rung"] == rung.title)
        ),
        None,
    )  # fmt: skip
