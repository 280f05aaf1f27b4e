"""Room on the RAM disk: what is to be free, and what goes for it.

While builds run, so much is to stay free as they are likely to write, and a reserve. When there is
less, what is least worth its bytes is evicted, one plan at a time. What is pinned or in use stays;
what is in use is known here by builds, and at the door by cargo's own locks and open files.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from forge.core import events, messages
from forge.core.actions import Action, Log, MeasureTargetDir, Send
from forge.core.builds import Build
from forge.core.disk_life import DiskPhase
from forge.core.eviction import Candidate, Choice, Plan, plan_eviction
from forge.core.moment import Moment
from forge.core.replies import error
from forge.core.room_actions import EvictTargetDir, KeepPin
from forge.core.target_dirs import TargetDir
from forge.core.units import MIB, plural, show_bytes
from forge.core.workspace import target_dir_name

if TYPE_CHECKING:
    from forge.core.state import State

RESERVE_SHARE = 0.05
"""What stays free beside what builds are likely to write: nobody can write to a full disk."""

GROWTH_SHARE = 0.15
"""A warm build writes about so much of its target dir anew before old files are replaced."""

COLD_BYTES = 1024 * MIB
COLD_SHARE = 0.2
"""What a first build is taken to write, of which nothing is known; on a small disk, its part."""

USUAL_BYTES_PER_S = 20 * MIB
"""A target dir of unknown cost is taken for one whose build wrote so much a second."""

AGAIN_S = 10.0
"""What could not be evicted is tried again no sooner."""

CLEANED = "somebody asked"
"""Why the target dir goes that a person has named: that one does not come back by itself."""

VERBS = ("evict", "pin", "unpin")


@dataclass(slots=True)
class _Asked:
    """A request under way: what it waits for, and what came of the rest."""

    pending: set[str]
    since_s: float = 0.0
    freed: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)


class Room:
    """Pins, evictions under way, and who waits for them. Invariant: one eviction for each path."""

    def __init__(self, state: "State", pinned: frozenset[str] = frozenset()) -> None:
        self._state = state
        self.pinned = set(pinned)
        self.evicting: dict[str, Choice] = {}
        self._asked: dict[int, _Asked] = {}
        self._refused_s: dict[str, float] = {}

    # What is to be free

    def wanted_bytes(self) -> int:
        """Return how much is to be free: the reserve, and what running builds are to write."""
        usage = self._state.disk.usage
        total_bytes = usage.total_bytes if usage else 0
        cold_bytes = min(COLD_BYTES, int(COLD_SHARE * total_bytes))
        growth = (self._growth_bytes(one, cold_bytes) for one in self._state.builds.values())
        return int(RESERVE_SHARE * total_bytes) + sum(growth)

    def _growth_bytes(self, build: Build, cold_bytes: int) -> int:
        known = self._state.target_dirs.get(build.target_dir or "")
        if known is None:
            return 0  # not on the disk, or not there yet
        if build.is_cold or not known.size_bytes:
            return cold_bytes
        return int(GROWTH_SHARE * known.size_bytes)

    def look(self, now: Moment) -> list[Action]:
        """Evict what is to go, if there is less room than there is to be."""
        usage = self._state.disk.usage
        if usage is None or self._state.disk.phase is not DiskPhase.MOUNTED or self.evicting:
            return []
        missing = self.wanted_bytes() - usage.free_bytes
        if missing <= 0 or not self._state.builds:
            return []
        return self._begin(self.plan(missing, now), now, "room for builds")

    def plan(self, wanted_bytes: int, now: Moment) -> Plan:
        """Plan an eviction over all target dirs that may go."""
        dirs = self._state.target_dirs.values()
        waits = {path for path, at_s in self._refused_s.items() if now.steady_s - at_s < AGAIN_S}
        return plan_eviction(
            [self._candidate(one) for one in dirs if one.path not in waits],
            wanted_bytes,
            now.wall_s,
        )

    def _candidate(self, one: TargetDir) -> Candidate:
        builds = [b.id for b in self._state.builds.values() if b.target_dir == one.path]
        task = self._state.tasks.at(one.path)
        return Candidate(
            path=one.path, size_bytes=one.size_bytes or 0, created_at=one.created_at,
            last_used_at=one.last_used_at, sessions=one.builds,
            rebuild_s=self._rebuild_s(one), has_checkout=one.root is not None,
            is_pinned=one.path in self.pinned, is_saved=self._state.tasks.comes_back(one),
            busy=", ".join(builds) or ("a task" if task else "") or self.evicting_text(one.path),
        )  # fmt: skip

    def evicting_text(self, path: str) -> str:
        """Say that a target dir is on its way out, or nothing."""
        return "being evicted" if path in self.evicting else ""

    def _rebuild_s(self, one: TargetDir) -> float:
        costs = [cost.estimate().run_s for cost in self._state.gates.learned.of(one.root)]
        if costs:
            return sum(costs) / max(1, self._state.settings.cores)
        return (one.size_bytes or 0) / USUAL_BYTES_PER_S

    # Evicting

    def _begin(self, plan: Plan, now: Moment, why: str) -> list[Action]:
        disk = self._state.disk.disk
        assert disk, "only what is on a disk is evicted"
        actions: list[Action] = []
        for choice in plan.choices:
            self.evicting[choice.path] = choice
            fields = {"target_dir": choice.path, "size_bytes": choice.size_bytes,
                      "because": choice.why, "for": why}  # fmt: skip
            actions += [Log("target.evicting", fields), EvictTargetDir(disk, choice.path)]
        return actions

    def evicted(self, event: events.TargetDirEvicted, now: Moment) -> list[Action]:
        """Take note of what is gone, or of who has it."""
        choice = self.evicting.pop(event.path, None)
        if choice is None:
            return []
        told = {"target_dir": event.path, "freed_bytes": event.freed_bytes, "why": choice.why}
        actions: list[Action] = []
        if event.failure:
            self._refused_s[event.path] = now.steady_s
            actions.append(Log("target.kept", {"target_dir": event.path, "why": event.failure}))
        else:
            if choice.why == CLEANED:
                self._state.tasks.cleaned(event.path)
            else:
                self._state.tasks.evicted(event.path)
            self._state.target_index.evicted(event.path)
            actions.append(Log("target.evicted", told))
        actions.append(MeasureTargetDir(event.path))
        for conn, asked in list(self._asked.items()):
            if event.path in asked.pending:
                asked.pending.discard(event.path)
                if event.failure:
                    asked.kept.append({"target_dir": event.path, "why": event.failure})
                else:
                    asked.freed.append(told)
                actions += self._answer(conn, asked)
        return actions

    # Requests

    def request(self, conn: int, message: messages.RoomRequest, now: Moment) -> list[Action]:
        """Take a request in: to evict, to pin or to unpin."""
        if message.verb not in VERBS:
            verb = message.verb[:40]
            return [error(conn, "usage-mistake", f"there is no verb `{verb}` for target dirs")]
        if self._state.disk.disk is None:
            hint = "`forge disk mount`"
            return [error(conn, "disk-unavailable", "the RAM disk is not mounted", hint)]
        path = self._path_of(message.root)
        if message.root is not None and path not in self._state.target_dirs:
            return [error(conn, "target-dir-missing", f"{message.root} has no target dir there",
                          "`forge target list` shows those that there are")]  # fmt: skip
        if message.verb != "evict":
            return self._pin(conn, path, pinned=message.verb == "pin")
        plan = self._plan_asked(message, path, now)
        if message.dry_run or not plan.choices:
            choices = [asdict(one) for one in plan.choices]
            return [Send(conn, {"type": "room", "would": choices, "freed": [], "kept": []})]
        self._asked[conn] = _Asked({one.path for one in plan.choices}, now.steady_s)
        return self._begin(plan, now, "somebody asked")

    def _plan_asked(self, message: messages.RoomRequest, path: str, now: Moment) -> Plan:
        if message.root is None:
            usage = self._state.disk.usage
            free_bytes = usage.free_bytes if usage else 0
            need_bytes = self.wanted_bytes() if message.need_bytes is None else message.need_bytes
            return self.plan(max(0, need_bytes - free_bytes), now)
        one = self._state.target_dirs[path]
        candidate = self._candidate(one)
        if candidate.busy or candidate.is_pinned:
            return Plan((), one.size_bytes or 0)
        return Plan((Choice(path, (), one.size_bytes or 0, CLEANED),), 0)

    def _path_of(self, root: str | None) -> str:
        place = self._state.mount_point()
        return f"{place}/{target_dir_name(root)}" if root and place else ""

    def _pin(self, conn: int, path: str, *, pinned: bool) -> list[Action]:
        (self.pinned.add if pinned else self.pinned.discard)(path)
        size = show_bytes(self._state.target_dirs[path].size_bytes or 0)
        line = f"{path} ({size}) {'stays whatever happens' if pinned else 'may be evicted again'}"
        return [KeepPin(path, pinned), Send(conn, {"type": "ok", "line": line})]

    def _answer(self, conn: int, asked: _Asked) -> list[Action]:
        if asked.pending:
            return []
        del self._asked[conn]
        answer = {"type": "room", "would": [], "freed": asked.freed, "kept": asked.kept}
        return [Send(conn, answer)]

    def say_wait(self, now: Moment) -> list[Action]:
        """Tell those who asked what still goes."""
        return [
            Send(conn, {"type": "wait", "since_s": round(now.steady_s - asked.since_s, 1),
                        "reason": f"{plural(len(asked.pending), 'target dir')} to delete"})
            for conn, asked in self._asked.items()
        ]  # fmt: skip

    def closed(self, conn: int) -> None:
        """Forget a request whose connection has closed; what was begun goes on."""
        self._asked.pop(conn, None)

    def forget_disk(self) -> None:
        """Forget what was on a disk that is gone."""
        self.evicting.clear()
        self._refused_s.clear()
