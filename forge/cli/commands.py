"""The tree of Forge's own commands, each loaded when it is asked for.

All commands get a `Call`: the environment, and whether JSON is wanted. They raise `ForgeError`s;
with `--json` such a failure is an object on stdout as well, so that a program need not read prose.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

import forge
from forge.cli.main import COMPLETE_VARIABLE, OWN_COMMANDS
from forge.core.verbs import OWN_VERBS
from forge.errors import ForgeError, UsageMistake

HELP_OPTIONS = ["-h", "--help"]
SETTINGS_OF_CLICK = {"help_option_names": HELP_OPTIONS, "max_content_width": 100}
CARGO_VERBS = tuple(
    sorted(verb for verb in OWN_VERBS if len(verb) > 1 and verb not in OWN_COMMANDS)
)
"""Verbs of cargo's that shells offer at `forge <Tab>`."""


@dataclass(slots=True)
class Call:
    """One use of a command. `failure_fields` go into the JSON of a failure beside `error`."""

    env: Mapping[str, str]
    as_json: bool = False
    failure_fields: dict[str, Any] = field(default_factory=dict)


pass_call = click.make_pass_decorator(Call)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--json`; the command finds it in its `Call`."""

    def remember(context: click.Context, _param: click.Parameter, value: bool) -> None:
        call = context.find_object(Call)
        assert call, "invoke made it"
        call.as_json |= value  # a group may have been told already

    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Print JSON, a failure included.",
    )(command)


def examples(*lines: str) -> str:
    """Lay out examples for the end of a help text, as they stand."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


class Group(click.Group):
    """A group that prints its help when no command is named."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", SETTINGS_OF_CLICK)
        super().__init__(*args, **kwargs)
        self.no_args_is_help = False  # click would call it a mistake

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; an empty one asks for help."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)


class Forge(Group):
    """The top: commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order of the overview."""
        return list(OWN_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command. While a shell completes, a verb of cargo's takes paths."""
        place = OWN_COMMANDS.get(cmd_name)
        if place is None:
            return _paths_of(cmd_name) if ctx.resilient_parsing else None
        module, _, name = place.partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command), f"{place} is a command"
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer Forge's commands, then cargo's verbs."""
        verbs = [CompletionItem(v, help="cargo's") for v in CARGO_VERBS if v.startswith(incomplete)]
        return super().shell_complete(ctx, incomplete) + verbs


def _paths_of(verb: str) -> click.Command:
    return click.Command(
        verb,
        params=[click.Argument(["words"], nargs=-1, type=click.Path())],
        context_settings={"ignore_unknown_options": True},
    )


@click.group(
    cls=Forge,
    epilog=examples(
        "forge build --release      cargo build --release, on the RAM disk",
        "forge +nightly test        cargo +nightly test",
        "forge cargo config get     a verb that both have: cargo's",
        "forge status               what is going on",
    ),
)
@click.version_option(forge.__version__, "-V", "--version", message="forge %(version)s")
def root() -> None:
    """Build Rust on a RAM disk, beside a resident language model.

    `forge VERB ARGS` runs `cargo VERB ARGS` with its target directory on the RAM disk. Every verb
    that is not in the list below is cargo's; exit code, output and signals are cargo's own.
    """


def invoke(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run one of Forge's own commands; return its exit code. Raises ForgeError."""
    call = Call(env)
    try:
        result = root.main(
            args=list(argv), prog_name="forge", complete_var=COMPLETE_VARIABLE,
            standalone_mode=False, obj=call,
        )  # fmt: skip
    except click.UsageError as mistake:
        error = _mistake(mistake)
        _print_failure(call, error)
        raise error from None
    except click.Abort:
        raise KeyboardInterrupt from None
    except ForgeError as error:
        _print_failure(call, error)
        raise
    return result if isinstance(result, int) else 0


def _mistake(mistake: click.UsageError) -> UsageMistake:
    text = " ".join(mistake.format_message().split()).rstrip(".")
    path = mistake.ctx.command_path if mistake.ctx else "forge"
    return UsageMistake(text[:1].lower() + text[1:], hint=f"`{path} --help` shows what there is")


def _print_failure(call: Call, error: ForgeError) -> None:
    if not call.as_json:
        return
    from forge.cli.render import print_json

    slug = getattr(error, "refusal", "") or error.slug
    reason = {"slug": slug, "message": error.message, "hint": error.hint}
    print_json({**call.failure_fields, "error": reason})
