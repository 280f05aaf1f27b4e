"""The one queue: events in, `State.step`, actions out, one at a time and in order.

Everything that touches the state runs on the event loop's thread. Doors that may block run in
worker threads, and what comes of them returns as events through `post_from_thread`.
"""

import asyncio
import time
from collections import deque

from forge.core import actions, events
from forge.core.moment import Moment
from forge.core.state import State
from forge.daemon.perform import Performer

TICK_BUSY_S = 0.25
TICK_IDLE_S = 5.0


def moment() -> Moment:
    """Read both clocks."""
    return Moment(time.monotonic(), time.time())


class Loop:
    """Drives the state. `performer` is given the actions."""

    def __init__(self, state: State, performer: Performer) -> None:
        self._state = state
        self._performer = performer
        self._queue: deque[events.Event] = deque()
        self._draining = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def post(self, event: events.Event) -> None:
        """Take an event in; those that its own actions cause come after it."""
        self._queue.append(event)
        if self._draining:
            return
        self._draining = True
        try:
            while self._queue:
                for action in self._state.step(self._queue.popleft(), moment()):
                    self._perform(action)
        finally:
            self._draining = False
            self._set_timer()

    def post_from_thread(self, event: events.Event) -> None:
        """Take an event in from a worker thread."""
        self._loop.call_soon_threadsafe(self.post, event)

    def stop(self) -> None:
        """Stop ticking."""
        if self._timer:
            self._timer.cancel()

    def _perform(self, action: actions.Action) -> None:
        """Perform one action; one that fails is a bug, and takes no other with it."""
        try:
            self._performer.perform(action)
        except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
            message = f"{type(action).__name__} failed"
            self._loop.call_exception_handler({"message": message, "exception": error})

    def _set_timer(self) -> None:
        every_s = TICK_BUSY_S if self._state.is_busy else TICK_IDLE_S
        now = self._loop.time()
        due_s = self._state.due_s
        if due_s is not None:
            every_s = min(every_s, max(0.001, due_s - now))
        if (
            self._timer
            and not self._timer.cancelled()
            and now < self._timer.when() <= now + every_s
        ):
            return
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(every_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.post(events.Tick())
