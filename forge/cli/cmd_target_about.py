"""`forge target show`, `du` and `why`: what a target dir holds, and why it is still there."""

import os
from typing import Any

import click

from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask, ask_status, ask_where
from forge.cli.render import plain, print_json, print_lines
from forge.cli.view_targets import parts_view, sizes_view, target_dir_view
from forge.errors import ForgeError


class NoTargetDir(ForgeError):
    """A path that has nothing on the RAM disk."""

    slug = "no-target-dir"
    exit_code = os.EX_NOINPUT


@click.command(epilog=examples("forge target show", "forge target show ~/src/ripgrep --json"))
@click.argument("path", default=".", type=click.Path())
@json_option
@pass_call
def show(call: Call, path: str) -> None:
    """Show one target dir: its size, who used it last, its profiles and toolchains.

    PATH is a project's directory, or a path on the RAM disk; by default the directory here. Sizes
    are as of the end of the last build. Never starts a daemon.
    """
    found = _target_dir_of(call, path)
    if call.as_json:
        print_json(found)
    else:
        print_lines(target_dir_view(found))


@click.command(epilog=examples("forge target du", "forge target du ~/src/ripgrep"))
@click.argument("path", required=False, type=click.Path())
@json_option
@pass_call
def du(call: Call, path: str | None) -> None:
    """Show what takes the room on the RAM disk: the largest first.

    With PATH, a project's directory or a path on the RAM disk, what takes the room in that target
    dir. Nothing is walked for that: sizes are as of the end of each last build. Hard links count
    once. Never starts a daemon.
    """
    if path is None:
        dirs = ask_status(call)["target_dirs"]
        dirs = sorted(dirs, key=lambda one: -(one.get("size_bytes") or 0))
        if call.as_json:
            print_json(dirs)
        else:
            print_lines(sizes_view(dirs))
        return
    found = _target_dir_of(call, path)
    if call.as_json:
        print_json(found["parts"])
    else:
        print_lines(parts_view(found["parts"]))


@click.command(epilog=examples("forge target why /dev/shm/opta-builds-1000/app-0123456789ab"))
@click.argument("path", type=click.Path())
@json_option
@pass_call
def why(call: Call, path: str) -> None:
    """Say whose PATH is, which build used it, and why it is still there.

    PATH is anything on the RAM disk, or a project. Never starts a daemon.
    """
    about = _about(call, path)
    if call.as_json:
        print_json({name: about.get(name) for name in ("path", "target_dir", "why")})
        return
    for line in about["why"]:
        click.echo(plain(line))


def _about(call: Call, path: str) -> dict[str, Any]:
    return ask(call, {"type": "about_path", "path": os.path.realpath(path)})


def _target_dir_of(call: Call, path: str) -> dict[str, Any]:
    """Return what is known of the target dir of a path; of a member's directory as well."""
    about = _about(call, path)
    if about.get("target_dir") is None and os.path.isdir(path):
        where = ask_where(call, path)
        if where.get("target_dir"):
            about = ask(call, {"type": "about_path", "path": where["target_dir"]})
    found = about.get("target_dir")
    if not isinstance(found, dict):
        hint = f"`forge target why {path}` says more"
        raise NoTargetDir(f"{os.path.abspath(path)} has no target dir on the RAM disk", hint=hint)
    return found
