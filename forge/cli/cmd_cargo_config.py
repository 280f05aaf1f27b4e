"""`forge cargo-config`: what Forge recommends for cargo's own configuration."""

from pathlib import Path
from typing import Any

import click

from forge import paths
from forge.cli.commands import Call, Group, examples, json_option, pass_call
from forge.cli.questions import ask_status, say
from forge.cli.render import plain, print_json
from forge.client import cargo_config as recommended
from forge.client.profile_block import Change
from forge.config import load
from forge.errors import ForgeError, UsageMistake

with_option = click.option(
    "--with",
    "extras",
    metavar="EXTRA",
    multiple=True,
    type=click.Choice(recommended.EXTRAS),
    help="Also what is not for everybody: build-dir.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")


@click.group(
    cls=Group,
    name="cargo-config",
    epilog=examples(
        "forge cargo-config show", "forge cargo-config install", "forge cargo-config remove"
    ),
)
def cargo_config() -> None:
    """Recommend settings for cargo's own config.toml.

    They save memory and room on the RAM disk, with Forge and without. Nothing depends on them.
    """


@cargo_config.command(
    epilog=examples("forge cargo-config show", "forge cargo-config show --with build-dir")
)
@with_option
@json_option
@pass_call
def show(call: Call, extras: tuple[str, ...]) -> None:
    """Print what is recommended on this machine, each line with its reason.

    With `--with build-dir` also a build.build-dir on the RAM disk, for those who do not want the
    `cargo` of Forge's in their PATH.
    """
    text = _rendered(call, extras)
    if call.as_json:
        print_json({"file": recommended.config_files(call.env)[0], "text": text})
        return
    click.echo(text, nl=False)


@cargo_config.command(
    epilog=examples("forge cargo-config install", "forge cargo-config install --dry-run")
)
@with_option
@dry_run_option
@json_option
@pass_call
def install(call: Call, extras: tuple[str, ...], dry_run: bool) -> None:
    """Merge what is recommended into cargo's config.toml.

    It is the one in $CARGO_HOME, by default ~/.cargo. A key that you have set stays as it is and is
    named. What is added is marked `# opta-forge`; nothing else in the file changes.
    """
    merge = recommended.merging(_rendered(call, extras), call.env)
    if merge.change and not dry_run:
        merge.change.write()
    if call.as_json:
        print_json(
            {"file": merge.file, "added": merge.added, "kept": merge.kept, "dry_run": dry_run}
        )
        return
    for key in merge.kept:
        click.echo(f"kept as it is: {key}")
    for key in merge.added:
        click.echo(f"{'would be added' if dry_run else 'added'}: {key}")
    if merge.added and not dry_run:
        say(f"in {merge.file}; what these keys concern is compiled once more")


@cargo_config.command(
    epilog=examples("forge cargo-config remove", "forge cargo-config remove --dry-run")
)
@dry_run_option
@json_option
@pass_call
def remove(call: Call, dry_run: bool) -> None:
    """Take out of cargo's config.toml what `install` has added.

    These are the lines that end in `# opta-forge`. The file is then what it was before; one that
    `install` has made is deleted.
    """
    changes = recommended.removing(call.env)
    for change in changes:
        if not dry_run:
            change.write()
    if call.as_json:
        print_json({"files": [_outcome(change) for change in changes], "dry_run": dry_run})
        return
    for change in changes:
        what = "deleted" if change.text is None else "restored"
        click.echo(f"{'would be ' if dry_run else ''}{what}: {plain(change.path)}")
    if not changes:
        click.echo("nothing of Forge's is there")


def _outcome(change: Change) -> dict[str, Any]:
    return {"file": change.path, "deleted": change.text is None}


def _rendered(call: Call, extras: tuple[str, ...]) -> str:
    mount_point = _mount_point(call) if "build-dir" in extras else ""
    return recommended.render(extras, mount_point)


def _mount_point(call: Call) -> str:
    """Return the mount point: the daemon's, or where a daemon would mount the disk."""
    found: str | None = None
    try:
        found = ask_status(call)["disk"]["mount_point"]
    except (ForgeError, KeyError, TypeError):
        cfg = load(Path(paths.config_file(call.env)))
        found = recommended.default_mount_point(cfg, call.env)
    finally:
        call.failure_fields = {}
    if not found:
        raise UsageMistake(
            'there is no RAM disk for a build-dir: disk.kind is "none"',
            hint="leave out `--with build-dir`",
        )
    return found
