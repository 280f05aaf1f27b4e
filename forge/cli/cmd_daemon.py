"""`forge daemon`: start, stop and look at `forged`."""

import os
import sys
import time
from typing import Any

import click
import psutil

from forge import paths
from forge.cli.commands import Call, Group, examples, json_option, pass_call
from forge.cli.decision_log import DecisionLog, read_entry
from forge.cli.questions import ask, ask_status, say
from forge.cli.render import console, daemon_line, decision_line, plain, print_json
from forge.client.connection import connect
from forge.core.units import plural
from forge.errors import DaemonUnreachable, DeadlineExceeded

END_PATIENCE_S = 20.0
POLL_S = 0.02
STATUS_KEYS = (
    "pid", "version", "protocol", "uptime_s", "stopping", "socket", "log_file", "config_file",
)  # fmt: skip


@click.group(
    cls=Group,
    epilog=examples("forge daemon start", "forge daemon status --json", "forge daemon logs -f"),
)
def daemon() -> None:
    """Start, stop and look at the daemon.

    Builds start it by themselves. There is one daemon for each user.
    """


@daemon.command(epilog=examples("forge daemon start"))
@pass_call
def start(call: Call) -> None:
    """Start the daemon, unless it runs already."""
    _start(call)


@daemon.command(epilog=examples("forge daemon stop"))
@pass_call
def stop(call: Call) -> None:
    """Stop the daemon and wait until it is gone.

    Builds that run go on, and the RAM disk stays. The next build starts a new daemon.
    """
    if not _stop(call):
        click.echo("no daemon runs")


@daemon.command(epilog=examples("forge daemon restart"))
@pass_call
def restart(call: Call) -> None:
    """Stop the daemon if one runs, and start a new one.

    Builds that run go on and are taken over by the new daemon.
    """
    _stop(call)
    _start(call)


@daemon.command(epilog=examples("forge daemon status", "forge daemon status --json | jq .pid"))
@json_option
@pass_call
def status(call: Call) -> None:
    """Show the daemon: pid, age, version, files.

    When none runs, it says so and exits with 69; in the JSON `pid` is null then.
    """
    report = ask_status(call)
    if call.as_json:
        print_json({key: report.get(key) for key in STATUS_KEYS})
        return
    click.echo(f"daemon: {daemon_line(report)}")
    for label, key in (("socket", "socket"), ("log", "log_file"), ("configuration", "config_file")):
        click.echo(f"{label}: {plain(report.get(key) or 'none: all settings have their defaults')}")


@daemon.command(
    epilog=examples(
        "forge daemon logs -n 20",
        "forge daemon logs --follow",
        "forge daemon logs --json | jq 'select(.decision == \"build.ended\")'",
    )
)
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(0, 1_000_000),
              help="How many lines to show.")  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("--json", "as_lines", is_flag=True, help="Print the lines as they are: JSON.")
@pass_call
def logs(call: Call, lines: int, follow: bool, as_lines: bool) -> None:
    """Show the decision log.

    It has one line for each decision, with the numbers behind it. Works without a daemon.
    `forge log` tells the same in sentences.
    """
    path = os.path.join(paths.state_dir(call.env), paths.LOG_NAME)
    log = DecisionLog(path)
    try:
        last = log.last(lines)
        if not last and not follow:
            say(f"no log yet: {path}")
        for line in last:
            _print_decision(line, as_lines)
        for line in log.follow() if follow else ():
            _print_decision(line, as_lines)
    finally:
        log.close()


@daemon.command(epilog=examples("forge daemon run"))
@pass_call
def run(call: Call) -> None:
    """Run the daemon in this terminal.

    Its decisions go to stderr as well; Ctrl-C ends it. For finding out why it does not start, and
    for launchd and systemd.
    """
    argv = [sys.executable, "-P", "-m", "forge.daemon.main", "--foreground"]
    sys.stdout.flush()
    os.execve(argv[0], argv, dict(call.env))  # noqa: S606  # no shell is the point


def _start(call: Call) -> None:
    try:
        pid = ask_status(call)["pid"]
    except DaemonUnreachable:
        click.echo(f"daemon started (pid {_begin(call)})")
    else:
        click.echo(f"daemon runs (pid {pid})")


def _begin(call: Call) -> int:
    try:
        return int(ask_status(call, start=True)["pid"])
    except DaemonUnreachable as error:
        last_words = _last_words(call)
        if last_words:
            raise DaemonUnreachable(f"{error.message}: {last_words}", hint=error.hint) from None
        raise


def _last_words(call: Call) -> str:
    """Return the last line that a daemon which did not start has left on its stderr."""
    try:
        with open(os.path.join(paths.state_dir(call.env), "forged.stderr"), "rb") as file:
            lines = file.read().decode("utf-8", "backslashreplace").split("\n")
    except OSError:
        return ""
    return next((plain(line.strip()) for line in reversed(lines) if line.strip()), "")


def _stop(call: Call) -> bool:
    """Stop the daemon that runs; False when none does. Raises DeadlineExceeded, ForgeError."""
    try:
        connect(call.env).close()
    except DaemonUnreachable:
        return False
    report = ask_status(call)
    pid = int(report["pid"])
    process = _process(pid)
    _warn_of_builds(report.get("builds") or [])
    ask(call, {"type": "stop"})
    _wait_for_end(call, process, pid)
    click.echo(f"daemon stopped (pid {pid})")
    return True


def _warn_of_builds(builds: list[dict[str, Any]]) -> None:
    if not builds:
        return
    names = [f"{b['id']} (`cargo {b['verb']}` in {b['root'] or b['cwd']})" for b in builds[:5]]
    more = f" and {len(builds) - 5} more" if len(builds) > 5 else ""
    goes_on = "goes on" if len(builds) == 1 else "go on"
    say(plain(f"{plural(len(builds), 'build')} {goes_on} without it: {', '.join(names)}{more}"))


def _wait_for_end(call: Call, process: psutil.Process | None, pid: int) -> None:
    deadline = time.monotonic() + END_PATIENCE_S
    while _runs(process) or _answers(call):
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"the daemon (pid {pid}) did not end within {END_PATIENCE_S:g} s",
                hint=f"`kill {pid}` ends it; builds go on",
            )
        time.sleep(POLL_S)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _runs(process: psutil.Process | None) -> bool:
    """Say whether it still runs. A zombie that nobody waits for, as in a container, does not."""
    try:
        return (
            process is not None
            and process.is_running()
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def _answers(call: Call) -> bool:
    try:
        connect(call.env).close()
    except DaemonUnreachable:
        return False
    return True


def _print_decision(line: bytes, as_lines: bool) -> None:
    if as_lines:
        click.echo(line, nl=False)
    else:
        console().print(decision_line(read_entry(line)), soft_wrap=True)
        sys.stdout.flush()
