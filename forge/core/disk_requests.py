"""What people ask of the disk, and who still waits for an answer."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forge.core.actions import Action, Send
from forge.core.disk_life import DiskPhase
from forge.core.messages import DiskRequest
from forge.core.moment import Moment
from forge.core.replies import error
from forge.core.report import disk_report
from forge.core.units import plural, show_mib

if TYPE_CHECKING:
    from forge.core.state import State

VERBS = ("mount", "unmount", "resize", "recreate", "status")


@dataclass(slots=True)
class DiskRequests:
    """Requests that wait for the disk to change. Invariant: none waits while nothing changes."""

    waiting: dict[int, tuple[str, float]] = field(default_factory=dict)
    deferred: dict[int, tuple[DiskRequest, float]] = field(default_factory=dict)
    unsaved: dict[int, str] = field(default_factory=dict)
    """Why what has changed could not be saved before an unmount, for those who asked for it."""

    def take(self, conn: int, request: DiskRequest, state: "State", now: Moment) -> list[Action]:
        """Begin what is asked, or answer at once."""
        disk = state.disk
        if request.verb not in VERBS:
            return [error(conn, "usage-mistake", f"there is no disk verb `{request.verb[:40]}`")]
        if request.verb == "status":
            return [self._reply(conn, state, "")]
        if state.settings.disk is None:
            return [
                error(conn, "disk-unavailable", 'no RAM disk is wanted: disk.kind is "none"',
                         "set disk.kind in forge.toml")
            ]  # fmt: skip
        if disk.phase is DiskPhase.LOOKING:
            self.deferred[conn] = (request, now.steady_s)
            return []
        if disk.is_changing:
            if request.verb == "mount" and disk.phase is DiskPhase.ENSURING:
                self.waiting[conn] = (request.verb, now.steady_s)
                return []
            return [error(conn, "disk-busy", f"the RAM disk is {disk.phase}", "try again")]
        actions = self._begin(conn, request, state, now)
        if disk.is_changing:
            self.waiting[conn] = (request.verb, now.steady_s)
        return actions

    def _begin(self, conn: int, request: DiskRequest, state: "State", now: Moment) -> list[Action]:
        disk, spec = state.disk, state.settings.disk
        assert spec, "checked by the caller"
        if disk.disk is None:
            if request.verb in ("mount", "recreate"):
                return disk.ensure(spec)
            if request.verb == "unmount":
                return [self._reply(conn, state, "the RAM disk is not mounted")]
            return [
                error(conn, "disk-unavailable", "the RAM disk is not mounted", "`forge disk mount`")
            ]
        if request.verb == "mount":
            return [self._reply(conn, state, f"the RAM disk is mounted at {disk.disk.mount_point}")]
        if request.verb == "resize":
            size_mib = request.size_mib or spec.size_mib
            if size_mib < 1:
                return [error(conn, "resize-refused", f"{size_mib} MiB is not a size")]
            return disk.resize(size_mib)
        users = state.leases.on_disk()
        if users and not request.force:
            names = ", ".join(
                f"{b.id} (`cargo {b.args.verb}` in {b.root or b.cwd})" for b in users[:5]
            )
            more = f" and {len(users) - 5} more" if len(users) > 5 else ""
            return [
                error(
                    conn,
                    "disk-busy",
                    f"the RAM disk is used by {plural(len(users), 'build')}: {names}{more}",
                    "wait for them, or `--force`, which breaks them",
                )
            ]
        saving = state.snapshot_requests.before_unmount(conn, request, now)
        if saving is not None:
            return saving
        return disk.unmount(force=request.force, remount=request.verb == "recreate")

    def resume(self, state: "State", now: Moment) -> list[Action]:
        """Take the requests that came while the disk was looked for."""
        deferred, self.deferred = self.deferred, {}
        return [
            action
            for conn, (request, _) in deferred.items()
            for action in self.take(conn, request, state, now)
        ]

    def answer(self, state: "State") -> list[Action]:
        """Tell all who wait that it is done."""
        done, self.waiting = self.waiting, {}
        disk = state.disk.disk
        lines = {
            "unmount": "the RAM disk is unmounted",
            "resize": f"the RAM disk has {show_mib(disk.size_mib) if disk else 'no size'}",
        }
        mounted = (
            f"the RAM disk is mounted at {disk.mount_point}"
            if disk
            else "the RAM disk is not mounted"
        )
        return [
            self._reply(conn, state, lines.get(verb, mounted) + self._loss(conn))
            for conn, (verb, _) in done.items()
        ]

    def _loss(self, conn: int) -> str:
        why = self.unsaved.pop(conn, "")
        return f"; what has changed could not be saved: {why}" if why else ""

    def refuse(self, slug: str, reason: str, hint: str | None) -> list[Action]:
        """Tell all who wait that it failed."""
        done, self.waiting = self.waiting, {}
        self.unsaved.clear()
        return [error(conn, slug, reason, hint) for conn in done]

    def say_wait(self, state: "State", now: Moment) -> list[Action]:
        """Tell all who wait what for."""
        return [
            Send(conn, {"type": "wait", "reason": f"the RAM disk is {state.disk.phase}",
                        "since_s": round(now.steady_s - since_s, 1)})
            for conn, (_, since_s) in [*self.waiting.items(), *self.deferred.items()]
        ]  # fmt: skip

    def drop(self, conn: int) -> None:
        """Forget a client that went away."""
        self.waiting.pop(conn, None)
        self.deferred.pop(conn, None)
        self.unsaved.pop(conn, None)

    def _reply(self, conn: int, state: "State", line: str) -> Send:
        return Send(conn, {"type": "disk", "disk": disk_report(state), "line": line})
