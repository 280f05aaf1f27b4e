"""`forge disk`: mount, unmount, resize and look at the RAM disk. The daemon does it."""

from typing import Any

import click

from forge.cli.commands import Call, Group, examples, json_option, pass_call
from forge.cli.questions import WaitLine, ask, ask_status
from forge.cli.render import disk_view, plain, print_json, print_lines
from forge.core.units import parse_size_mib
from forge.errors import UsageMistake

FORCE_HELP = "Even while builds use it. Those builds break."


@click.group(
    cls=Group,
    epilog=examples("forge disk mount", "forge disk resize 96GiB", "forge disk unmount"),
)
def disk() -> None:
    """Mount, unmount, resize or show the RAM disk.

    Builds mount it by themselves; these commands are for the rest.
    """


@disk.command(epilog=examples("forge disk mount"))
@json_option
@pass_call
def mount(call: Call) -> None:
    """Mount the RAM disk, or adopt the one that is there."""
    _change(call, {"verb": "mount"})


@disk.command(epilog=examples("forge disk unmount", "forge disk unmount --force"))
@click.option("--force", is_flag=True, help=FORCE_HELP)
@json_option
@pass_call
def unmount(call: Call, force: bool) -> None:
    """Unmount the RAM disk. What was not saved on it is lost.

    Target dirs that changed are saved first, where snapshots are made by themselves, but not with
    --force. While builds use it, it is refused, and the builds are named.
    """
    _change(call, {"verb": "unmount", "force": force})


@disk.command(epilog=examples("forge disk resize 96GiB", "forge disk resize 512MiB"))
@click.argument("size")
@json_option
@pass_call
def resize(call: Call, size: str) -> None:
    """Give the RAM disk another SIZE until it is unmounted.

    SIZE is a number and MiB, GiB or TiB. disk.size in forge.toml changes it for good. What is in
    use is kept: a size below it is refused. On macOS a RAM disk cannot change its size; `forge disk
    recreate` takes the size of forge.toml.
    """
    try:
        size_mib = parse_size_mib(size)
    except ValueError as error:
        raise UsageMistake(str(error)) from None
    if size_mib < 1:
        raise UsageMistake(f"{size!r} is less than 1 MiB", hint="write a size such as 64GiB")
    _change(call, {"verb": "resize", "size_mib": size_mib})


@disk.command(epilog=examples("forge disk recreate"))
@click.option("--force", is_flag=True, help=FORCE_HELP)
@json_option
@pass_call
def recreate(call: Call, force: bool) -> None:
    """Unmount the RAM disk and mount a new, empty one."""
    _change(call, {"verb": "recreate", "force": force})


@disk.command(epilog=examples("forge disk status", "forge disk status --json | jq -r .kind"))
@json_option
@pass_call
def status(call: Call) -> None:
    """Show the RAM disk.

    Its kind, where it is, how full it is, and what that kind does not guarantee. Never starts a
    daemon.
    """
    report = ask_status(call)["disk"]
    if call.as_json:
        print_json(report)
    else:
        print_lines(disk_view(report))


def _change(call: Call, request: dict[str, Any]) -> None:
    line = WaitLine()
    try:
        reply = ask(call, {"type": "disk", **request}, start=True, on_wait=line.show)
    finally:
        line.erase()
    if call.as_json:
        print_json(reply["disk"])
    else:
        click.echo(plain(reply.get("line") or "done"))
