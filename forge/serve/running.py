"""Starts what a client asked for: with what it may ask for, and through Forge like any build."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from forge import paths
from forge.client.connection import connect_or_start
from forge.core import wire
from forge.core.remote_messages import Run, Started
from forge.core.remote_policy import KeyRules, argv_refusal, cwd_refusal, environment_refusal
from forge.core.remote_values import to_bytes
from forge.errors import ForgeError, NotAllowed, SourcesRefused
from forge.host.tree_files import is_within, open_below
from forge.serve.area import Area
from forge.serve.building import Building
from forge.serve.channel import Channel
from forge.serve.environment import build_environment
from forge.serve.jobs import Jobs
from forge.serve.slots import build_slot

FORGE = (sys.executable, "-E", "-P", "-m", "forge.cli.main")
"""How Forge runs cargo where its native launcher is not there yet."""


class Runner:
    """Runs for one client. `target_dir`: where the last run has built, None when not known."""

    def __init__(
        self,
        channel: Channel,
        rules: KeyRules,
        host: Mapping[str, str],
        connection: str,
        jobs: Jobs,
    ) -> None:
        self._channel, self._rules, self._host = channel, rules, host
        self._connection, self._jobs = connection, jobs
        self.target_dir: str | None = None

    def run(self, asked: Run, area: Area) -> None:
        """Run it to its end, and tell the client. Raises ForgeError."""
        refusal = (
            argv_refusal(self._rules, asked.argv)
            or environment_refusal(asked.env)
            or cwd_refusal(asked.cwd)
        )
        if refusal:
            raise NotAllowed(refusal)
        cwd = _directory(area, asked.cwd)
        env = build_environment(self._host, self._rules, asked, self._connection)
        self.target_dir = _target_dir(cwd, asked.argv, env, area.root)
        if self._rules.is_untrusted:
            from forge.serve.sandbox import sandboxed  # only these pay for loading it

            env = sandboxed(env, self._rules, area, self.target_dir)
        area.note_run()
        argv = launcher(asked.argv, env)
        if asked.is_detached:
            job = self._jobs.start(argv, cwd, env, asked, area.root)
            self._jobs.follow(self._channel, job, self.target_dir)
            return
        with build_slot(self._channel, area.key_dir, self._rules):
            building = Building(argv, cwd, env, asked)
            self._channel.send(Started(target_dir=self.target_dir))
            ended = building.attend(self._channel, time.monotonic() + self._rules.max_build_s)
        self._channel.send(replace(ended, changed=area.changed_locks()))


def launcher(argv: list[str], env: Mapping[str, str]) -> list[str]:
    """Return the command that runs `cargo ARGV` through Forge."""
    native = paths.native_launcher(env)
    if os.access(native, os.X_OK):
        return [native, *argv]
    return [*FORGE, "cargo", *argv]


def _directory(area: Area, cwd: str) -> str:
    """Return a directory of the tree, reached through no symlink. Raises SourcesRefused."""
    top = os.open(area.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_below(top, b"" if cwd == "." else to_bytes(cwd)))
    except OSError as error:
        raise SourcesRefused(f"`{cwd}` is no directory of the tree: {error.strerror}") from None
    finally:
        os.close(top)
    return area.root if cwd == "." else os.path.join(area.root, cwd)


def _target_dir(cwd: str, argv: list[str], env: Mapping[str, str], root: str) -> str | None:
    """Return where this builds, if that is a place of its own; None when it is not.

    Sources say where their workspace and their target dir are. Of what they name outside the tree
    nothing is shown to the client, or put behind its walls. Raises NotAllowed.
    """
    request: dict[str, Any] = {
        "type": "resolve",
        "client": "",
        "cwd": cwd,
        "argv": argv,
        "env": wire.env_sent(env),
    }
    try:
        connection = connect_or_start(env)
        try:
            found = connection.ask(request)
        finally:
            connection.close()
    except ForgeError:
        return os.path.join(cwd, "target")
    workspace, target_dir = found.get("root"), found.get("target_dir")
    if isinstance(workspace, str) and not is_within(workspace, os.path.realpath(root)):
        raise NotAllowed(f"the workspace `{workspace}` is outside the tree")
    if not isinstance(target_dir, str):
        return None
    return target_dir if found.get("redirected") is True or is_within(target_dir, root) else None
