"""`forge remote hosts|ping|doctor`: the machines that our builds go to, seen from here."""

import os

import click

from forge.cli.cmd_shim import CheckFailed
from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.render import new_table, plain, print_json, print_lines
from forge.client import remote_look
from forge.core.units import plural, show_bytes

PINGS = 5


@click.command(epilog=examples("forge remote hosts", "forge remote hosts --json"))
@json_option
@pass_call
def hosts(call: Call) -> None:
    """Show the machines that builds go to, and who says so.

    `--on HOST` names one for a single build and is not among them.
    """
    found = remote_look.hosts(call.env)
    if call.as_json:
        print_json(found)
        return
    if not found:
        click.echo("builds stay here: neither FORGE_ON nor forge.toml names a host")
        return
    table = new_table("host", "for", "from")
    for one in found:
        table.add_row(plain(one["host"]), plain(one["for"]), one["from"])
    print_lines(table)


@click.command(epilog=examples("forge remote ping studio", "forge remote ping studio --count 20"))
@click.argument("host")
@click.option(
    "--count", metavar="N", type=click.IntRange(1, 1000), default=PINGS, show_default=True,
    help="How many round trips to measure.",
)  # fmt: skip
@json_option
@pass_call
def ping(call: Call, host: str, count: int) -> None:
    """Measure how long HOST takes to be reached, and to answer."""
    found = remote_look.ping(host, call.env, count)
    if call.as_json:
        print_json({**remote_look.as_json(found), "median_ms": found.median_ms})
        return
    trips = found.round_trips_ms
    click.echo(f"connected in {found.connected_ms:.0f} ms, as key `{plain(found.key)}`")
    click.echo(
        f"{plural(count, 'round trip')}: {min(trips):.1f} to {max(trips):.1f} ms,"
        f" half of them within {found.median_ms:.1f} ms"
    )


@click.command(
    epilog=examples(
        "forge remote doctor studio",
        "forge remote doctor --dry-run",
        "forge remote doctor studio --json | jq '.checks[].level'",
    )
)
@click.argument("host", required=False)
@click.option("--dry-run", is_flag=True, help="Connect to nobody; list what would be sent.")
@json_option
@pass_call
def doctor(call: Call, host: str | None, dry_run: bool) -> None:
    """Check what a build on HOST depends on.

    Both versions of Forge, the clocks, the toolchain, the room there is.

    With --dry-run, list the files that would be sent of the project where you stand, and those that
    stay because they look like secrets. The exit code is 69 when there is a failure.
    """
    if dry_run:
        _show_sending(call)
        return
    if host is None:
        raise click.UsageError("name a HOST, or say --dry-run")
    findings, info = remote_look.check(host, call.env)
    call.failure_fields = {"checks": [remote_look.as_json(one) for one in findings], "host": info}
    if not call.as_json:
        for one in findings:
            click.echo(f"{one.level:8} {one.what}: {plain(one.says)}")
    failed = [one.what for one in findings if one.level == "failure"]
    if failed:
        raise CheckFailed(f"{plural(len(failed), 'failure')}: {', '.join(failed)}")
    if call.as_json:
        print_json(call.failure_fields)


def _show_sending(call: Call) -> None:
    found = remote_look.sending(call.env)
    if call.as_json:
        print_json(remote_look.as_json(found))
        return
    for path in found.files:
        click.echo(plain(path))
    count = plural(len(found.files), "file")
    click.echo(f"{count}, {show_bytes(found.size_bytes)}, below {plain(found.top)}", err=True)
    for name, paths in (("secret", found.secrets), ("symlink out of the tree", found.outside)):
        for path in paths:
            click.echo(f"stays here: {plain(os.fspath(path))} ({name})", err=True)
