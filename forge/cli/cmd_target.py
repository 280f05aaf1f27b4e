"""`forge target`: where a project is built, and which target dirs there are."""

import os
import sys

import click

from forge.cli.cmd_adopt import adopt, disown
from forge.cli.cmd_evict import clean, evict, pin, unpin
from forge.cli.cmd_snapshots import restore, save, snapshots, unsave
from forge.cli.cmd_target_about import du, show, why
from forge.cli.cmd_target_mode import mode
from forge.cli.commands import Call, Group, examples, json_option, pass_call
from forge.cli.questions import ask_status, ask_where
from forge.cli.render import plain, print_json, print_lines, target_dirs_view
from forge.errors import ForgeError


class NotRedirected(ForgeError):
    """A project that is not built on the RAM disk has no target dir there."""

    slug = "not-redirected"
    exit_code = os.EX_NOINPUT


@click.group(
    cls=Group,
    epilog=examples("forge target path", 'ls "$(forge target path)/debug"', "forge target list"),
)
def target() -> None:
    """Show where projects are built, and what that takes."""


@target.command(
    epilog=examples("forge target path", "forge target path ~/src/ripgrep"),
)
@click.argument(
    "directory", metavar="[DIR]", default=".", type=click.Path(exists=True, file_okay=False)
)
@json_option
@pass_call
def path(call: Call, directory: str) -> None:
    """Print the target dir of a project.

    It is the project in DIR, by default the one here.

    Only the path goes to stdout. When `forge build` would not build on the RAM disk there, nothing
    does, the reason goes to stderr and the exit code is 66.
    """
    reply = ask_where(call, directory, start=True)
    if call.as_json:
        print_json({name: reply.get(name) for name in ("root", "target_dir", "redirected", "why")})
        return
    if not reply.get("redirected") or not reply.get("target_dir"):
        project = reply.get("root") or os.path.abspath(directory)
        raise NotRedirected(
            f"{project} is not built on the RAM disk: {reply.get('why')}",
            hint="`forge build` there builds where cargo would",
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(reply["target_dir"]) + b"\n")


@target.command("list", epilog=examples("forge target list", "forge target list --json"))
@json_option
@pass_call
def list_(call: Call) -> None:
    """List the target dirs on the RAM disk.

    The one used last comes first. Below are the projects that are built on the SSD for want of
    room, and why. Never starts a daemon.
    """
    status = ask_status(call)
    target_dirs = status["target_dirs"]
    if call.as_json:
        print_json(target_dirs)
        return
    print_lines(target_dirs_view(target_dirs, paths=True))
    for one in status.get("spilled", ()):
        click.echo(f"on the SSD: {plain(one['root'])} in {plain(one['path'])}: {plain(one['why'])}")


for _command in (
    show, du, why, mode, save, restore, snapshots, unsave, adopt, disown, evict, pin, unpin, clean,
):  # fmt: skip
    target.add_command(_command)
