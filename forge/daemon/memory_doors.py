"""Performs what the core wants written down, or told of the past, in the order in which it asks.

A build of thousands of units is written in tens of milliseconds, and the disk may be slow: that is
done in one worker thread, which alone uses the database once the daemon has begun. So nothing is
told before it is written, and nothing written is overtaken. What a daemon that is killed did not
write yet is lost; a build whose number was not kept tells it again when it is adopted.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from forge.core import actions, disk_actions, room_actions
from forge.core.bloat import HighWater
from forge.core.inference_actions import RecordSqueeze, TellSqueezes
from forge.core.replies import error
from forge.core.target_dirs import TargetDir
from forge.daemon.ports import Ports


class MemoryDoors:
    """The database, as actions."""

    def __init__(self, ports: Ports) -> None:
        self._loop = ports.loop
        self._store = ports.store
        self._memories = ports.memories
        self._send = ports.server.send
        self._thread = ThreadPoolExecutor(1, "memory")

    def record_build(self, action: actions.RecordBuild) -> None:
        """Write down a build that is over."""
        self._do(
            self._memories.record, action.number, action.record, action.details, action.learned
        )

    def record_target_dir(self, action: disk_actions.RecordTargetDir) -> None:
        """Write down what is known of a target dir."""
        self._do(self._store.record, action.target_dir)

    def keep_next_build(self, action: actions.KeepNextBuild) -> None:
        """Write down the number of the next build."""
        self._do(self._store.keep_next_build, action.number)

    def keep_spill(self, action: room_actions.KeepSpill) -> None:
        """Write down that a project is on the SSD."""
        self._do(self._store.keep_spill, action.spill)

    def forget_spill(self, action: room_actions.ForgetSpill) -> None:
        """Write down that a project is not on the SSD any more."""
        self._do(self._store.forget_spill, action.root)

    def keep_pin(self, action: room_actions.KeepPin) -> None:
        """Keep a pin."""
        self._do(lambda: self._store.keep_pin(action.path, pinned=action.pinned))

    def keep_high_water(self, action: actions.KeepHighWater) -> None:
        """Write down the most that a disk ever held."""
        self._do(self._store.keep_high_water, HighWater(action.token, action.high_water_bytes))

    def keep_target_mode(self, action: disk_actions.KeepTargetMode) -> None:
        """Write down the mode of a project."""
        self._do(self._store.keep_target_mode, action.root, action.mode)

    def forget_target_dir(self, path: str) -> None:
        """Forget a target dir that is gone; from any thread."""
        self._do(self._store.forget, path)

    def target_dirs(self) -> dict[str, TargetDir]:
        """Return the target dirs that are known; waits, so never from the loop's thread."""
        return self._thread.submit(self._store.target_dirs).result()

    def tell_history(self, action: actions.TellHistory) -> None:
        """Answer a client with past builds."""
        self._do(self._tell_history, action)

    def tell_build(self, action: actions.TellBuild) -> None:
        """Answer a client with one past build."""
        self._do(self._tell_build, action)

    def forget_past(self, action: actions.ForgetPast) -> None:
        """Forget learned costs and past builds, and tell a client how many."""
        self._do(self._forget_past, action)

    def record_squeeze(self, action: RecordSqueeze) -> None:
        """Write down a squeeze."""
        self._do(self._memories.record_squeeze, action.began_at, action.server, action.record)

    def tell_squeezes(self, action: TellSqueezes) -> None:
        """Answer a client with past squeezes."""
        self._do(self._tell_squeezes, action)

    def close(self) -> None:
        """Write down what is left, and end."""
        self._thread.shutdown(wait=True)

    def _tell_history(self, action: actions.TellHistory) -> None:
        builds = self._memories.builds(action.limit, action.root, failed=action.failed)
        self._answer(action.conn, {"type": "history", "builds": builds})

    def _tell_squeezes(self, action: TellSqueezes) -> None:
        squeezes = self._memories.squeezes(action.limit)
        self._answer(action.conn, {"type": "squeezes", "squeezes": squeezes})

    def _tell_build(self, action: actions.TellBuild) -> None:
        build = self._memories.build(action.number)
        if build is None:
            reason = f"there is nothing known of {action.build}"
            hint = "`forge history` lists builds"
            self._answer(action.conn, error(action.conn, "no-such-build", reason, hint).message)
        else:
            self._answer(action.conn, {"type": "explained", "build": build})

    def _forget_past(self, action: actions.ForgetPast) -> None:
        builds = self._memories.count_builds(action.root) if action.builds else 0
        if not action.dry_run:
            self._memories.forget_learned(action.root)
            if action.builds:
                self._memories.forget_builds(action.root)
        told = {"type": "forgotten", "costs": action.costs, "builds": builds}
        self._answer(action.conn, told)

    def _answer(self, conn: int, message: Any) -> None:
        self._loop.call_soon_threadsafe(self._send, conn, message)

    def _do(self, do: Callable[..., None], *values: object) -> None:
        self._thread.submit(self._do_or_report, do, values)

    def _do_or_report(self, do: Callable[..., None], values: tuple[object, ...]) -> None:
        try:
            do(*values)
        except Exception as bug:  # noqa: BLE001  # what comes after is written all the same
            context = {"message": f"{do.__name__} failed", "exception": bug}
            self._loop.call_soon_threadsafe(self._loop.call_exception_handler, context)
