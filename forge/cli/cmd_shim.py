"""`forge shim`: the native program behind the gates, and `cargo` in PATH."""

import os
from dataclasses import asdict

import click

from forge.cli.commands import Call, Group, examples, json_option, pass_call
from forge.cli.questions import say
from forge.cli.render import plain, print_json
from forge.client import profile_block, wrapper
from forge.core.units import plural
from forge.errors import ForgeError

dir_option = click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Where `cargo` goes. Default: ~/.local/share/opta-forge/bin.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")


class CheckFailed(ForgeError):
    """`forge shim check` found something that does not work."""

    slug = "check-failed"
    exit_code = os.EX_UNAVAILABLE


@click.group(
    cls=Group,
    epilog=examples("forge shim install", "forge shim check", "forge shim build --force"),
)
def shim() -> None:
    """Compile, check or install the native program.

    It is what stands before rustc and the linker, and, installed, what runs when somebody types
    `cargo`. Builds compile it by themselves.
    """


@shim.command(epilog=examples("forge shim build", "forge shim build --force --json"))
@click.option("--force", is_flag=True, help="Compile it even if it is there.")
@json_option
@pass_call
def build(call: Call, force: bool) -> None:
    """Compile the shim now, unless it is there.

    It is compiled with your own rustc, once for each toolchain and version of Forge.
    """
    built = wrapper.build(call.env, force=force)
    if call.as_json:
        print_json(asdict(built))
        return
    how = "compiled" if built.compiled else "there already"
    click.echo(f"{how}: {plain(built.path)} (key {built.key}, {built.elapsed_s:.1f} s)")


@shim.command(epilog=examples("forge shim path", 'ls -l "$(forge shim path)"'))
@pass_call
def path(call: Call) -> None:
    """Print the absolute path of the shim in use.

    When there is none, nothing goes to stdout and the exit code is 69.
    """
    click.echo(os.fsencode(wrapper.shim_path(call.env)))


@shim.command(epilog=examples("forge shim check", "forge shim check --json | jq '.checks[].level'"))
@json_option
@pass_call
def check(call: Call) -> None:
    """Check what the gates and the wrapper depend on.

    One line for each thing: `ok`, `warning` (Forge works, perhaps not as you mean it) or `failure`.
    The exit code is 69 when there is a failure.
    """
    findings = wrapper.check(call.env)
    failed = [finding for finding in findings if finding.level == "failure"]
    if not call.as_json:
        for one in findings:
            click.echo(f"{one.level:8} {one.what}: {plain(one.says)}")
    call.failure_fields = {"checks": [asdict(finding) for finding in findings]}
    if failed:
        names = ", ".join(finding.what for finding in failed)
        raise CheckFailed(f"{plural(len(failed), 'failure')}: {names}")
    if call.as_json:
        print_json(call.failure_fields)


@shim.command(
    epilog=examples(
        "forge shim install",
        "forge shim install --write-profile",
        "forge shim install --dir ~/bin/forge --dry-run",
    )
)
@dir_option
@click.option(
    "--write-profile", is_flag=True, help="Add the line to the start-up files of your shell."
)
@dry_run_option
@json_option
@pass_call
def install(call: Call, directory: str | None, write_profile: bool, dry_run: bool) -> None:
    """Make plain `cargo` build under Forge.

    Puts a `cargo` of Forge's into a directory of its own and prints the one line that puts this
    directory into PATH; only that line goes to stdout. With --write-profile the line is added, in a
    marked block, to ~/.zshenv, to ~/.bashrc and the file that login shells read, to a file in
    fish's conf.d, or to ~/.profile, as $SHELL has it.

    A `cargo` that is not Forge's is never replaced.
    """
    place = _place(call, directory)
    shell = profile_block.shell_of(call.env)
    line = profile_block.path_line(place, shell, call.env)
    files = profile_block.profiles(shell, call.env)
    changes = profile_block.adding(files, line) if write_profile else []
    if dry_run:
        changed = not wrapper.is_installed(place, call.env)
    else:
        changed = wrapper.install(place, call.env)
        for change in changes:
            change.write()
    order = wrapper.order(call.env, place)
    if call.as_json:
        print_json(
            {
                "dir": place, "changed": changed, "line": line, "shell": shell, "dry_run": dry_run,
                "is_first": order.wrapper_is_first, "first_cargo": order.first,
                "real_cargo": order.real, "profiles": [change.path for change in changes],
            }
        )  # fmt: skip
        return
    _say_installed(place, changed=changed, dry_run=dry_run)
    _say_order(place, order)
    if not write_profile:
        say(f"the line for {files[0]}; `forge shim install --write-profile` adds it:")
        click.echo(os.fsencode(line))
        return
    for change in changes:
        click.echo(f"{'would be written' if dry_run else 'written'}: {plain(change.path)}")
    if not changes:
        click.echo(f"has it already: {', '.join(map(plain, files))}")
    elif not dry_run:
        say("shells that are started from now on have it")


@shim.command(epilog=examples("forge shim uninstall", "forge shim uninstall --dry-run"))
@dir_option
@dry_run_option
@pass_call
def uninstall(call: Call, directory: str | None, dry_run: bool) -> None:
    """Take away what `forge shim install` made.

    The `cargo` of Forge's, its directory when nothing else is in it, and the marked blocks in the
    start-up files of all shells, which are then what they were before.
    """
    place = _place(call, directory)
    changes = profile_block.removing(profile_block.all_profiles(call.env))
    gone = wrapper.uninstall(place, call.env, dry_run=dry_run)
    for change in changes:
        if not dry_run:
            change.write()
    would = "would be " if dry_run else ""
    for name in gone:
        click.echo(f"{would}removed: {plain(name)}")
    for change in changes:
        what = "removed" if change.text is None else "restored"
        click.echo(f"{would}{what}: {plain(change.path)}")
    if not gone and not changes:
        click.echo(f"nothing of Forge's is in {plain(place)} or in the start-up files")


def _place(call: Call, directory: str | None) -> str:
    return os.path.abspath(directory) if directory else wrapper.default_dir(call.env)


def _say_installed(place: str, *, changed: bool, dry_run: bool) -> None:
    how = "was there already" if not changed else "would be put" if dry_run else "installed"
    say(f"{how}: {place}/cargo")


def _say_order(place: str, order: wrapper.Order) -> None:
    if order.wrapper_is_first:
        say(f"{place} precedes {order.real or 'any other cargo'} on PATH already")
    elif order.real is None:
        say("there is no other cargo on PATH: the wrapper has none to run")
    else:
        say(f"{place} does not precede {order.first or order.real} on PATH yet")
