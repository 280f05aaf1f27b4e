"""`forge hold` and `forge resume`: let nothing more start on this machine, and let it go on."""

import click

from forge.cli.commands import Call, examples, pass_call
from forge.cli.questions import ask
from forge.cli.render import plain


@click.command(epilog=examples("forge hold", "forge queue", "forge resume"))
@pass_call
def hold(call: Call) -> None:
    """Start no further build, unit or test on this machine.

    What runs goes on to its end; what comes waits, and says so, until `forge resume`. A daemon that
    is started anew holds nothing.
    """
    _ask(call, on=True)


@click.command(epilog=examples("forge resume"))
@pass_call
def resume(call: Call) -> None:
    """Let builds go on after `forge hold`."""
    _ask(call, on=False)


def _ask(call: Call, *, on: bool) -> None:
    click.echo(plain(ask(call, {"type": "hold", "on": on}).get("line") or "done"))
