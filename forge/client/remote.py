"""`forge VERB --on HOST`: the same build on another machine.

The connection is made first and takes its time; meanwhile we look at our files. Then everything
that the host must know is sent at once, and its answers are awaited in order.
"""

import contextlib
import os
import platform
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

import forge
from forge.client import remote_settings
from forge.client.ending import die_by
from forge.client.remote_checkout import Checkouts, Tree, checkout_of
from forge.client.remote_finals import FinalsHere, local_target_dir
from forge.client.remote_index import SourceChanged
from forge.client.remote_link import Link
from forge.client.remote_run import Running
from forge.client.remote_ssh import start_ssh
from forge.client.remote_sync import Sync
from forge.client.remote_talk import Sending, say_choice, say_machine
from forge.client.remote_terminal import all_are_terminals, size_of_terminal
from forge.client.talk import is_terminal, report, say
from forge.core.remote_argv import KEEPS_FINALS, RemoteCommand, remote_command, replaced
from forge.core.remote_frames import VERSION, FrameType, encode
from forge.core.remote_messages import Exit, Hello, Ready, Run, Started, Welcome, to_frame
from forge.core.remote_paths import PathRewriter
from forge.core.remote_policy import environment_refusal
from forge.core.workspace import Workspace
from forge.errors import ConnectionLost, CwdGone, UsageMistake
from forge.host.workspaces import Workspaces

TRIES = 3
MAX_VARIABLES = 64


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be done where: a command line, and the place here that it is about."""

    host: str
    command: RemoteCommand
    workspace: Workspace
    root: str
    cwd: str
    wait_timeout: str
    is_interactive: bool


def build(
    argv: list[str],
    host: str,
    given: Mapping[str, str],
    env: Mapping[str, str],
    process: "subprocess.Popen[bytes]",
) -> int:
    """Run `cargo ARGV` on a host and return its exit code; ends by a signal where it did there.

    `process` is the connection as it was begun. Raises ForgeError: what was meant for another
    machine never runs on this one instead.
    """
    for tries_left in reversed(range(TRIES)):
        link = Link(process, host)
        try:
            errand = errand_of(argv, host, {**env, **given})
            ended = _Build(errand, link, env).run()
        except SourceChanged:
            if not tries_left:
                raise
            process = start_ssh(host, env)
            continue
        finally:
            link.leave()  # all that we wanted was said, and the host ends at the end of its input
        return end_like(ended)
    raise AssertionError("the last try returns or raises")


def end_like(ended: Exit | None) -> int:
    """Return the exit code of what ran there; end by its signal if it did."""
    if ended is None:
        return 0
    if ended.signal:
        number = getattr(signal, f"SIG{ended.signal}", None)
        if number is None:
            raise ConnectionLost(f"it was ended there by SIG{ended.signal}, unknown here")
        die_by(number)
    return ended.code or 0


def errand_of(argv: list[str], host: str, env: Mapping[str, str]) -> Errand:
    """Read a command line where we stand. Raises UsageMistake when there is nothing to send."""
    try:
        here = os.path.realpath(os.getcwd())
    except OSError as error:
        raise CwdGone(f"the working directory cannot be read: {error.strerror}") from None
    workspace = Workspaces().find(here, argv, env)
    if workspace.root is None:
        raise UsageMistake(f"nothing can be sent to `{host}`: {workspace.outside}")
    words = list(workspace.argv or argv)
    cwd = os.path.realpath(workspace.base)
    words = replaced(words, "-C", "")
    words, cwd = _with_manifest(words, cwd)
    return Errand(
        host=host,
        command=remote_command(words),
        workspace=workspace,
        root=workspace.root,
        cwd=cwd,
        wait_timeout=env.get("FORGE_WAIT_TIMEOUT", ""),
        is_interactive=_is_interactive(env),
    )


def _with_manifest(words: list[str], cwd: str) -> tuple[list[str], str]:
    """Make `--manifest-path` relative; run where the manifest is when it is not below us."""
    from forge.core.cargo_args import parse

    written = parse(words).manifest_path
    if not written:
        return words, cwd
    manifest = os.path.realpath(os.path.join(cwd, written))
    if not manifest.startswith(cwd.rstrip("/") + "/"):
        cwd = os.path.dirname(manifest)
    return replaced(words, "--manifest-path", os.path.relpath(manifest, cwd)), cwd


def _is_interactive(env: Mapping[str, str]) -> bool:
    if env.get("FORGE_PRIORITY"):
        return env["FORGE_PRIORITY"] == "interactive"
    return is_terminal(0) and is_terminal(2) and env.get("CI", "") in ("", "0", "false")


class _Build:
    """One build over one connection."""

    def __init__(self, errand: Errand, link: Link, env: Mapping[str, str]) -> None:
        self._errand, self._link, self._env = errand, link, env
        self._command = errand.command
        self._wants_terminal = self._command.is_interactive and all_are_terminals()
        checkout = checkout_of(errand.root, env)
        self._checkouts = Checkouts(checkout, env)
        self._finals = FinalsHere(
            self._checkouts,
            errand.host,
            local_target_dir(errand.root, errand.workspace.config, env),
        )
        self._takes_messages = (
            self._command.fetches
            and not self._command.says_json
            and self._command.message_format in ("", "human")
        )

    def run(self) -> Exit | None:
        """Bring the tree, run, and take back what is wanted."""
        tree = self._checkouts.look(remote_settings.rules(self._env))
        try:
            return self._run(tree)
        finally:
            os.close(tree.top)

    def _run(self, tree: Tree) -> Exit | None:
        say_choice(tree)
        sending = Sending(self._errand.host, self._env)
        sync = Sync(self._link, self._checkouts, tree, self._errand.host, sending.progress)
        self._link.send(hello())
        self._link.send_all(sync.opening())
        self._link.send_bytes(to_frame(self._request()))
        if self._command.verb not in KEEPS_FINALS:
            self._finals.forget()
        self._finals.note_locks()
        welcome = self._link.expect(Welcome)
        assert isinstance(welcome, Welcome)
        brings = self._command.fetches and not self._command.names_target
        say_machine(self._errand.host, welcome, is_wanted=brings)
        ready = sync.finish()
        sending.is_over()
        ended = self._attend(ready)
        if ended:
            with contextlib.suppress(KeyboardInterrupt):
                self._finals.bring_locks(self._link, ended.changed)
            if self._command.fetches and ended.code == 0:
                self._finals.bring(self._link)
        self._link.send_bytes(encode(FrameType.BYE))
        return ended

    def _request(self) -> Run:
        size = size_of_terminal()
        command = self._command
        return Run(
            argv=list(command.with_messages() if self._takes_messages else command.argv),
            cwd=self._checkouts.checkout.below_top(self._errand.cwd),
            env=sent_env(self._env),
            has_stdin=command.is_interactive and not command.is_detached,
            is_detached=command.is_detached,
            pty=self._wants_terminal and not command.is_detached,
            columns=size[0] if size else None,
            rows=size[1] if size else None,
            interactive=self._errand.is_interactive,
            wait_timeout=self._errand.wait_timeout,
        )

    def _attend(self, ready: Ready) -> Exit | None:
        checkout = self._checkouts.checkout

        def started(message: Started) -> bool:
            here = {ready.root: checkout.top}
            if message.target_dir:
                here[message.target_dir] = self._finals.target_dir
            is_programs = self._command.verb == "run" and not self._wants_terminal
            if not is_programs:  # what a program of the project's says is its own
                running.stdout.rewrite(PathRewriter(here, is_json=self._command.says_json))
            running.stderr.rewrite(PathRewriter(here))
            if message.target_dir and self._command.fetches:
                running.stdout.hears = self._finals.listen(ready.root, message.target_dir)
            return self._is_left(message)

        running = Running(
            self._link,
            has_stdin=self._command.is_interactive and not self._command.is_detached,
            is_raw=self._wants_terminal and not self._command.is_detached,
            started=started,
        )
        running.stdout.is_shown = not self._takes_messages
        return running.attend()

    def _is_left(self, message: Started) -> bool:
        """Say whether a job goes on without us; its name goes to stdout."""
        if not (self._command.is_detached and message.job):
            return False
        host = self._errand.host
        say(f"it goes on at `{host}`; `forge attach {message.job} --on {host}` shows it")
        print(message.job, flush=True)
        return True


def hello() -> Hello:
    """Return the first thing that a client says."""
    return Hello(
        versions=[VERSION],
        client=forge.__version__,
        now_ns=time.time_ns(),
        system=platform.system(),
        machine=platform.machine(),
    )


def sent_env(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that go with a build, and colours where our stderr has them."""
    sent = {name: value for name, value in env.items() if not environment_refusal({name: value})}
    if is_terminal(2) and "NO_COLOR" not in env and env.get("TERM") != "dumb":
        sent.setdefault("CARGO_TERM_COLOR", "always")
    if len(sent) > MAX_VARIABLES:
        report(f"{len(sent)} variables would go with the build, {MAX_VARIABLES} may")
        sent = dict(sorted(sent.items())[:MAX_VARIABLES])
    return sent
