"""`forge reserve`: memory and cores for any other heavy command, for as long as it runs."""

from collections.abc import Callable

import click

from forge.cli.commands import SETTINGS_OF_CLICK, Call, examples, pass_call
from forge.client.reserve import Wish, run
from forge.core.own_options import PRIORITIES
from forge.core.units import parse_duration_s, parse_size_mib


class _Read(click.ParamType[float]):
    """A value as people write it."""

    def __init__(self, name: str, read: Callable[[str], float]) -> None:
        self.name = name
        self._read = read

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not isinstance(value, str):
            return float(str(value))
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    context_settings={**SETTINGS_OF_CLICK, "allow_interspersed_args": False},
    epilog=examples(
        "forge reserve --memory 6GiB --cores 4 -- docker build .",
        "forge reserve --memory 40GiB --cores 0 --name import -- ./import.sh",
        "forge reserve --memory 2GiB --wait-timeout 10m --strict -- make -j2",
    ),
)
@click.option(
    "--memory",
    "memory_mib",
    metavar="SIZE",
    type=_Read("size", parse_size_mib),
    default="0MiB",
    help="Memory to hold, as in 512MiB or 6GiB.",
)
@click.option(
    "--cores",
    metavar="N",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Cores to hold; more than there are means all.",
)
@click.option(
    "--priority", type=click.Choice(PRIORITIES), help="Default: by how it is started, as a build's."
)
@click.option("--name", metavar="TEXT", help="What others are shown. Default: the command's name.")
@click.option(
    "--wait-timeout",
    "wait_timeout_s",
    metavar="DURATION",
    type=_Read("duration", parse_duration_s),
    help="How long to wait before giving up with exit code 75, as in 90s, 5m or 1h; 0: not at all.",
)
@click.option("--strict", is_flag=True, help="Do not run it when nothing can be reserved: exit 69.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_call
def reserve(
    call: Call,
    memory_mib: float,
    cores: int,
    priority: str | None,
    name: str | None,
    wait_timeout_s: float | None,
    strict: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND with memory and cores held for it.

    It waits until they are there, and they are given back when it ends. Exit code, signals, stdin
    and output are the command's own. When no daemon can be had it runs all the same, and a line
    says so. Builds that it starts live on what it holds.
    """
    wish = Wish(int(memory_mib), cores, priority, name, wait_timeout_s)
    return run(wish, command, call.env, is_strict=strict)
