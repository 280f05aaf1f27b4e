"""`forge install` and `forge uninstall`: Forge as a part of the machine."""

import getpass
import os
from dataclasses import asdict
from typing import Any

import click

from forge.cli.cmd_completion import PROGRAMS, SHELLS, script_of
from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.man_pages import man_pages
from forge.cli.questions import say
from forge.cli.render import plain, print_json
from forge.client import install as installing
from forge.core.install_plan import File, Folder, Step

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show every file, line and command; do nothing."
)


@click.command(
    epilog=examples(
        "forge install --dry-run",
        "forge install",
        "sudo forge install --system --user opta     a Mac without a screen, a Linux server",
    )
)
@click.option("--system", is_flag=True, help="For the machine, not for you alone. Needs root.")
@click.option("--user", metavar="NAME", help="With --system: the user that the daemon runs as.")
@click.option("--no-wrapper", is_flag=True, help="Leave the `cargo` in PATH as it is.")
@dry_run_option
@json_option
@pass_call
def install(call: Call, system: bool, user: str | None, no_wrapper: bool, dry_run: bool) -> None:
    """Make Forge permanent: at each boot, in each shell.

    The daemon becomes a unit of systemd or a job of launchd, shells complete command lines of
    forge, `man forge` shows the manual, and `cargo` goes through Forge. Builds that run go on. To
    install again after an upgrade replaces what has changed. `forge uninstall` takes it all back.

    With --system it does not hang on anybody's login: the right way for a machine without a screen,
    since launchd does not start agents over SSH.
    """
    for_user = (user or os.environ.get("SUDO_USER") or getpass.getuser()) if system else None
    steps = installing.steps(
        call.env,
        user=for_user,
        wrapper=not no_wrapper,
        completions=completions(),
        manuals=man_pages(),
    )
    if call.as_json and dry_run:
        print_json({"steps": [_report(step) for step in steps]})
    elif dry_run:
        for step in steps:
            _show(step)
    else:
        record = installing.install(steps, call.env, say)
        if call.as_json:
            print_json(asdict(record))
        else:
            click.echo("Forge is installed; `forge uninstall` takes it back")


@click.command(epilog=examples("forge uninstall --dry-run", "forge uninstall"))
@dry_run_option
@pass_call
def uninstall(call: Call, dry_run: bool) -> None:
    """Take back all that `forge install` did.

    Files that somebody has changed since are left alone and named. The RAM disk, forge.toml and
    what Forge remembers stay.
    """
    record = installing.read_record(call.env)
    if dry_run and record:
        for one in reversed(record.done):
            what = f"remove: {one.path}" if one.path else f"run: {' '.join(one.undo)}"
            click.echo(f"would {plain(what)}")
        return
    installing.uninstall(call.env, say)
    click.echo("Forge is not installed any more")


def completions() -> dict[tuple[str, str], str]:
    """Return the completion scripts, by shell and program."""
    pairs = ((shell, program) for shell in SHELLS for program in PROGRAMS)
    return {pair: script_of(*pair) for pair in pairs}


def _show(step: Step) -> None:
    if isinstance(step, File):
        click.echo(f"# {step.why}\n# file {plain(step.path)}")
        click.echo(step.text)
    elif isinstance(step, Folder):
        click.echo(f"# {step.why}\nmkdir -p {plain(step.path)}\n")
    else:
        argv = step.argv or ("(to take it back)", *step.undo)
        click.echo(f"# {step.why}\n{plain(' '.join(argv))}\n")


def _report(step: Step) -> dict[str, Any]:
    kind = {File: "file", Folder: "folder"}.get(type(step), "run")
    return {"kind": kind, **asdict(step)}
