"""`forge help`: the overview, or the help of one command."""

import click

from forge.cli.commands import examples
from forge.errors import UsageMistake


@click.command("help", epilog=examples("forge help", "forge help disk resize", "forge help build"))
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help_(context: click.Context, words: tuple[str, ...]) -> None:
    """Show this overview, or the help of a command.

    For a verb of cargo's it is cargo's help.
    """
    at = context.parent
    assert at, "help is a command of the top group"
    for word in words:
        command = at.command.get_command(at, word) if isinstance(at.command, click.Group) else None
        if command is None:
            raise UsageMistake(
                f"there is no command `{at.command_path} {word}`",
                hint=f"`{at.command_path} --help` shows what there is",
            )
        at = click.Context(command, info_name=word, parent=at)
    click.echo(at.get_help())
