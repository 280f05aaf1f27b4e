"""`forge attach`: follow a build that goes on without its client."""

from typing import Any

import click

from forge.cli.commands import SETTINGS_OF_CLICK, Call, examples, json_option, pass_call
from forge.cli.render import new_table, plain, print_json, print_lines
from forge.client import remote_jobs
from forge.core.own_options import HERE
from forge.errors import UsageMistake


@click.command(
    context_settings=SETTINGS_OF_CLICK,
    epilog=examples(
        "forge attach --on studio              the newest that runs",
        "forge attach j7 --on studio",
        "forge attach --list --on studio --json",
    ),
)
@click.argument("job", required=False)
@click.option("--on", "host", metavar="HOST", help="Where it runs. Default: FORGE_ON.")
@click.option("--list", "lists", is_flag=True, help="List the jobs instead, newest first.")
@json_option
@pass_call
def attach(call: Call, job: str | None, host: str | None, lists: bool) -> int:
    """Follow a build that `--detach` has started.

    It shows JOB from its first line to its end; without JOB, the newest one that runs. The exit
    code and the output are those of the job. Ctrl-C ends the job, a second one leaves it.
    """
    host = host or call.env.get("FORGE_ON")
    if not host or host == HERE:
        raise UsageMistake("no host is named", hint="`--on HOST` names one, FORGE_ON for all")
    if not lists:
        return remote_jobs.attach(host, job, call.env)
    found = remote_jobs.jobs(host, call.env)
    if call.as_json:
        print_json(found)
        return 0
    table = new_table("job", "project", "what", "state")
    for one in found:
        words = one.get("argv")
        argv = " ".join(map(str, words)) if isinstance(words, list) else ""
        table.add_row(
            plain(one.get("job")), plain(one.get("project")), plain(argv), plain(_state(one))
        )
    if found:
        print_lines(table)
    else:
        click.echo(f"no job is known on {plain(host)}")
    return 0


def _state(job: dict[str, Any]) -> str:
    if job.get("is_running"):
        return "runs"
    if job.get("signal"):
        return f"ended by SIG{job['signal']}"
    return f"ended with {job.get('code')}"
