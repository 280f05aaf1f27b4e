"""A real sshd on loopback, run by whoever runs the tests: own port, host key and keys of users.

`Sshd.bin` has an `ssh` that knows only this host, by the name `studio`: put it before PATH, and all
that runs `ssh studio …` comes here. As with every sshd, a login gets a minimal environment.
"""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.scenarios.conftest import TEMPORARY, clean_env, wait_until

HOST = "studio"
SEPARATION = Path("/run/sshd")
"""Where sshd of Debian separates privileges; it is there once the service has run."""


@dataclass
class Sshd:
    """The server. `keys` and `authorized_keys` are those of the one user who may come in."""

    home: Path
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def authorized_keys(self) -> Path:
        return self.home / "authorized_keys"

    @property
    def bin(self) -> Path:
        return self.home / "bin"

    @property
    def log(self) -> str:
        return (self.home / "sshd.log").read_text()

    def path(self) -> str:
        """Return a PATH on which `ssh` is ours."""
        return f"{self.bin}:{os.environ['PATH']}"

    def make_key(self, name: str) -> Path:
        """Make a key that the client offers from now on; return its public half."""
        make_key(self.home / name)
        config = self.home / "config"
        config.write_text(config.read_text() + f"    IdentityFile {self.home / name}\n")
        return self.home / f"{name}.pub"

    def offers(self, name: str) -> None:
        """Let the client offer this key and no other."""
        write_client_config(self.home, self.port, name)

    def change_host_key(self) -> None:
        """Let the server be another one, as far as the client can know."""
        lines = (self.home / "known_hosts").read_text().split()
        make_key(self.home / "other_host_key")
        other = (self.home / "other_host_key.pub").read_text().split()[:2]
        (self.home / "known_hosts").write_text(" ".join([lines[0], *other]) + "\n")

    def ssh(self, *words: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
        """Run `ssh studio WORDS` to its end."""
        whole: dict[str, object] = {"stdin": subprocess.DEVNULL} if "input" not in options else {}
        return subprocess.run(  # type: ignore[call-overload,no-any-return]  # options pass
            [self.bin / "ssh", HOST, *words],
            capture_output=True,
            timeout=60,
            **(whole | options),
        )

    def start_ssh(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start `ssh studio WORDS` with all three streams to us; the caller ends it."""
        return subprocess.Popen(
            [self.bin / "ssh", HOST, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def stop(self) -> None:
        """End the server and every connection to it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        self.process.kill()
        self.process.wait(timeout=30)


def make_key(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", path],
        check=True,
        stdin=subprocess.DEVNULL,
    )


def write_client_config(home: Path, port: int, *keys: str) -> None:
    lines = [
        f"Host {HOST}",
        "    HostName 127.0.0.1",
        f"    Port {port}",
        f"    User {getpass.getuser()}",
        f"    UserKnownHostsFile {home / 'known_hosts'}",
        "    GlobalKnownHostsFile none",
        "    StrictHostKeyChecking yes",
        "    IdentitiesOnly yes",
        "    BatchMode yes",
        *(f"    IdentityFile {home / key}" for key in keys),
    ]
    (home / "config").write_text("\n".join(lines) + "\n")


def write_server_config(home: Path, port: int) -> None:
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {home / 'host_key'}",
        f"AuthorizedKeysFile {home / 'authorized_keys'}",
        f"PidFile {home / 'sshd.pid'}",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "PrintMotd no",
        "MaxStartups 100",
        "MaxSessions 100",
        # The trap: a host that lets clients set what it likes. Forge must not care.
        "AcceptEnv *",
    ]
    (home / "sshd_config").write_text("\n".join(lines) + "\n")


def open_sshd() -> Sshd:
    """Start a server; the caller stops it and removes its home."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if not server or not shutil.which("ssh"):
        pytest.skip("there is no sshd and ssh here (Debian: openssh-server)")
    if os.geteuid() == 0:
        SEPARATION.mkdir(mode=0o755, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="sshd", dir=TEMPORARY))
    make_key(home / "host_key")
    (home / "authorized_keys").touch(mode=0o600)
    (home / "bin").mkdir()
    wrapper = home / "bin" / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {home / "config"} "$@"\n')
    wrapper.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    write_server_config(home, port)
    write_client_config(home, port)
    host_key = " ".join((home / "host_key.pub").read_text().split()[:2])
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    with (home / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", "-e", "-f", home / "sshd_config"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=clean_env(),
        )
    sshd = Sshd(home, port, process)
    wait_until(lambda: process.poll() is not None or answers(port))
    assert process.poll() is None, sshd.log
    return sshd


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    """An sshd for the tests of one module, in which nobody is authorised yet."""
    made = open_sshd()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.home, ignore_errors=True)
