"""The system's `ssh`, with the user's own configuration: keys, agent, jump hosts, known hosts.

What it has to say (a passphrase to ask for, a host key that has changed) it says on our stderr and
terminal itself. Nothing is forwarded: a host that builds needs no agent and no display of ours.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence

from forge.core.own_options import is_host
from forge.core.text import printable
from forge.errors import ForgeError, UsageMistake

_OPTIONS = (
    "-T", "-a", "-x",
    "-o", "ClearAllForwardings=yes",
    "-o", "RemoteCommand=none",
    "-o", "Compression=no",
)  # fmt: skip
SERVE = ("forge", "serve")


class HostUnreachable(ForgeError):
    """No connection to the host could be had, or no `forge serve` is behind it."""

    slug = "host-unreachable"
    exit_code = os.EX_UNAVAILABLE


class SshMissing(ForgeError):
    """There is no ssh to run. Exit code 127, as a shell would give."""

    slug = "ssh-missing"
    exit_code = 127


def checked_host(host: str) -> str:
    """Return a host that ssh takes for one, and not for an option. Raises UsageMistake."""
    if not is_host(host):
        raise UsageMistake(
            f"`{printable(host[:40])}` is no host",
            hint="write a name that ssh knows, as in `studio` or `user@studio`",
        )
    return host


def ssh_command(host: str, *, has_terminal: bool, words: Sequence[str] = SERVE) -> list[str]:
    """Return the command line of the connection."""
    batch = [] if has_terminal else ["-o", "BatchMode=yes"]
    return ["ssh", *_OPTIONS, *batch, "--", checked_host(host), *words]


def start_ssh(host: str, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start the connection: frames over its stdin and stdout.

    It ignores what the terminal sends to all of us: Ctrl-C is ours to pass on, and needs it alive.
    """
    command = ssh_command(host, has_terminal=_has_terminal())
    if shutil.which("ssh", path=env.get("PATH", os.defpath)) is None:
        raise SshMissing("no ssh found on PATH", hint="install OpenSSH's client")
    keyboard = (signal.SIGINT, signal.SIGQUIT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in keyboard}
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(env), bufsize=0
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def why_no_greeting(host: str, noise: bytes, code: int | None) -> HostUnreachable:
    """Tell what came instead of `forge serve`; ssh itself has said its own part above."""
    if code == 255:
        return HostUnreachable(
            f"no connection to `{host}`", hint=f"`ssh {host}` must work before Forge can"
        )
    said = printable(noise.decode("utf-8", "replace").strip()[-200:])
    if code == 127:
        return HostUnreachable(
            f"there is no `forge` on the PATH of `{host}`",
            hint="let the host's user run `forge remote authorize` with your key",
        )
    ended = f"it ended with {code}" if code is not None else "it does not end"
    return HostUnreachable(
        f"`{host}` does not answer as `forge serve`: {ended}"
        + (f", and said: {said}" if said else ""),
        hint="let the host's user run `forge remote authorize` with your key",
    )


def _has_terminal() -> bool:
    """Say whether ssh could ask a person for a passphrase."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
