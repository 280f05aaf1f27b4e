"""`forge cancel`: ends builds, whether they wait or run."""

import sys
from collections.abc import Sequence

import click

from forge.cli.build_ids import BuildId
from forge.cli.commands import Call, examples, pass_call
from forge.cli.questions import ask, ask_status, say
from forge.cli.render import plain, project_of
from forge.core.leases import build_number
from forge.core.units import plural
from forge.errors import DaemonRefused, NoSuchBuild, UsageMistake


@click.command(
    epilog=examples("forge cancel b12", "forge cancel 12 13", "forge cancel --all --yes")
)
@click.argument("builds", metavar="[BUILD]...", nargs=-1, type=BuildId())
@click.option("--all", "all_", is_flag=True, help="All builds that are under way.")
@click.option("--yes", is_flag=True, help="Do not ask before all are cancelled.")
@pass_call
def cancel(call: Call, builds: tuple[str, ...], all_: bool, yes: bool) -> int:
    """Cancel builds, whether they wait or run.

    One that waits never starts cargo; of one that runs, cargo and all that it started are ended.
    Its `forge` exits with 130, or as cargo does. Builds inside it are cancelled with it.

    When one of several cannot be cancelled, the others are, and the exit code tells: 65 for a build
    that is not under way.
    """
    if all_ == bool(builds):
        raise UsageMistake(
            "`--all` takes no builds besides" if all_ else "no build is named",
            hint="write `forge cancel b12` or `forge cancel --all`",
        )
    if all_:
        return _cancel_all(call, asks=not yes)
    return max(_cancel_each(call, builds))


def _cancel_all(call: Call, *, asks: bool) -> int:
    """Cancel all that are under way; one that has ended meanwhile is cancelled enough."""
    under_way = ask_status(call)["builds"]
    if not under_way:
        click.echo("no build is under way")
        return 0
    if asks:
        _confirm([f"{plain(build['id'])} ({project_of(build)})" for build in under_way])
    codes = _cancel_each(call, [build["id"] for build in under_way])
    return max(0 if code == NoSuchBuild.exit_code else code for code in codes)


def _confirm(names: Sequence[str]) -> None:
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageMistake(
            f"nobody can be asked whether to cancel {plural(len(names), 'build')}",
            hint="`forge cancel --all --yes` does not ask",
        )
    question = f"cancel {plural(len(names), 'build')}: {', '.join(names)}?"
    click.confirm(question, abort=True, err=True)


def _cancel_each(call: Call, builds: Sequence[str]) -> list[int]:
    """Cancel the youngest first: so none that waits is let in by the end of another."""
    youngest_first = sorted(set(builds), key=lambda one: build_number(one) or 0, reverse=True)
    return [_cancel(call, build) for build in youngest_first]


def _cancel(call: Call, build: str) -> int:
    try:
        reply = ask(call, {"type": "cancel_build", "build": build})
    except DaemonRefused as error:
        say(error.message + (f" ({error.hint})" if error.hint else ""))
        return error.exit_code
    click.echo(plain(reply.get("line") or "done"))
    return 0
