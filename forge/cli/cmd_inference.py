"""`forge inference`: the inference servers beside the builds."""

from datetime import datetime

import click

from forge.cli.cmd_inference_launch import command, plan, verify
from forge.cli.commands import Call, Group, examples, json_option, pass_call
from forge.cli.questions import ask, ask_status
from forge.cli.render import print_json, print_lines
from forge.cli.view_inference import inference_view, squeezes_view

MAX_LIMIT = 500


@click.group(
    cls=Group,
    epilog=examples(
        "forge inference status", "forge inference plan", "forge inference command",
        "forge inference history",
    ),
)  # fmt: skip
def inference() -> None:
    """Plan, start and look at inference servers."""


inference.add_command(plan)
inference.add_command(command)
inference.add_command(verify)


@inference.command(
    epilog=examples("forge inference status", "forge inference status --json | jq .servers[].state")
)
@json_option
@pass_call
def status(call: Call) -> None:
    """Show what servers do and have, and what builds leave to them.

    Never starts a daemon: when none runs, it says so and exits with 69.
    """
    report = ask_status(call).get("inference") or {}
    call.failure_fields = {}
    if call.as_json:
        print_json(report)
    else:
        print_lines(inference_view(report))


@inference.command(
    epilog=examples("forge inference history", "forge inference history --limit 100 --json")
)
@click.option(
    "-n", "--limit", metavar="N", default=20, show_default=True,
    type=click.IntRange(1, MAX_LIMIT), help="How many at most.",
)  # fmt: skip
@json_option
@pass_call
def history(call: Call, limit: int) -> None:
    """Show when servers lacked memory, the newest first.

    `missing` is the most that was not in memory, `lowest` the part that still was, `read back` what
    was read from disk again, `builds` those that ran at the time. Never starts a daemon.
    """
    squeezes = ask(call, {"type": "squeezes", "limit": limit}).get("squeezes") or []
    if call.as_json:
        print_json(squeezes)
    else:
        print_lines(squeezes_view(squeezes, datetime.now()))  # noqa: DTZ005  # as people's clocks
