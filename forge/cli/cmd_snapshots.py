"""`forge target save`, `restore`, `snapshots` and `unsave`. The daemon does it."""

import os
from typing import Any

import click

from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import WaitLine, ask, ask_where, say
from forge.cli.render import plain, print_json, print_lines
from forge.cli.view_snapshots import result_line, snapshots_view
from forge.core.units import show_bytes
from forge.errors import NoSuchSnapshot, UsageMistake

DIRECTORY = click.argument(
    "directory", metavar="[DIR]", default=".", type=click.Path(exists=True, file_okay=False)
)


@click.command(epilog=examples("forge target save", "forge target save --all"))
@DIRECTORY
@click.option("--all", "all_", is_flag=True, help="All target dirs on the RAM disk.")
@json_option
@pass_call
def save(call: Call, directory: str, all_: bool) -> None:
    """Save the target dir of a project as a snapshot on the SSD.

    It is the project in DIR, by default the one here. Only what has changed since the last snapshot
    is written. Those that are in use are left out with --all, and refused without.

    Forge saves by itself as well: see snapshots.enabled.
    """
    root = None if all_ else root_of(call, directory)
    show_results(call, wait_for(call, {"type": "snapshot", "verb": "save", "root": root}))


@click.command(
    epilog=examples(
        "forge target restore",
        "forge target restore --snapshot 20261125-070035 --replace",
        "forge target restore --dry-run",
    )
)
@DIRECTORY
@click.option("--snapshot", "snapshot_id", metavar="ID", help="This one, and not the newest.")
@click.option("--replace", is_flag=True, help="Even if a target dir is there: it is deleted.")
@click.option("--dry-run", is_flag=True, help="Say what would be restored, and do nothing.")
@json_option
@pass_call
def restore(
    call: Call, directory: str, snapshot_id: str | None, replace: bool, dry_run: bool
) -> None:
    """Restore the target dir of a project from a snapshot.

    It is the project in DIR, by default the one here, and its newest snapshot. Builds restore what
    is missing by themselves.
    """
    root = root_of(call, directory)
    if dry_run:
        return show_one(call, pick(call, root, snapshot_id), "would be restored")
    mount(call)
    request = {"verb": "restore", "root": root, "id": snapshot_id, "replace": replace}
    return show_results(call, wait_for(call, {"type": "snapshot", **request}))


@click.command(epilog=examples("forge target snapshots", "forge target snapshots --json"))
@json_option
@pass_call
def snapshots(call: Call) -> None:
    """List the snapshots, the newest first, and what they take together."""
    reply = ask(call, {"type": "snapshot", "verb": "list"}, start=True)
    if call.as_json:
        fields = ("results", "total_bytes", "most_bytes", "directory", "by_itself")
        print_json({name: reply.get(name) for name in fields})
    else:
        print_lines(snapshots_view(reply))


@click.command(
    epilog=examples(
        "forge target unsave 20261125-070035", "forge target unsave --dry-run 20261125-070035"
    )
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and do nothing.")
@json_option
@pass_call
def unsave(call: Call, ids: tuple[str, ...], dry_run: bool) -> None:
    """Delete snapshots, by the IDs that `forge target snapshots` shows."""
    for snapshot_id in ids:
        if dry_run:
            show_one(call, pick(call, None, snapshot_id), "would be deleted")
            continue
        request = {"type": "snapshot", "verb": "remove", "id": snapshot_id}
        (removed,) = wait_for(call, request)["results"]
        show_one(call, removed, "deleted")


def root_of(call: Call, directory: str) -> str:
    """Return the workspace root that a directory belongs to. Raises UsageMistake."""
    reply = ask_where(call, directory, start=True)
    if not reply.get("root"):
        raise UsageMistake(f"{os.path.abspath(directory)}: {reply.get('why')}")
    return str(reply["root"])


def wait_for(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to a request that takes its time, showing how far it is."""
    line = WaitLine()
    try:
        return ask(call, request, start=True, on_wait=line.show)
    finally:
        line.erase()


def mount(call: Call) -> None:
    """See that there is a RAM disk to put something on. Raises ForgeError."""
    wait_for(call, {"type": "disk", "verb": "mount"})


def show_results(call: Call, reply: dict[str, Any]) -> None:
    """Show what was done, and what was not."""
    if reply.get("failure"):
        say(f"not all: {plain(reply['failure'])}")
    if call.as_json:
        print_json(reply["results"])
        return
    for result in reply["results"]:
        click.echo(result_line(result))
    if not reply["results"]:
        click.echo("there is nothing to do")


def pick(call: Call, root: str | None, snapshot_id: str | None) -> dict[str, Any]:
    """Return the snapshot that a request would take. Raises NoSuchSnapshot."""
    found = ask(call, {"type": "snapshot", "verb": "list", "root": root}, start=True)["results"]
    named = [one for one in found if snapshot_id in (None, one["id"])]
    if not named:
        what = f"no snapshot {snapshot_id}" if snapshot_id else f"no snapshot of {root}"
        raise NoSuchSnapshot(f"there is {what}", hint="`forge target snapshots` lists all")
    one: dict[str, Any] = named[0]
    return one


def show_one(call: Call, one: dict[str, Any], what: str) -> None:
    """Say what becomes of a snapshot."""
    if call.as_json:
        print_json(one)
    else:
        project = plain(one.get("root") or one["name"])
        click.echo(f"{what}: {plain(one['id'])} of {project}, {show_bytes(one['size_bytes'])}")
