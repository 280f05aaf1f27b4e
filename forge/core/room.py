"""Room on the RAM disk: what is to be free, and what goes for it.

While builds run, so much is to stay free as they are likely to write, and a reserve. When there is
less, what is least worth its bytes is evicted, one plan at a time. What is pinned or in use stays;
what is in use is known here by builds, and at the door by cargo's own locks and open files.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from forge.core import events, messages, room_events
from forge.core.actions import Action, Log, Send
from forge.core.disk import Disk
from forge.core.disk_actions import MeasureTargetDir
from forge.core.disk_life import DiskPhase
from forge.core.eviction import Candidate, Choice, Plan, merged, plan_eviction
from forge.core.moment import Moment
from forge.core.replies import error
from forge.core.room_actions import EvictTargetDir, FindStale, KeepPin, LookAtCheckouts
from forge.core.spill import Spill
from forge.core.target_dirs import TargetDir
from forge.core.units import MIB, plural, show_bytes
from forge.core.workspace import target_dir_name

if TYPE_CHECKING:
    from forge.core.state import State

RESERVE_SHARE = 0.05
"""What stays free beside what builds are likely to write: nobody can write to a full disk."""

USUAL_BYTES_PER_S = 20 * MIB
"""A target dir of unknown cost is taken for one whose build wrote so much a second."""

AGAIN_S = 10.0
"""What could not be evicted is tried again no sooner."""

LOOK_AT_CHECKOUTS_S = 600.0
"""So often it is seen whether the checkouts of target dirs are still there."""

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
        self._stale_asked: dict[int, tuple[str, bool, float]] = {}
        self._gone: frozenset[str] = frozenset()
        self._looked_s = float("-inf")

    # What is to be free

    def wanted_bytes(self) -> int:
        """Return how much is to be free: the reserve, and what running builds are to write."""
        usage = self._state.disk.usage
        total_bytes = usage.total_bytes if usage else 0
        growth = (self._state.growth.left_bytes(one) for one in self._state.builds.values())
        return int(RESERVE_SHARE * total_bytes) + sum(growth)

    def look(self, now: Moment) -> list[Action]:
        """Evict what is to go, if there is less room than there is to be; then do what is left."""
        usage = self._state.disk.usage
        if usage is None or self._state.disk.phase is not DiskPhase.MOUNTED:
            return []
        wanted_bytes = max(self.wanted_bytes(), self._state.full_disk.urgent_bytes)
        missing_bytes = wanted_bytes - usage.free_bytes
        if missing_bytes <= 0 or not self._state.builds:
            return self._state.full_disk.calm(now)
        actions: list[Action] = []
        if not self.evicting:
            actions = self._begin(self.plan(missing_bytes, now), now, "room for builds")
        short_bytes = missing_bytes - sum(one.size_bytes for one in self.evicting.values())
        if short_bytes <= 0 and not self._state.full_disk.is_urgent():
            return actions
        return actions + self._state.full_disk.press(short_bytes, now)

    def plan(self, wanted_bytes: int, now: Moment) -> Plan:
        """Plan an eviction over all target dirs that may go."""
        dirs = self._state.target_dirs.values()
        waits = {path for path, at_s in self._refused_s.items() if now.steady_s - at_s < AGAIN_S}
        users, saved = self._users(), self._state.tasks.coming_back()
        candidates = [self._candidate(one, users, saved) for one in dirs if one.path not in waits]
        return plan_eviction(candidates, wanted_bytes, now.wall_s)

    def _users(self) -> dict[str, str]:
        """Return which builds use a target dir, or are about to, by its path."""
        users: dict[str, str] = {}
        for build in self._state.builds.values():
            for path in {build.target_dir, self._state.launches.path_of(build)}:
                if path:
                    users[path] = f"{users[path]}, {build.id}" if path in users else build.id
        return users

    def _candidate(self, one: TargetDir, users: Mapping[str, str], saved: set[str]) -> Candidate:
        task, rebuild_s = self._state.tasks.at(one.path), self._rebuild_s(one)
        is_moving = one.root in self._state.spills.by_root
        return Candidate(
            path=one.path, size_bytes=one.size_bytes or 0, created_at=one.created_at,
            last_used_at=one.last_used_at, sessions=one.builds,
            rebuild_s=rebuild_s, pieces=self._state.stale.pieces(one, rebuild_s),
            has_checkout=one.root is not None and one.root not in self._gone,
            is_pinned=one.path in self.pinned, is_saved=one.path in saved,
            busy=users.get(one.path) or ("a task" if task or is_moving else "")
            or self.evicting_text(one.path),
        )  # fmt: skip

    def evicting_text(self, path: str) -> str:
        """Say that a target dir is on its way out, or nothing."""
        return "being evicted" if path in self.evicting else ""

    def _rebuild_s(self, one: TargetDir) -> float:
        work_s = self._state.gates.learned.work_s(one.root) if one.root else 0.0
        if work_s:
            return work_s / max(1, self._state.settings.cores)
        return (one.size_bytes or 0) / USUAL_BYTES_PER_S

    def tick(self, now: Moment) -> list[Action]:
        """See now and then whether checkouts are still there."""
        if now.steady_s - self._looked_s < LOOK_AT_CHECKOUTS_S:
            return []
        self._looked_s = now.steady_s
        roots = {one.root for one in self._state.target_dirs.values() if one.root}
        roots |= self._state.spills.by_root.keys()
        return [LookAtCheckouts(tuple(sorted(roots)))] if roots else []

    def checkouts_seen(self, event: room_events.CheckoutsSeen, now: Moment) -> list[Action]:
        """Take in which checkouts are gone; what was on the SSD for them goes at once."""
        self._gone = event.gone
        spills = self._state.spills.by_root
        gone = [spills[root] for root in sorted(event.gone & spills.keys())]
        busy = {one.target_dir for one in self._state.builds.values()}
        paths = [one.path for one in gone if one.path not in busy]
        choices = [Choice(path, (), 0, "its checkout does not exist any more") for path in paths]
        why = "its project is gone"
        return [action for one in choices for action in self._begin_one(None, one, why)]

    # Evicting

    def _begin(self, plan: Plan, now: Moment, why: str) -> list[Action]:
        disk = self._state.disk.disk
        assert disk, "only what is on a disk is evicted"
        choices = merged(plan.choices)
        return [action for one in choices for action in self._begin_one(disk, one, why)]

    def _begin_one(self, disk: Disk | None, choice: Choice, why: str) -> list[Action]:
        self.evicting[choice.path] = choice
        fields = {"target_dir": choice.path, "size_bytes": choice.size_bytes,
                  "because": choice.why, "for": why}  # fmt: skip
        return [Log("target.evicting", fields), EvictTargetDir(disk, choice.path, choice.parts)]

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
            self._state.stale.gone(event.path)
            if not choice.parts:
                self._has_gone(event.path, choice)
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
        if not self.evicting:
            actions += self._state.disk.measure() + self._state.launches.room_made(now)
        return actions

    def _has_gone(self, path: str, choice: Choice) -> None:
        """Forget a whole target dir; one that a person has named does not come back by itself."""
        if choice.why == CLEANED:
            self._state.tasks.cleaned(path)
        else:
            self._state.tasks.evicted(path)
        self._state.target_index.evicted(path)

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
        spill = self._state.spills.by_root.get(message.root or "")
        if spill and message.verb == "evict":
            return self._evict_spilled(conn, spill, message, now)
        if message.root is not None and path not in self._state.target_dirs:
            return [error(conn, "target-dir-missing", f"{message.root} has no target dir there",
                          "`forge target list` shows those that there are")]  # fmt: skip
        if message.stale and message.root is not None and not message.verb.endswith("pin"):
            self._stale_asked[conn] = (path, message.dry_run, now.steady_s)
            return [FindStale(path)]
        if message.verb != "evict":
            return self._pin(conn, path, pinned=message.verb == "pin")
        plan = self._plan_asked(message, path, now)
        if message.dry_run or not plan.choices:
            choices = [asdict(one) for one in plan.choices]
            return [Send(conn, {"type": "room", "would": choices, "freed": [], "kept": []})]
        self._asked[conn] = _Asked({one.path for one in plan.choices}, now.steady_s)
        return self._begin(plan, now, "somebody asked")

    def stale_found(self, path: str, now: Moment) -> list[Action]:
        """Go on with who asked for a target dir's stale parts."""
        asked = {conn: one for conn, one in self._stale_asked.items() if one[0] == path}
        actions: list[Action] = []
        for conn, (_, is_dry, since_s) in asked.items():
            del self._stale_asked[conn]
            one = self._state.target_dirs.get(path)
            candidate = self._candidate(one, self._users(), set()) if one else None
            stays = candidate is None or candidate.busy or candidate.is_pinned
            choices = () if stays else self._state.stale.choices(path)
            if is_dry or not choices:
                would = [asdict(choice) for choice in choices]
                actions.append(
                    Send(conn, {"type": "room", "would": would, "freed": [], "kept": []})
                )
                continue
            self._asked[conn] = _Asked({path}, since_s)
            actions += self._begin(Plan(choices, 0), now, "somebody asked")
        return actions

    def _plan_asked(self, message: messages.RoomRequest, path: str, now: Moment) -> Plan:
        if message.root is None:
            usage = self._state.disk.usage
            free_bytes = usage.free_bytes if usage else 0
            need_bytes = self.wanted_bytes() if message.need_bytes is None else message.need_bytes
            return self.plan(max(0, need_bytes - free_bytes), now)
        one = self._state.target_dirs[path]
        candidate = self._candidate(one, self._users(), set())
        if candidate.busy or candidate.is_pinned:
            return Plan((), one.size_bytes or 0)
        return Plan((Choice(path, (), one.size_bytes or 0, CLEANED),), 0)

    def _evict_spilled(
        self, conn: int, spill: Spill, message: messages.RoomRequest, now: Moment
    ) -> list[Action]:
        """Delete the target dir of a project that is on the SSD."""
        is_busy = any(one.root == spill.root for one in self._state.builds.values())
        choice = Choice(spill.path, (), spill.needs_bytes, CLEANED)
        if message.dry_run or is_busy or spill.path in self.evicting:
            would = [] if is_busy else [asdict(choice)]
            return [Send(conn, {"type": "room", "would": would, "freed": [], "kept": []})]
        self._asked[conn] = _Asked({spill.path}, now.steady_s)
        return self._begin_one(None, choice, "somebody asked")

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
        waits = [
            (conn, asked.since_s, f"{plural(len(asked.pending), 'target dir')} to delete")
            for conn, asked in self._asked.items()
        ]
        for conn, (_, _, since_s) in self._stale_asked.items():
            waits.append((conn, since_s, "the target dir is looked through"))
        return [
            Send(conn, {"type": "wait", "since_s": round(now.steady_s - s, 1), "reason": reason})
            for conn, s, reason in waits
        ]

    def closed(self, conn: int) -> None:
        """Forget a request whose connection has closed; what was begun goes on."""
        self._asked.pop(conn, None)
        self._stale_asked.pop(conn, None)

    def forget_disk(self) -> None:
        """Forget what was on a disk that is gone."""
        self.evicting.clear()
        self._refused_s.clear()
