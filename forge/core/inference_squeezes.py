"""Squeezes for the history: when a server lacked memory, how much, and who built at the time."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from forge.core import messages
from forge.core.actions import Action
from forge.core.inference_actions import RecordSqueeze, TellSqueezes
from forge.core.inference_server import Server, ServerState
from forge.core.moment import Moment

if TYPE_CHECKING:
    from forge.core.state import State

MAX_TOLD = 500
MAX_BUILDS = 50
"""Builds of one squeeze beyond that are not named."""


@dataclass(slots=True)
class Squeeze:
    """One squeeze that goes on. `builds` are the projects by the ids of builds that ran."""

    began_at: float
    began_s: float
    model: str | None
    most_missing_bytes: int = 0
    lowest_share: float = 1.0
    builds: dict[str, str | None] = field(default_factory=dict)


class Squeezes:
    """Squeezes under way, by the server's name. They are written at their begin and at their end.

    So one that a daemon does not see the end of is known too.
    """

    def __init__(self, state: "State") -> None:
        self._state = state
        self._open: dict[str, Squeeze] = {}

    def follow(self, server: Server, now: Moment) -> list[Action]:
        """Take a server's look in."""
        is_squeezed = server.state is ServerState.SQUEEZED
        one = self._open.get(server.name)
        if not is_squeezed:
            return [self._close(server, now)] if one else []
        is_new = one is None
        if one is None:
            one = self._open[server.name] = Squeeze(now.wall_s, now.steady_s, server.model_path)
        residency = server.residency
        one.most_missing_bytes = max(one.most_missing_bytes, residency.missing_bytes)
        one.lowest_share = min(one.lowest_share, residency.share)
        for build in self._state.builds.values():
            if build.cargo_pid is not None and len(one.builds) < MAX_BUILDS:
                one.builds[build.id] = build.root
        return [self._record(server, one, None)] if is_new else []

    def tell(self, conn: int, message: messages.Squeezes, now: Moment) -> list[Action]:
        """Tell of squeezes, from the database."""
        return [TellSqueezes(conn, min(max(1, message.limit), MAX_TOLD))]

    def _close(self, server: Server, now: Moment) -> Action:
        one = self._open.pop(server.name)
        return self._record(server, one, max(0.0, round(now.steady_s - one.began_s, 1)))

    def _record(self, server: Server, one: Squeeze, lasted_s: float | None) -> Action:
        record: dict[str, Any] = {
            "began_at": one.began_at,
            "lasted_s": lasted_s,
            "server": server.name,
            "url": server.url,
            "model": one.model,
            "most_missing_bytes": one.most_missing_bytes,
            "lowest_share": round(one.lowest_share, 4),
            "read_back_bytes": server.residency.read_back_bytes,
            "builds": [{"id": name, "root": root} for name, root in one.builds.items()],
        }
        return RecordSqueeze(one.began_at, server.name, record)
