"""What follows when the disk comes, goes, fails or is asked for: for builds and for requests."""

from typing import TYPE_CHECKING

from forge.core import disk_events, messages
from forge.core.actions import Action, Log
from forge.core.builds import BuildPhase
from forge.core.disk_actions import FindTargetDirs
from forge.core.disk_life import DiskPhase
from forge.core.disk_loss import DiskLoss
from forge.core.disk_requests import DiskRequests
from forge.core.moment import Moment

if TYPE_CHECKING:
    from forge.core.state import State


class DiskWatch:
    """What the disk's events lead to. The disk itself is `State.disk`."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self._waiting_requests = DiskRequests()
        self.loss = DiskLoss(state)

    def say_wait(self, now: Moment) -> list[Action]:
        """Tell those who wait for the disk what it is at."""
        return self._waiting_requests.say_wait(self._state, now)

    def closed(self, conn: int) -> None:
        """Forget a request whose connection has closed."""
        self._waiting_requests.drop(conn)

    def check(self) -> None:
        """Assert the invariants."""
        builds = self._state.builds.values()
        waiting = any(build.phase is BuildPhase.WAITING_FOR_DISK for build in builds)
        asked = self._waiting_requests.waiting
        assert self._state.disk.is_changing or not (waiting or asked), "somebody waits for nothing"

    def request(self, conn: int, message: messages.DiskRequest, now: Moment) -> list[Action]:
        """Take a request of `forge disk` in."""
        if message.verb in ("unmount", "recreate"):
            self._state.tasks.try_again()
        return self._waiting_requests.take(conn, message, self._state, now)

    def unmount_saved(
        self, conn: int, message: messages.DiskRequest, failure: str, now: Moment
    ) -> list[Action]:
        """Go on with a request that waited for saves, of which the last is done or has failed."""
        actions = self._waiting_requests.take(conn, message, self._state, now)
        if failure and conn in self._waiting_requests.waiting:
            self._waiting_requests.unsaved[conn] = failure
        return actions

    def ready(self, event: disk_events.DiskReady, now: Moment) -> list[Action]:
        """Go on with what waited for the disk."""
        resized = self._state.disk.phase is DiskPhase.RESIZING
        actions = self._state.disk.is_ready(event.disk, event.usage, now.steady_s)
        actions += self._state.bloat.look(event.disk, event.usage)
        actions += self._waiting_requests.answer(self._state)
        if not resized:
            actions.append(FindTargetDirs(event.disk))
        return (
            actions
            + self._state.launches.wake(now)
            + self._waiting_requests.resume(self._state, now)
            + self._state.disk.go_on()
        )

    def absent(self, event: disk_events.DiskAbsent, now: Moment) -> list[Action]:
        """Take note that no earlier daemon has left a disk."""
        self._state.disk.is_absent()
        if self._state.settings.mount_at_start:
            return self._state.launches.ensure_disk() + self._waiting_requests.resume(
                self._state, now
            )
        return self._waiting_requests.resume(self._state, now) + self._state.launches.wake(now)

    def failed(self, event: disk_events.DiskFailed, now: Moment) -> list[Action]:
        """Tell those who waited, and build without."""
        if event.lost:
            actions = self.lose(event.reason, now)
        else:
            actions = self._state.disk.has_failed(
                event.reason, event.hint, lost=False, now_s=now.steady_s
            )
        actions += self._waiting_requests.refuse(event.slug, event.reason, event.hint)
        return actions + self._state.launches.wake(now) + self._state.disk.go_on()

    def lose(self, reason: str, now: Moment) -> list[Action]:
        """Take note that the disk is gone unasked, and end the builds that were on it."""
        line = f"the RAM disk is gone ({reason}); what was built on it is lost"
        self._state.target_dirs.clear()
        self._state.tasks.forget_disk()
        let_go = self._forget_room(now)
        return [
            *let_go,
            *self._state.disk.has_failed(reason, None, lost=True, now_s=now.steady_s),
            *self.loss.end_builds(line),
        ]

    def unmounted(self, event: disk_events.DiskUnmounted, now: Moment) -> list[Action]:
        """Take note that the disk is gone as asked, and make the new one if that is wanted."""
        remount = self._state.disk.remount
        actions = self._state.disk.is_unmounted()
        self._state.target_dirs.clear()
        self._state.tasks.forget_disk()
        actions += self._forget_room(now)
        if remount and self._state.settings.disk:
            self._state.disk.remount = False
            return actions + self._state.disk.ensure(self._state.settings.disk)
        actions += self._waiting_requests.answer(self._state)
        return actions + self._state.launches.wake(now)

    def _forget_room(self, now: Moment) -> list[Action]:
        """Forget what was known of the room on a disk that is gone."""
        self._state.room.forget_disk()
        self._state.growth.forget_disk()
        return self._state.full_disk.forget_disk(now)

    def measured(self, event: disk_events.DiskMeasured, now: Moment) -> list[Action]:
        """Take its use in."""
        self._state.disk.is_measuring = False
        if self._state.disk.disk is None:
            return []
        self._state.disk.usage = event.usage
        self._state.growth.look(event.usage, now.steady_s)
        self._state.full_disk.note(event.usage.free_bytes, now)
        return [
            *self._state.bloat.look(self._state.disk.disk, event.usage),
            *self._state.room.look(now),
            *self._state.killed.disk_measured(now),
        ]

    def lost(self, event: disk_events.DiskLost, now: Moment) -> list[Action]:
        """Take note that a look at the disk did not find it."""
        self._state.disk.is_measuring = False
        disk = self._state.disk.disk
        if disk is None or disk.token != event.token:
            return []  # we know by now, and have perhaps another one
        actions = self.lose(event.reason, now)
        actions += self._waiting_requests.refuse("disk-unavailable", event.reason, None)
        return actions + self._state.killed.disk_seen(now) + self._state.launches.wake(now)

    def sighted(self, event: disk_events.DiskSighted, now: Moment) -> list[Action]:
        """Take note of whether the disk can be written to; it is there."""
        disk = self._state.disk
        if disk.disk is None or disk.disk.token != event.token:
            return self._state.killed.disk_seen(now)
        actions: list[Action] = []
        if disk.is_read_only is event.writable:
            disk.is_read_only = not event.writable
            decision = "disk.writable" if event.writable else "disk.read_only"
            actions.append(Log(decision, {"mount_point": disk.disk.mount_point}))
            if disk.is_read_only:
                actions += self.loss.end_builds("the RAM disk has become read-only")
        if event.changed:
            actions.append(FindTargetDirs(disk.disk))
        return actions + self._state.killed.disk_seen(now)

    def unmeasured(self, event: disk_events.DiskUnmeasured, now: Moment) -> list[Action]:
        """Go on: it is there, and nobody can say how full."""
        self._state.disk.is_measuring = False
        if self._state.disk.usage:
            self._state.full_disk.note(self._state.disk.usage.free_bytes, now)
        log = Log("disk.unmeasured", {"reason": event.reason})
        return [log, *self._state.killed.disk_measured(now)]
