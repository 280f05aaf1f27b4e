"""`forge remote`: who may build here from another machine."""

import os
from typing import Any

import click

from forge.cli.cmd_remote_client import doctor, hosts, ping
from forge.cli.commands import Call, Group, examples, json_option, pass_call
from forge.cli.key_options import check_name, key_options, rules_from
from forge.cli.render import print_json
from forge.core.authorized_keys import KeyLine
from forge.errors import SandboxUnavailable
from forge.serve.keys import KeysFile, default_file, line_for, places_of, public_key_of
from forge.serve.sandbox import promises

file_option = click.option(
    "--file", "keys_file", metavar="FILE", help="Which authorized_keys. Default: ~/.ssh's."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Change nothing; show what would be.")


@click.group(
    cls=Group,
    epilog=examples(
        "forge remote authorize laptop.pub --name laptop",
        "forge remote list",
        "forge remote revoke laptop",
    ),
)
def remote() -> None:
    """Say who may build here from another machine, over ssh.

    A build key is code execution as you: build scripts, macros and tests are programs that its
    owner chooses. Give one to whom you would give a login, or mark it `--untrusted`.

    From the other end, `hosts`, `ping` and `doctor` look at the machines that your own builds go
    to.
    """


remote.add_command(hosts)
remote.add_command(ping)
remote.add_command(doctor)


@remote.command(
    epilog=examples(
        "forge remote authorize laptop.pub --name laptop",
        "forge remote authorize ci.pub --name ci --project ripgrep --verbs build,test",
        "forge remote authorize guest.pub --name guest --untrusted --priority batch --dry-run",
    )
)
@click.argument("keyfile", type=click.Path())
@click.option("--name", metavar="NAME", required=True, callback=check_name, help="Whose key it is.")
@key_options
@click.option(
    "--path", metavar="PATH", help="PATH of its builds. Default: cargo's and the system's."
)
@file_option
@dry_run_option
@pass_call
def authorize(
    call: Call,
    /,
    keyfile: str,
    name: str,
    path: str | None,
    keys_file: str | None,
    dry_run: bool,
    **given: Any,
) -> None:
    """Let the owner of the public key in KEYFILE build here, and do nothing else.

    It writes one line into authorized_keys and leaves all others as they are.
    """
    rules = rules_from(name, given)
    key = public_key_of(keyfile)
    line = line_for(key, rules, places_of(call.env, path))
    keys = KeysFile(os.path.abspath(keys_file or default_file(call.env)))
    if dry_run:
        keys.check(key, name)
        click.echo(line)
        return
    keys.add(key, name, line)
    click.echo(f"`{name}` may build here: code of its choice runs as you")


@remote.command(epilog=examples("forge remote revoke laptop", "forge remote revoke ci --dry-run"))
@click.argument("name")
@file_option
@dry_run_option
@pass_call
def revoke(call: Call, name: str, keys_file: str | None, dry_run: bool) -> None:
    """Take a build key out of authorized_keys; what it builds now goes on to its end."""
    keys = KeysFile(os.path.abspath(keys_file or default_file(call.env)))
    if dry_run and any(own.name == name for own in keys.lines()):
        click.echo(f"`{name}` would be taken out of {keys.path}")
        return
    keys.remove(name)
    click.echo(f"`{name}` builds here no more")


@remote.command("list", epilog=examples("forge remote list", "forge remote list --json"))
@file_option
@json_option
@pass_call
def list_(call: Call, keys_file: str | None) -> None:
    """Show the build keys, and what each may do."""
    keys = KeysFile(os.path.abspath(keys_file or default_file(call.env)))
    lines = keys.lines()
    if call.as_json:
        print_json([_shown(own) for own in lines])
        return
    for own in lines:
        click.echo(f"{own.name}  {' '.join(own.options[2:]) or 'any project'}")
    if not lines:
        click.echo("nobody may build here from another machine")


def _shown(own: KeyLine) -> dict[str, Any]:
    return {"name": own.name, "options": list(own.options), "key": own.key}


@remote.command(epilog=examples("forge remote sandbox", "forge remote sandbox --json"))
@json_option
@pass_call
def sandbox(call: Call) -> None:
    """Try the sandbox in which untrusted keys build: does it hold what it promises?

    On macOS it is sandbox-exec, on Linux bubblewrap, which needs no privilege. Without one,
    untrusted keys build nothing.
    """
    found = promises(call.env.get("PATH", os.defpath))
    if call.as_json:
        print_json({"holds": all(found.values()), "promises": found})
    else:
        for what, holds in found.items():
            click.echo(f"{'yes' if holds else 'NO ':<4} {what}")
    if not all(found.values()):
        raise SandboxUnavailable(
            "there is no sandbox here that holds",
            hint="Linux: install bubblewrap; a separate account for builds is a wall as well",
        )
