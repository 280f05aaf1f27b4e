"""`forge services`, and the commands `opta-start`, `opta-stop` and `opta-status`."""

import os
import subprocess
import sys
import time
from typing import Any

import click

from forge.cli.commands import Call, Group, examples, json_option, pass_call
from forge.cli.questions import ask_status, say
from forge.cli.render import print_json, print_lines
from forge.cli.service_names import ServiceName
from forge.cli.service_progress import ServiceProgress
from forge.cli.view_services import report_of, services_view
from forge.cli.watching import watch as watch_it
from forge.client.services import Services, Standing
from forge.core.service import Runs
from forge.errors import ForgeError

EXIT_NOT_WELL = 1

names_argument = click.argument("names", metavar="[NAME]...", nargs=-1, type=ServiceName())


@click.group(
    cls=Group,
    epilog=examples(
        "opta-start", "forge services start ai-engine", "forge services status --watch",
        "forge services logs proxy --follow", "forge services watch off",
    ),
)  # fmt: skip
def services() -> None:
    """Start, stop and look at the services of this host.

    They are declared in forge.toml, in [services.NAME]; `forge config init --reference` writes
    those of the reference host. `opta-start`, `opta-stop` and `opta-status` are short for `start`,
    `stop` and `status`.
    """


@services.command(epilog=examples("forge services start", "forge services start ai-engine"))
@names_argument
@json_option
@pass_call
def start(call: Call, names: tuple[str, ...]) -> None:
    """Start services and what they need, in order.

    All of them without a NAME. What is well already is left alone. Each must be ready before the
    next one; the first that fails ends the start with its last words. Two starts at once do no
    harm.
    """
    found = Services(call.env)
    with ServiceProgress(quiet=call.as_json) as progress:
        standings = found.start(names, progress)
    if call.as_json:
        _show(call, _reports(call, standings))


@services.command(epilog=examples("forge services stop", "forge services stop proxy"))
@names_argument
@json_option
@pass_call
def stop(call: Call, names: tuple[str, ...]) -> None:
    """Stop services and what needs them, in reverse order.

    Each is asked to end, and has the time that `stop_within` gives. A llama-server that is
    answering somebody ends when the answer does, or when that time is over.
    """
    _warn_of_builds(call)
    found = Services(call.env)
    with ServiceProgress(quiet=call.as_json) as progress:
        standings = found.stop(names, progress)
    if call.as_json:
        _show(call, _reports(call, standings))


@services.command(epilog=examples("forge services restart proxy"))
@names_argument
@json_option
@pass_call
def restart(call: Call, names: tuple[str, ...]) -> None:
    """Stop services and what needs them, and start them again."""
    found = Services(call.env)
    with ServiceProgress(quiet=call.as_json) as progress:
        stopped = found.stop(names, progress)
        standings = found.start([one.service.name for one in stopped], progress)
    if call.as_json:
        _show(call, _reports(call, standings))


@services.command(
    epilog=examples("opta-status", "forge services status --json", "forge services status --watch")
)
@names_argument
@click.option("--watch", is_flag=True, help="Show it anew each second, until Ctrl-C.")
@json_option
@pass_call
def status(call: Call, names: tuple[str, ...], watch: bool) -> int:
    """Show how services are, one line each. Exits with 0 only when all are well.

    What went wrong with one last is told beside it, for as long as it is remembered: until the next
    mishap. Whether it is started again is known to the daemon, which is asked if it runs.
    """
    found = Services(call.env)
    wanted = found.named(names) or tuple(found.declared)
    if watch:
        watch_it(call, lambda: _look(call, found, wanted), lambda seen: _show(call, seen))
    reports = _look(call, found, wanted)
    _show(call, reports)
    return 0 if all(one["ok"] for one in reports) else EXIT_NOT_WELL


@services.command(epilog=examples("forge services logs ai-engine", "forge services logs proxy -f"))
@click.argument("name", metavar="NAME", type=ServiceName())
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows, until Ctrl-C.")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(1, 100_000))
@pass_call
def logs(call: Call, name: str, follow: bool, lines: int) -> int:
    """Show the end of a service's log."""
    found = Services(call.env)
    service = found.declared[found.named([name])[0]]
    if service.runs in (Runs.SYSTEMD, Runs.SYSTEM) and not service.log:
        user = ["--user"] if service.runs is Runs.SYSTEMD else []
        argv = ["journalctl", *user, "-u", service.unit, "-n", str(lines)]
        return _become([*argv, *(["-f"] if follow else [])])
    if service.runs is Runs.RAM_DISK:
        raise ForgeError("the RAM disk has no log of its own", hint="`forge log`")
    path = found.log_of(service)
    if not os.path.exists(path):
        raise ForgeError(f"there is no {path} yet", hint=f"`forge services start {name}`")
    return _become(["tail", "-n", str(lines), *(["-F"] if follow else []), path])


@services.command(epilog=examples("forge services watch", "forge services watch off"))
@click.argument("state", metavar="[on|off]", type=click.Choice(["on", "off"]), required=False)
@pass_call
def watch(call: Call, state: str | None) -> None:
    """Have the daemon start services again that died, or leave that to their managers.

    Without ON or OFF, say which holds. Services with a manager of their own (launchd, systemd) are
    started again by it alone, unless `restart = true` in their declaration says otherwise.
    """
    found = Services(call.env)
    if state:
        found.watch(state == "on")
    watched = found.is_watched
    click.echo(f"services that die are {'started again' if watched else 'left alone'}")


def start_main() -> int:
    """Run `opta-start`."""
    return _main(["services", "start"])


def stop_main() -> int:
    """Run `opta-stop`."""
    return _main(["services", "stop"])


def status_main() -> int:
    """Run `opta-status`."""
    return _main(["services", "status"])


def _main(words: list[str]) -> int:
    from forge.cli.main import COMPLETE_VARIABLE, run

    if COMPLETE_VARIABLE in os.environ:
        _complete_as_forge(words)
    return run([*words, *sys.argv[1:]], os.environ)


def _complete_as_forge(words: list[str]) -> None:
    """Have `opta-start x` completed as `forge services start x`; click reads the environment."""
    _, blank, rest = os.environ.get("COMP_WORDS", "").partition(" ")
    os.environ["COMP_WORDS"] = " ".join(["forge", *words]) + blank + rest
    at = os.environ.get("COMP_CWORD", "")
    if at.isdigit():  # bash and zsh count words; fish gives the word itself
        os.environ["COMP_CWORD"] = str(int(at) + len(words))


def _look(call: Call, found: Services, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
    return _reports(call, [one for one in found.look_at_all() if one.service.name in wanted])


def _reports(call: Call, standings: list[Standing]) -> list[dict[str, Any]]:
    now_s, records = time.time(), _records(call)
    return [report_of(one, records.get(one.service.name), now_s) for one in standings]


def _show(call: Call, reports: list[dict[str, Any]]) -> None:
    if call.as_json:
        print_json({"ok": all(one["ok"] for one in reports), "services": reports})
    else:
        print_lines(services_view(reports, time.time()))


def _records(call: Call) -> dict[str, Any]:
    """Return what the daemon knows of services, by name; nothing where none runs or answers."""
    try:
        told = ask_status(call).get("services") or ()
        return {one["name"]: one for one in told}
    except (ForgeError, KeyError, TypeError):
        return {}
    finally:
        call.failure_fields = {}


def _warn_of_builds(call: Call) -> None:
    try:
        builds = ask_status(call)["builds"]
    except (ForgeError, KeyError):
        return
    finally:
        call.failure_fields = {}
    if builds:
        ids = ", ".join(str(build["id"]) for build in builds)
        say(f"builds are under way: {ids}; they go on, without the RAM disk if it is unmounted")


def _become(argv: list[str]) -> int:
    sys.stdout.flush()
    try:
        return subprocess.call(argv)
    except FileNotFoundError:
        raise ForgeError(f"there is no {argv[0]}") from None
