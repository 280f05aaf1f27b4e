"""Performs what the core wants done with job tokens, at once and on the loop's thread.

Reading and moving bytes in FIFOs never waits; only the walk through the process table does, and it
runs in a worker thread.
"""

from collections.abc import Callable

from forge.core import actions, events
from forge.core.tokens import Move
from forge.daemon.ports import Ports
from forge.host.token_holders import token_holders


class TokenDoors:
    """The FIFOs, as actions. `post_next` takes what comes of one, from the loop's thread."""

    def __init__(self, ports: Ports, post_next: Callable[[events.Event], None]) -> None:
        self._fifos = ports.jobservers
        self._watches = ports.watches
        self._log = ports.log
        self._post_next = post_next

    def make(self, action: actions.MakeJobserver) -> None:
        """Make the FIFO of a new build."""
        path: str | None = action.path
        try:
            self._fifos.make(action.build, action.path, action.tokens)
        except OSError as error:
            self._failed(action.build, error)
            path = None
        self._post_next(events.JobserverMade(action.build, path))

    def adopt(self, action: actions.AdoptJobserver) -> None:
        """Open the FIFO of a build that runs already."""
        try:
            self._fifos.adopt(action.build, action.path)
        except OSError as error:
            self._failed(action.build, error)

    def remove(self, action: actions.RemoveJobserver) -> None:
        """Close and delete the FIFO of a build."""
        self._fifos.remove(action.build)

    def look(self, action: actions.LookAtTokens) -> None:
        """Count the bytes that nobody has taken."""
        found = {}
        for build in action.builds:
            in_fifo = self._fifos.tokens(build)
            if in_fifo is not None:
                found[build] = in_fifo
        self._post_next(events.TokensSeen(found))

    def move(self, action: actions.MoveTokens) -> None:
        """Put bytes in and take bytes out, as many as there are."""
        self._post_next(events.TokensMoved(tuple(self._moved(one) for one in action.moves)))

    def count_holders(self, action: actions.CountHolders) -> events.Event:
        """Bound what the processes of builds can hold."""
        watched = {build: self._watches.process(key) for build, key in action.cargos.items()}
        cargos = {build: process.pid for build, process in watched.items() if process}
        held = token_holders(cargos.values())
        return events.HoldersCounted(
            {build: held[pid] for build, pid in cargos.items() if pid in held}
        )

    def _moved(self, move: Move) -> Move:
        try:
            if move.count > 0:
                count = self._fifos.give(move.build, move.count)
            else:
                count = -self._fifos.take(move.build, -move.count)
        except OSError as error:
            self._failed(move.build, error)
            count = 0
        return Move(move.build, count, heals=move.heals)

    def _failed(self, build: str, error: OSError) -> None:
        self._log.write("jobserver.failed", {"build": build, "why": str(error)})
