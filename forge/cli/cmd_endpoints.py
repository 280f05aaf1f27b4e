"""`forge endpoints`: where clients reach the model, each address tried."""

import os
import socket

import click

from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.render import new_table, plain, print_json, print_lines
from forge.client.endpoints import Endpoint, endpoints_of, try_endpoint
from forge.client.services import Services

EXIT_NOT_ALL = 1


@click.command(
    epilog=examples(
        "forge endpoints", "forge endpoints --host studio.local", "forge endpoints --json"
    )
)
@click.option("--host", metavar="NAME", help="How clients call this machine. Default: its name.")
@json_option
@pass_call
def endpoints(call: Call, host: str | None) -> int:
    """Show where clients reach services, and try each.

    Each address is tried from here. Below stand the lines to paste on a client: for what talks like
    OpenAI, for Claude Code, and for SSH where a service listens on this machine alone. Exits with 1
    when one does not answer.
    """
    name = host or socket.gethostname()
    found = endpoints_of(Services(call.env).declared.values())
    answers = [(one, *try_endpoint(one)) for one in found]
    if call.as_json:
        print_json({"host": name, "endpoints": [_report(name, *one) for one in answers]})
    else:
        table = new_table("service", "address", "answers", "from other machines")
        for one, is_up, said in answers:
            table.add_row(
                plain(one.service),
                plain(one.url(name)),
                "yes" if is_up else plain(f"no: {said}"),
                {True: "yes", False: "by SSH only", None: ""}[one.is_open],
            )
        print_lines(table)
        for one, _, _ in answers:
            lines = one.lines(name, os.environ.get("USER", "opta"))
            if lines:
                click.echo(f"\n# {one.title}")
                click.echo("\n".join(plain(line) for line in lines))
    return 0 if all(is_up for _, is_up, _ in answers) else EXIT_NOT_ALL


def _report(host: str, one: Endpoint, is_up: bool, said: str) -> dict[str, object]:
    return {
        "service": one.service, "url": one.url(host), "port": one.port, "answers": is_up,
        "said": said, "open": one.is_open, "lines": one.lines(host, os.environ.get("USER", "opta")),
    }  # fmt: skip
