"""`forge inference plan`, `command`, `verify`: what a llama-server needs, and its start."""

import shlex
from dataclasses import asdict
from typing import Any

import click

from forge.cli.cmd_doctor import EXIT_FAILED, rows_view
from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import say
from forge.cli.render import plain, print_json, print_lines
from forge.cli.view_inference_plan import plan_view
from forge.client import inference, inference_verify
from forge.core.checkup import has_failed
from forge.core.inference_plan import InferencePlan
from forge.core.llama_args import shown_args
from forge.core.units import parse_duration_s
from forge.errors import UsageMistake

words_argument = click.argument(
    "words", nargs=-1, type=click.UNPROCESSED, metavar="[-- LLAMA-SERVER-ARGS]"
)


@click.command(
    epilog=examples(
        "forge inference plan",
        "forge inference plan --json | jq .need.kv_bytes",
        "forge inference plan -- llama-server -m model.gguf -c 131072 -np 4 -ctk q4_0 -ctv q4_0",
    )
)
@words_argument
@json_option
@pass_call
def plan(call: Call, words: tuple[str, ...]) -> None:
    """Say what a llama-server will need of memory.

    Of the configured server, or of one that is started with LLAMA-SERVER-ARGS, be it installed here
    or not: the weights, the KV cache to the byte, what may grow later, and whatever is surprising
    about it. Nothing is started, and no daemon is asked.
    """
    told = inference.plan_words(words, call.env) if words else inference.plan_configured(call.env)
    if call.as_json:
        print_json(_as_json(told))
    else:
        print_lines(plan_view(told.plan, told.surprises, told.unasked))


@click.command(
    epilog=examples(
        "forge inference command",
        "screen -dmS ai-engine forge inference command --exec",
        "forge inference command --exec -- --verbose",
        "forge inference command --json | jq -r '.argv[]'",
    )
)
@words_argument
@click.option("--exec", "goes_on", is_flag=True, help="Become the server.")
@json_option
@pass_call
def command(call: Call, words: tuple[str, ...], goes_on: bool) -> None:
    """Print the command line that starts the configured llama-server.

    It is in the spelling of the llama-server that is installed, which is asked for its `--help`:
    weights locked, KV types for model and draft, continuous batching, metrics, and on macOS the
    weights kept resident. LLAMA-SERVER-ARGS come last, after `inference.args`.

    What the installed server cannot be told is said on stderr. With --exec, the process becomes the
    server; on Linux it may lock as much memory as the user's hard limit allows.
    """
    made = inference.command(call.env, words)
    shown = shown_args(made.argv)
    for name in made.lacks:
        say(f"{made.argv[0]} does not know `{name}`: left out")
    if goes_on:
        inference.become(made, call.env)
    if call.as_json:
        print_json({"argv": shown, "env": dict(made.env), "lacks": list(made.lacks)})
        return
    variables = [f"{name}={shlex.quote(value)}" for name, value in made.env.items()]
    click.echo(plain(" ".join([*variables, shlex.join(shown)])))


def _as_json(told: inference.Told) -> dict[str, Any]:
    planned: InferencePlan = told.plan
    need, cells = planned.need, planned.cells
    return {
        "argv": shown_args(told.argv),
        "model": planned.model.path,
        "draft_model": planned.draft.path if planned.draft else None,
        "need": {
            "weights_bytes": need.weights_bytes,
            "kv_bytes": need.kv_bytes,
            "draft_weights_bytes": need.draft_weights_bytes,
            "draft_kv_bytes": need.draft_kv_bytes,
            "compute_bytes": need.compute_bytes,
            "prompt_cache_bytes": need.prompt_cache_bytes,
            "resident_bytes": need.resident_bytes,
            "growth_bytes": need.growth_bytes,
            "total_bytes": need.total_bytes,
        },
        "slots": cells.slots,
        "slot_tokens": planned.slot_tokens,
        "shares_context": cells.is_shared,
        "cells": cells.total,
        "uses_draft": planned.uses_draft,
        "locked": planned.args.is_locked,
        "exact": not planned.model.shape.unsure,
        "surprises": [
            {"key": one.key, "says": one.says, "hint": one.hint, "fatal": one.fatal}
            for one in told.surprises
        ],
        "not_asked": told.unasked or None,
    }


@click.command(
    epilog=examples("forge inference verify", "forge inference verify --wait 20m --json")
)
@click.option(
    "--wait", "wait_text", metavar="DURATION", default="0", show_default=True,
    help="How long it may take to get ready, such as 90s or 20m.",
)  # fmt: skip
@json_option
@pass_call
def verify(call: Call, wait_text: str) -> int:
    """Look whether the configured server runs as it was planned.

    Its context and KV cache as configured, the draft model at work in every slot, and so many bytes
    locked as the models have. Exits with 1 when something is not so. No daemon is asked.
    """
    try:
        wait_s = parse_duration_s(wait_text)
    except ValueError as error:
        raise UsageMistake(f"--wait: {error}") from None
    rows = inference_verify.verify(call.env, wait_s, say)
    failed = has_failed(rows)
    if call.as_json:
        print_json({"ok": not failed, "rows": [asdict(row) for row in rows]})
    else:
        print_lines(rows_view(rows))
    return EXIT_FAILED if failed else 0
