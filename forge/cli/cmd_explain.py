"""`forge explain`: why a build took as long as it did."""

import os
from typing import Any

import click

from forge.cli.build_ids import BuildId
from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask, ask_status, ask_where
from forge.cli.render import print_json, print_lines
from forge.cli.view_explain import explain_view
from forge.core.leases import build_number
from forge.core.verdict import verdict
from forge.errors import CwdGone, NoSuchBuild


@click.command(
    epilog=examples("forge explain", "forge explain b12", "forge explain --json | jq -r .verdict")
)
@click.argument("build", required=False, type=BuildId())
@json_option
@pass_call
def explain(call: Call, build: str | None) -> None:
    """Tell why a build took as long as it did.

    What it waited for before cargo started, how long its units waited for cores and behind whom,
    how many cores it kept busy, its slowest units, and its critical path: the units of which each
    could begin only when the one before it was far enough. Without BUILD it is the last one of the
    project here, else the last of all. One that is under way is told of so far. Never starts a
    daemon.
    """
    report = ask(call, {"type": "explain", "build": build or _last(call)}).get("build") or {}
    if call.as_json:
        print_json({**report, "verdict": verdict(report)})
    else:
        print_lines(explain_view(report))


def _last(call: Call) -> str:
    """Return the id of the last build of the project here, or else of all."""
    under_way = ask_status(call)["builds"]
    call.failure_fields = {}
    for root in dict.fromkeys((_root_here(call), None)):
        past = ask(call, {"type": "history", "limit": 1, "root": root}).get("builds") or []
        of_root = [one for one in under_way if root is None or one.get("root") == root]
        found: list[dict[str, Any]] = [*past, *of_root]
        if found:
            return str(max(found, key=lambda one: build_number(one["id"]) or 0)["id"])
    raise NoSuchBuild("no build is remembered", hint="`forge build` makes one")


def _root_here(call: Call) -> str | None:
    try:
        root = ask_where(call, os.curdir).get("root")
    except CwdGone:
        return None
    return str(root) if root else None
