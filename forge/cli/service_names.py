"""Names of services on the command line: shells complete those that are declared."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from forge import config, paths
from forge.cli.commands import Call
from forge.errors import ForgeError


class ServiceName(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """The name of a service. Whether it is declared is said by who needs it."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the declared services; none where the configuration cannot be read."""
        call = ctx.find_object(Call)
        try:
            declared = config.load(Path(paths.config_file(call.env))).services if call else {}
        except (ForgeError, OSError):
            return []
        given = ctx.params.get(param.name or "") or ()
        return [
            CompletionItem(name, help=service.title)
            for name, service in declared.items()
            if name.startswith(incomplete) and name not in given
        ]
