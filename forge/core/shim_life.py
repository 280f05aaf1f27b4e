"""The native shim, as far as policy cares: whether builds can have gates, and why not."""

from dataclasses import dataclass
from enum import StrEnum

from forge.core.actions import Action, EnsureShim, Log
from forge.core.shim import Shim

LOOK_AGAIN_S = 300.0
"""A shim that is ready is looked at again after so long: the source or rustc may have changed."""

RETRY_S = 600.0
"""After a failed build of the shim, builds go without gates for so long before the next try."""


class ShimPhase(StrEnum):
    """Where the shim stands."""

    UNKNOWN = "unknown"
    BUILDING = "being compiled"
    READY = "ready"
    MISSING = "missing"


@dataclass(slots=True)
class ShimLife:
    """What the core knows of the shim. Invariant: `shim` is set once it was ready, for good."""

    phase: ShimPhase = ShimPhase.UNKNOWN
    shim: Shim | None = None
    failure: str | None = None
    looked_at: float = float("-inf")
    told: bool = False
    is_overdue: bool = False

    def ensure(self, search_path: str | None, now_s: float) -> list[Action]:
        """Look for the shim, or compile it, if that is due."""
        due_s = RETRY_S if self.phase is ShimPhase.MISSING else LOOK_AGAIN_S
        if self.phase is ShimPhase.BUILDING or now_s - self.looked_at < due_s:
            return []
        self.looked_at = now_s
        self.phase = ShimPhase.BUILDING if self.shim is None else ShimPhase.READY
        return [EnsureShim(search_path)]

    def is_ready(self, shim: Shim) -> list[Action]:
        """Take note of a shim that can be used."""
        self.is_overdue = False
        news = self.shim != shim
        self.phase, self.shim, self.failure = ShimPhase.READY, shim, None
        return [Log("shim.ready", {"key": shim.key})] if news else []

    def has_failed(self, reason: str) -> list[Action]:
        """Take note that there is none; one that was ready before stays in use."""
        self.is_overdue = False
        self.failure = reason
        self.phase = ShimPhase.MISSING if self.shim is None else ShimPhase.READY
        return [Log("shim.missing", {"reason": reason})]

    def note(self) -> str | None:
        """Return the line that tells people once that builds have no gates."""
        if self.phase is not ShimPhase.MISSING or self.told:
            return None
        self.told = True
        return f"builds run without gates: {self.failure}"
