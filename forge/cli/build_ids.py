"""Ids of builds on the command line: `b12`, or just `12`; shells complete those under way."""

from typing import Any

import click
from click.shell_completion import CompletionItem

from forge.cli.commands import Call
from forge.cli.questions import ask_status
from forge.cli.render import project_of
from forge.core.leases import build_number
from forge.errors import ForgeError


class BuildId(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """The id of a build."""

    name = "build"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id with its `b`."""
        number = build_number(value if value.startswith("b") else f"b{value}")
        if number is None:
            self.fail(f"{value!r} is not a build: write b12 or 12", param, ctx)
        return f"b{number}"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the builds that are under way; none when nobody can be asked."""
        call = ctx.find_object(Call)
        try:
            builds = ask_status(call)["builds"] if call else []
        except ForgeError:
            return []
        given = ctx.params.get(param.name or "") or ()
        return [
            CompletionItem(build["id"], help=f"{project_of(build)} {build.get('verb') or ''}")
            for build in builds
            if build["id"].startswith(incomplete) and build["id"] not in given
        ]
