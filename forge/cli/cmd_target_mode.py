"""`forge target mode`: what of a project is on the RAM disk."""

import os

import click

from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask, ask_where
from forge.cli.render import plain, print_json
from forge.errors import UsageMistake

MODES = ("target-dir", "build-dir")


@click.command(
    epilog=examples(
        "forge target mode", "forge target mode build-dir", "forge target mode ~/src/app target-dir"
    )
)
@click.argument("words", metavar="[DIR] [MODE]", nargs=-1)
@json_option
@pass_call
def mode(call: Call, words: tuple[str, ...]) -> None:
    """Show or choose what of a project is on the RAM disk.

    DIR is the project's directory, by default the one here. MODE is `target-dir` (all of it, the
    default) or `build-dir`: what lies between is on the RAM disk, and cargo puts programs and
    libraries into the project's own `target` (cargo 1.91 or newer). It holds from the next build
    on; what was built stays fresh either way. Subcommands that take no `--config` of cargo's, such
    as nextest, build in the mode `target-dir`.
    """
    directory, wanted = _read(words)
    where = ask_where(call, directory, start=True)
    root = where.get("root")
    if not root:
        raise UsageMistake(f"{os.path.abspath(directory)} is in no project: {where.get('why')}")
    line = f"{where.get('mode')}"
    if wanted:
        reply = ask(call, {"type": "set_target_mode", "root": root, "mode": wanted}, start=True)
        line = str(reply.get("line"))
    if call.as_json:
        print_json({"root": root, "mode": wanted or where.get("mode"), "was": where.get("mode")})
    else:
        click.echo(plain(line))


def _read(words: tuple[str, ...]) -> tuple[str, str | None]:
    if len(words) > 2:
        raise UsageMistake(f"too many words: {words[2]!r}", hint="[DIR] [MODE]")
    wanted = words[-1] if words and words[-1] in MODES else None
    rest = words[:-1] if wanted else words
    if len(rest) > 1:
        raise UsageMistake(f"there is no mode {rest[1]!r}", hint="it is target-dir or build-dir")
    directory = rest[0] if rest else "."
    if not os.path.isdir(directory):
        raise UsageMistake(
            f"{directory!r} is neither a directory nor a mode",
            hint="a mode is target-dir or build-dir",
        )
    return directory, wanted
