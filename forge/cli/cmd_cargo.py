"""`forge cargo`: help for it. `forge.cli.main` runs it, before anything here is loaded."""

import click

from forge.cli.commands import examples


@click.command(
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
    epilog=examples("forge cargo config get", "forge cargo help build"),
)
@click.argument("words", metavar="VERB [ARGS]...", nargs=-1, type=click.Path())
def cargo(words: tuple[str, ...]) -> None:  # noqa: ARG001  # named for the help
    """Run a verb of cargo's, also one whose name Forge has too.

    `forge cargo build` and `forge build` are the same.
    """
    raise AssertionError("forge.cli.main runs cargo itself")
