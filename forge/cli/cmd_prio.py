"""`forge prio`: changes the priority of a build that is under way."""

import click

from forge.cli.build_ids import BuildId
from forge.cli.commands import Call, examples, pass_call
from forge.cli.questions import ask
from forge.cli.render import plain
from forge.core.shares import Priority


@click.command(epilog=examples("forge prio b12 interactive", "forge prio 12 batch"))
@click.argument("build", type=BuildId())
@click.argument(
    "priority",
    metavar="{interactive|batch}",
    type=click.Choice([str(priority) for priority in Priority]),
)
@pass_call
def prio(call: Call, build: str, priority: str) -> None:
    """Change the priority of a build.

    What waits of it moves in the line at once, and so do its units. Builds inside it follow. What
    runs is not touched.
    """
    reply = ask(call, {"type": "set_priority", "build": build, "priority": priority})
    click.echo(plain(reply.get("line") or "done"))
