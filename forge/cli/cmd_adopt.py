"""`forge target adopt` and `disown`: between a project's own `target/` and the RAM disk."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from forge.cli.cmd_snapshots import DIRECTORY, mount, root_of, show_results, wait_for
from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask_where, say
from forge.cli.render import plain, print_json, print_lines
from forge.cli.view_snapshots import adoptable_view
from forge.client.adoptable import Adoptable, find_targets
from forge.core.units import show_bytes, show_duration
from forge.errors import DaemonRefused, UsageMistake


@click.command(
    epilog=examples(
        "forge target adopt",
        "forge target adopt -r ~/src --dry-run",
        "forge target adopt -r ~/src --yes",
        "forge target adopt --snapshot",
    )
)
@DIRECTORY
@click.option("-r", "--recursive", is_flag=True, help="All projects in DIR and below.")
@click.option("--snapshot", "to_snapshot", is_flag=True, help="Move them into snapshots instead.")
@click.option("--yes", is_flag=True, help="Do not ask for each whether to move it.")
@click.option("--dry-run", is_flag=True, help="Show what could be moved, and do nothing.")
@json_option
@pass_call
def adopt(
    call: Call, directory: str, recursive: bool, to_snapshot: bool, yes: bool, dry_run: bool
) -> int:
    """Move a project's own target directory onto the RAM disk.

    It is that of the project in DIR, by default the one here. What was built stays built. For each
    one you are asked, and it is deleted only when every byte of it was read back from the copy. A
    directory that cargo has not marked as its own, or that a cargo uses, is left alone.

    What is on the RAM disk is gone after a reboot, unless it was saved. With --snapshot it goes to
    the SSD, compressed, and onto the RAM disk with the next build.
    """
    found = find_targets(os.path.abspath(directory), recursive=recursive)
    if dry_run or not found:
        if call.as_json:
            print_json([asdict(one) for one in found])
        elif found:
            print_lines(adoptable_view(found))
        else:
            click.echo(f"no project in {plain(os.path.abspath(directory))} has a target directory")
        return 0
    if not yes and not (sys.stdin and sys.stdin.isatty()):
        raise UsageMistake(
            "nobody can be asked whether to move them",
            hint="`--dry-run` shows them, `--yes` does not ask",
        )
    if not to_snapshot:
        mount(call)
    results, code = _move_each(call, found, to_snapshot=to_snapshot, asks=not yes)
    if call.as_json:
        print_json(results)
    return code


@click.command(epilog=examples("forge target disown", "forge target disown --dry-run"))
@DIRECTORY
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and do nothing.")
@json_option
@pass_call
def disown(call: Call, directory: str, dry_run: bool) -> None:
    """Move the target dir of a project from the RAM disk into the project.

    It is the project in DIR, by default the one here. The next `forge build` there begins a new one
    on the RAM disk; plain cargo goes on with what was built.
    """
    where = ask_where(call, directory, start=True)
    root = root_of(call, directory)
    if dry_run:
        click.echo(f"would be moved: {plain(where.get('target_dir'))} to {plain(root)}/target")
        return
    show_results(call, wait_for(call, {"type": "move", "verb": "disown", "root": root}))


def _move_each(
    call: Call, found: Sequence[Adoptable], *, to_snapshot: bool, asks: bool
) -> tuple[list[dict[str, Any]], int]:
    """Move one after the other; what cannot be moved is said, and does not stop the rest."""
    results: list[dict[str, Any]] = []
    code = 0
    for one in found:
        if asks and not _confirms(one):
            continue
        try:
            reply = _move(call, one, to_snapshot=to_snapshot)
        except (DaemonRefused, UsageMistake) as error:
            say(f"{plain(one.path)}: {plain(error.message)}")
            code = error.exit_code
            continue
        results += reply["results"]
        if not call.as_json:
            show_results(call, reply)
    return results, code


def _confirms(one: Adoptable) -> bool:
    size, age = show_bytes(one.size_bytes), show_duration(one.age_s)
    question = f"move {plain(one.path)} ({size}, last used {age} ago)?"
    return click.confirm(question, err=True)


def _move(call: Call, one: Adoptable, *, to_snapshot: bool) -> dict[str, Any]:
    where = ask_where(call, one.project, start=True)
    if where.get("root") != os.path.realpath(one.project) or not where.get("redirected"):
        raise UsageMistake(f"`forge build` would not build that one on the RAM disk:"
                           f" {where.get('why')}")  # fmt: skip
    request = {"verb": "adopt", "root": where["root"], "to_snapshot": to_snapshot}
    return wait_for(call, {"type": "move", **request})
