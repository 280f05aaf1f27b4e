"""`forge target evict`, `pin`, `unpin` and `clean`: what leaves the RAM disk, and what stays."""

import os
from typing import Any

import click

from forge.cli.cmd_snapshots import DIRECTORY, root_of, wait_for
from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask
from forge.cli.render import new_table, plain, print_json, print_lines
from forge.core.units import MIB, parse_size_mib, show_bytes
from forge.errors import ForgeError, UsageMistake


class NothingEvicted(ForgeError):
    """What was to be evicted is in use, or pinned."""

    slug = "nothing-evicted"
    exit_code = os.EX_TEMPFAIL


dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would go; do nothing.")


@click.command(
    epilog=examples(
        "forge target evict --dry-run", "forge target evict --need 20GiB",
        "forge target evict                   as much as builds may want",
    )
)  # fmt: skip
@click.option("--need", metavar="SIZE", help="How much is to be free. Default: what builds want.")
@dry_run_option
@json_option
@pass_call
def evict(call: Call, need: str | None, dry_run: bool) -> None:
    """Make room on the RAM disk: delete target dirs, the least worth first.

    What a target dir is worth is the time to build it again, times the chance that somebody wants
    it soon, for each byte. Pinned ones stay, and so does whatever a build or any other process
    uses. What is saved comes back with its next build. Builds make room like this by themselves.
    """
    try:
        need_bytes = None if need is None else parse_size_mib(need) * MIB
    except ValueError as error:
        raise UsageMistake(str(error)) from None
    _show(call, _ask(call, "evict", None, dry_run=dry_run, need_bytes=need_bytes), dry_run=dry_run)


@click.command(
    epilog=examples(
        "forge target clean", "forge target clean ~/src/app --dry-run", "forge target clean --stale"
    )
)  # fmt: skip
@DIRECTORY
@click.option("--stale", is_flag=True, help="Delete only the parts that are of little use.")
@dry_run_option
@json_option
@pass_call
def clean(call: Call, directory: str, stale: bool, dry_run: bool) -> None:
    """Delete the target dir of a project, from the RAM disk or where it went on the SSD.

    It is the project in DIR, by default the one here. Unlike `cargo clean`, it is refused while a
    build or another process uses it, and when it is pinned. With `--stale` go units of another
    toolchain, units that were compiled again since in another way, both not used for a day, and
    incremental data of old sessions.
    """
    reply = _ask(call, "evict", root_of(call, directory), dry_run=dry_run, stale=stale)
    if not stale and not reply["would"] and not reply["freed"]:
        kept = reply["kept"]
        why = str(kept[0]["why"]) if kept else "it is pinned, or a build uses it"
        raise NothingEvicted(why, hint="`forge target list` shows who uses it")
    _show(call, reply, dry_run=dry_run)


@click.command(epilog=examples("forge target pin", "forge target pin ~/src/app"))
@DIRECTORY
@pass_call
def pin(call: Call, directory: str) -> None:
    """Keep the target dir of a project on the RAM disk, whatever happens.

    It is the project in DIR, by default the one here.
    """
    click.echo(_pin(call, directory, "pin"))


@click.command(epilog=examples("forge target unpin", "forge target unpin ~/src/app"))
@DIRECTORY
@pass_call
def unpin(call: Call, directory: str) -> None:
    """Let the target dir of a project be evicted again, when room is wanted.

    It is the project in DIR, by default the one here.
    """
    click.echo(_pin(call, directory, "unpin"))


def _pin(call: Call, directory: str, verb: str) -> str:
    request = {"type": "room", "verb": verb, "root": root_of(call, directory)}
    return plain(ask(call, request, start=True, answer="ok")["line"])


def _ask(
    call: Call,
    verb: str,
    root: str | None,
    *,
    dry_run: bool,
    need_bytes: int | None = None,
    stale: bool = False,
) -> dict[str, Any]:
    request = {"verb": verb, "root": root, "dry_run": dry_run, "need_bytes": need_bytes}
    if stale:
        request["stale"] = True
    return wait_for(call, {"type": "room", **request})


def _show(call: Call, reply: dict[str, Any], *, dry_run: bool) -> None:
    if call.as_json:
        print_json({name: reply[name] for name in ("would", "freed", "kept")})
        return
    if not (reply["would"] or reply["freed"] or reply["kept"]):
        click.echo("there is room enough, or nothing that may go")
        return
    table = new_table("target dir", "size", "why")
    for one in reply["would"]:
        table.add_row(plain(one["path"]), show_bytes(one["size_bytes"]), plain(one["why"]))
    for one in reply["freed"]:
        freed = show_bytes(one["freed_bytes"])
        table.add_row(plain(one["target_dir"]), f"{freed} freed", plain(one["why"]))
    for one in reply["kept"]:
        table.add_row(plain(one["target_dir"]), "kept", plain(one["why"]))
    print_lines(table)
    if dry_run:
        click.echo("nothing was done; without --dry-run it goes")
