"""Units and links that run now, each for as long as its gate's connection lasts."""

from dataclasses import dataclass, field

from forge.core import messages
from forge.core.actions import Action, Send
from forge.core.moment import Moment
from forge.core.replies import error


@dataclass(frozen=True, slots=True)
class Running:
    """A unit or a link that was let through its gate."""

    build: str
    what: str
    is_link: bool
    since_s: float


@dataclass(slots=True)
class Tally:
    """What the gates have seen of one build so far. Seconds are sums over its units."""

    units: int = 0
    links: int = 0
    lost: int = 0
    cpu_s: float = 0.0
    unit_peak_kib: int = 0
    link_peak_kib: int = 0


@dataclass(slots=True)
class Gates:
    """All that runs behind gates, by connection; tallies by build, for builds that are known."""

    running: dict[int, Running] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def unit(self, conn: int, message: messages.Unit, now: Moment) -> list[Action]:
        """Let a rustc start."""
        return self._start(conn, Running(message.build, message.crate, False, now.steady_s))

    def link(self, conn: int, message: messages.Link, now: Moment) -> list[Action]:
        """Let a linker start."""
        what = message.output or message.crate or "?"
        return self._start(conn, Running(message.build, what, True, now.steady_s))

    def ended(self, conn: int, message: messages.UnitEnded, now: Moment) -> list[Action]:
        """Take note of what a unit or a link has cost."""
        running = self.running.pop(conn, None)
        if running is None:
            return [error(conn, "protocol-mismatch", f"`{message.type_name}` without a start")]
        tally = self.tallies.get(running.build)
        if tally is None:
            return []
        tally.cpu_s += message.user_s + message.system_s
        if running.is_link:
            tally.links += 1
            tally.link_peak_kib = max(tally.link_peak_kib, message.peak_kib)
        else:
            tally.units += 1
            tally.unit_peak_kib = max(tally.unit_peak_kib, message.peak_kib)
        return []

    def closed(self, conn: int) -> None:
        """Take back what a gate held that is gone without a word."""
        running = self.running.pop(conn, None)
        if running and running.build in self.tallies:
            self.tallies[running.build].lost += 1

    def running_of(self, build_id: str) -> list[Running]:
        """Return what of one build is behind its gates now."""
        return [one for one in self.running.values() if one.build == build_id]

    def _start(self, conn: int, running: Running) -> list[Action]:
        if conn in self.running:
            return [error(conn, "protocol-mismatch", "this connection already carries a unit")]
        self.running[conn] = running
        return [Send(conn, {"type": "go"})]
