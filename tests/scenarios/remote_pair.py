"""A client and a host on one machine, each with a Forge of its own, and an sshd between them."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import PATIENCE_S, PrivateForge, changed, open_forge
from tests.scenarios.sshd import HOST, Sshd, open_sshd

KEY = "laptop"


@dataclass
class Pair:
    """The two ends. `env` is the client's, whose `ssh` knows the host as `studio`."""

    sshd: Sshd
    host: PrivateForge
    client: PrivateForge
    env: dict[str, str]

    def authorize(self, *options: str) -> None:
        """Let the client's key in, with these options and no others."""
        self.sshd.authorized_keys.write_text("")
        public = self.sshd.home / f"{KEY}.pub"
        file = ("--file", str(self.sshd.authorized_keys))
        done = self.host.run(
            "remote", "authorize", str(public), "--name", KEY, *file, *options, cwd=self.sshd.home
        )
        assert done.returncode == 0, done.stderr

    def run(
        self,
        *argv: str,
        cwd: Path,
        stdin: str | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run `forge ARGV` on the client to its end."""
        return subprocess.run(
            [*self.client.cli, *argv],
            cwd=cwd,
            env=changed(self.env, env),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def start(self, *argv: str, cwd: Path, **options: Any) -> "subprocess.Popen[str]":
        """Start `forge ARGV` on the client; it is ended with the pair."""
        process: subprocess.Popen[str] = subprocess.Popen(
            [*self.client.cli, *argv],
            cwd=cwd,
            env=self.env,
            text=True,
            **(
                {
                    "stdin": subprocess.DEVNULL,
                    "stdout": subprocess.PIPE,
                    "stderr": subprocess.PIPE,
                    "start_new_session": True,
                }
                | options
            ),
        )
        self.client.started.append(process)
        return process


def open_pair(cache: Path) -> Pair:
    """Make a pair; the caller takes it apart."""
    sshd = open_sshd()
    sshd.make_key(KEY)
    host, client = open_forge(cache, "oh"), open_forge(cache, "oc")
    env = client.env | {"PATH": sshd.path(), "FORGE_CACHE_DIR": str(client.home / "c")}
    pair = Pair(sshd, host, client, env)
    pair.authorize()
    return pair


def take_apart(pair: Pair) -> None:
    """Leave nothing behind."""
    pair.sshd.stop()
    shutil.rmtree(pair.sshd.home, ignore_errors=True)
    pair.client.take_apart()
    pair.host.take_apart()


@pytest.fixture(scope="module")
def pair(forge_cache: Path) -> Iterator[Pair]:
    """A client and a host for the tests of one module."""
    made = open_pair(forge_cache)
    try:
        yield made
    finally:
        take_apart(made)


def git(*words: str, cwd: Path) -> None:
    """Run git, with a name and nothing of the user's."""
    env = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *who, *words], cwd=cwd, env=env, check=True, capture_output=True)


__all__ = ["HOST", "Pair", "git", "open_pair", "pair", "take_apart"]
