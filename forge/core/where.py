"""Where would a project be built? The question of `forge target path` and the like."""

from typing import TYPE_CHECKING

from forge.core import cargo_args, events, messages
from forge.core.actions import Action, Resolve, Send
from forge.core.moment import Moment
from forge.core.redirect import decide
from forge.core.workspace import target_dir_name

if TYPE_CHECKING:
    from forge.core.state import State


class Where:
    """Questions under way, by connection."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self._questions: dict[int, messages.Resolve] = {}

    def closed(self, conn: int) -> None:
        """Forget a question whose connection has closed."""
        self._questions.pop(conn, None)

    def ask(self, conn: int, message: messages.Resolve, now: Moment) -> list[Action]:
        """Find out first which workspace is meant."""
        args = cargo_args.parse(message.argv)
        self._questions[conn] = message
        return [Resolve(conn, message.cwd, args.argv, message.env)]

    def _answer(self, event: events.Resolved, question: messages.Resolve) -> Action:
        args = cargo_args.parse(event.workspace.argv or question.argv)
        mode = self._state.target_modes.of(event.workspace.root)
        redirect = decide(args, question.env, event.workspace, self._state.settings, mode)
        mount_point = self._state.mount_point()
        root = event.workspace.root
        wanted = redirect.wanted and root is not None and mount_point is not None
        return Send(
            event.conn,
            {
                "type": "resolved",
                "root": root,
                "target_dir": f"{mount_point}/{target_dir_name(root)}" if wanted and root else None,
                "redirected": wanted,
                "why": redirect.why,
                "mode": mode,
            },
        )

    def resolved(self, event: events.Resolved, now: Moment) -> list[Action]:
        """Answer the question, or take the build further that was resolved."""
        question = self._questions.pop(event.conn, None)
        if question:
            return [self._answer(event, question)]
        return self._state.launches.resolved(event, now)
