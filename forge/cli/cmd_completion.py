"""`forge completion`: the script by which a shell completes forge's command lines."""

import click
from click.shell_completion import get_completion_class

from forge.cli.commands import examples, root
from forge.cli.main import COMPLETE_VARIABLE

SHELLS = ("bash", "zsh", "fish")
PROGRAMS = ("forge", "opta-start", "opta-stop", "opta-status")


@click.command(
    epilog=examples(
        'eval "$(forge completion bash)"     in ~/.bashrc; needs bash 4.4 or newer',
        'eval "$(forge completion zsh)"      in ~/.zshrc, behind compinit',
        "forge completion fish > ~/.config/fish/completions/forge.fish",
    )
)
@click.argument("shell", metavar="{bash|zsh|fish}", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    It completes `forge`, and `opta-start`, `opta-stop` and `opta-status` as well.
    """
    for program in PROGRAMS:
        click.echo(script_of(shell, program))


def script_of(shell: str, program: str) -> str:
    """Return the script by which a shell completes one of our programs."""
    kind = get_completion_class(shell)
    assert kind, "click knows these shells"
    return kind(root, {}, program, COMPLETE_VARIABLE).source()
