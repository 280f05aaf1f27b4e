"""`forge serve`: what sshd starts for a build key, and nobody else."""

from typing import Any

import click

import forge
from forge.cli.commands import SETTINGS_OF_CLICK, Call, examples, pass_call
from forge.cli.key_options import check_name, key_options, rules_from
from forge.core.remote_command import Mode, mode_of
from forge.errors import NotAllowed
from forge.serve.environment import HostPlaces, host_environment


@click.command(
    context_settings=SETTINGS_OF_CLICK,
    epilog=examples(
        'restrict,command="forge serve --key laptop" ssh-ed25519 AAAA…   (in authorized_keys)',
        "forge serve --key laptop --project ripgrep --verbs build,check",
    ),
)
@click.option("--key", metavar="NAME", required=True, callback=check_name, help="Whose key it is.")
@key_options
@click.option("--state-dir", metavar="DIR", help="FORGE_STATE_DIR of its builds.")
@click.option("--cache-dir", metavar="DIR", help="FORGE_CACHE_DIR of its builds.")
@click.option("--config", metavar="FILE", help="FORGE_CONFIG of its builds.")
@click.option("--path", metavar="PATH", help="PATH of its builds.")
@click.option("--cargo-home", metavar="DIR", help="CARGO_HOME of its builds.")
@pass_call
def serve(call: Call, /, key: str, **given: Any) -> int:
    """Build for another machine, as sshd's command.

    It is the command of a build key's line in authorized_keys, and speaks the remote protocol on
    stdin and stdout. `forge remote authorize` writes the line.
    Of the environment it reads SSH_ORIGINAL_COMMAND, which selects a mode, and SSH_CONNECTION,
    which is shown; everything else is as the line says.
    """
    mode = mode_of(call.env.get("SSH_ORIGINAL_COMMAND"))
    if mode is None:
        raise NotAllowed(
            f"key `{key}` is for `forge serve` alone", hint="`forge VERB --on HOST` uses it"
        )
    if mode is Mode.VERSION:
        click.echo(forge.__version__)
        return 0
    if mode is Mode.PING:
        click.echo("pong")
        return 0
    names = ("state_dir", "cache_dir", "config", "path", "cargo_home")
    places = HostPlaces(**{name: given.pop(name) for name in names})
    from forge.serve.channel import Channel
    from forge.serve.session import Session

    connection = call.env.get("SSH_CONNECTION", "")
    rules = rules_from(key, given)
    return Session(Channel(0, 1), rules, host_environment(places), connection).serve()
