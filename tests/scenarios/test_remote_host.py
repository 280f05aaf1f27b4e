"""A key builds here through a real sshd, and can do nothing else with it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forge.core.remote_frames import FrameType, encode
from forge.core.remote_messages import Attach, Error, Exit, Fetch, File, Run, Signal, Started
from tests.scenarios.conftest import (
    HELLO,
    PrivateForge,
    is_gone,
    open_forge,
    wait_until,
)
from tests.scenarios.sshd import Sshd, sshd
from tests.serve.client import Client

__all__ = ["sshd"]

MANIFEST = b'[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2021"\n'
FILES = {"Cargo.toml": MANIFEST, "src/main.rs": HELLO.encode()}
FOREVER = (
    b'fn main() { println!("began"); std::thread::sleep(std::time::Duration::from_secs(600)); }'
)
STUBBORN_BUILD = b"""
use std::{fs, process::{id, Command}, thread::sleep, time::Duration};
fn main() {
    let ignoring = ["-c", "trap '' TERM; sleep 600 & wait; sleep 600"];
    let child = Command::new("sh").args(ignoring).spawn().unwrap();
    fs::write("pids", format!("{} {}", id(), child.id())).unwrap();
    sleep(Duration::from_secs(600));
}
"""


@pytest.fixture(scope="module")
def host(forge_cache: Path, sshd: Sshd) -> Iterator[PrivateForge]:
    """A Forge that lets a few keys in."""
    made = open_forge(forge_cache)
    made.env["FORGE_NATIVE"] = "1"
    try:
        for name, *options in (
            ("laptop",),
            ("batch", "--priority", "batch", "--verbs", "build,check", "--project", "tiny"),
            ("guest", "--untrusted"),
            ("small", "--max-builds", "1", "--max-time", "3s"),
        ):
            public = sshd.make_key(name)
            done = made.run(
                "remote", "authorize", str(public), "--name", name,
                "--file", str(sshd.authorized_keys), *options,
                "--path", os.environ["PATH"], cwd=made.home,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        yield made
    finally:
        made.take_apart()


class Remote:
    """Connects as one key or another."""

    def __init__(self, sshd: Sshd) -> None:
        self.sshd = sshd
        self.clients: list[Client] = []

    def __call__(self, key: str = "laptop") -> Client:
        self.sshd.offers(key)
        client = Client(self.sshd.start_ssh("forge", "serve"))
        self.clients.append(client)
        client.hello()
        return client


@pytest.fixture
def remote(host: PrivateForge, sshd: Sshd) -> Iterator[Remote]:
    made = Remote(sshd)
    yield made
    for client in made.clients:
        client.stop()


def test_a_build_runs_here_as_one_of_forges_and_is_warm_the_next_time(remote, host):
    client = remote()
    client.sync(FILES, project="hello")
    built = client.run("build", interactive=True, env={"CARGO_TERM_COLOR": "always"})
    assert built == Exit(code=0, changed=["Cargo.lock"]), client.stderr
    assert b"\x1b[" in client.stderr
    assert b"Compiling" in client.stderr
    assert client.run("run") == Exit(code=0, changed=["Cargo.lock"])
    assert client.stdout == b"hello\n"
    assert b"Compiling" not in client.stderr
    assert client.bye() == 0
    again = remote()
    again.sync(FILES, project="hello")
    again.run("build")
    assert b"Compiling" not in again.stderr
    first = host.ask({"type": "history", "limit": 500})["builds"][-1]
    assert first["client"] == {"key": "laptop", "from": "127.0.0.1"}
    assert first["priority"] == "interactive"
    shown = host.run("history", cwd=host.home)
    assert "hello@laptop" in shown.stdout


def test_what_cargo_says_and_ends_with_comes_back(remote):
    client = remote()
    client.sync(FILES | {"src/main.rs": b"fn main() { oops }\n"})
    assert client.run("build").code == 101
    assert b"cannot find value" in client.stderr
    client.sync(FILES | {"src/main.rs": b"fn main() { std::process::exit(7) }\n"})
    assert client.run("run").code == 7
    client.sync(FILES | {"src/main.rs": b"fn main() { std::process::abort() }\n"})
    assert client.run("run").code == 134 or client.run("run").signal == "ABRT"


def test_stdin_goes_through_whole_and_artifacts_come_back(remote):
    client = remote()
    main = b"fn main() { std::io::copy(&mut std::io::stdin(), &mut std::io::stdout()).unwrap(); }"
    client.sync(FILES | {"src/main.rs": main}, project="cat")
    client.run("build")
    data = os.urandom(3_000_000)
    assert client.run("run", "-q", stdin=data).code == 0
    assert client.stdout == data
    found = client.fetch("target", "debug/tiny", "debug/missing")
    assert isinstance(found["debug/tiny"], bytes)
    assert found["debug/tiny"].startswith(b"\x7fELF") or sys.platform == "darwin"
    assert found["debug/missing"].why == "no such file or directory"
    assert b'name = "tiny"' in client.fetch("tree", "Cargo.lock")["Cargo.lock"]


def test_a_program_may_have_a_terminal_of_the_hosts(remote):
    client = remote()
    main = b"""
    use std::io::*;
    fn main() { println!("{} {}", stdin().is_terminal(), stdout().is_terminal()); }
    """
    client.sync(FILES | {"src/main.rs": main}, project="tty")
    assert client.run("run", "-q", pty=True, columns=100, rows=30).code == 0
    assert client.stdout == b"true true\r\n"


def starts(client: Client, *argv: str, **options: object) -> None:
    client.send(Run(argv=list(argv), **options))  # type: ignore[arg-type]  # as Run has them
    assert isinstance(client.message(), Started)


def test_a_signal_reaches_what_runs(remote):
    client = remote()
    client.sync(FILES | {"src/main.rs": FOREVER}, project="forever")
    client.run("build")
    client.stdout = b""
    starts(client, "run", "-q")
    while b"began" not in client.stdout:
        client._keep(client.frame())
    client.send(Signal(name="INT"))
    began_s = time.monotonic()
    ended = client.message()
    assert isinstance(ended, Exit)
    assert ended.signal == "INT" or ended.code == 130
    assert time.monotonic() - began_s < 30


@pytest.mark.parametrize("way", ["kill ssh", "close"])
def test_when_the_client_is_gone_all_that_ran_is_and_the_lock_is_free(remote, host, tmp_path, way):
    client = remote()
    files = {**FILES, "build.rs": STUBBORN_BUILD}
    ready = client.sync(files, project=f"left-{way.split()[0]}")
    starts(client, "build")
    note = Path(ready.root) / "pids"
    wait_until(lambda: note.exists() and len(note.read_text().split()) == 2)
    pids = [int(one) for one in note.read_text().split()]
    assert not any(is_gone(pid) for pid in pids)
    if way == "kill ssh":
        client.process.kill()
    else:
        client.process.stdin.close()
    wait_until(lambda: all(is_gone(pid) for pid in pids))
    wait_until(lambda: not host.status()["builds"])
    again = remote()
    again.sync({**files, "build.rs": b"fn main() {}"}, project=f"left-{way.split()[0]}")
    assert again.run("build").code == 0


def test_status_says_whose_build_it_is_and_from_where(remote, host):
    client = remote("batch")
    client.sync({**FILES, "build.rs": STUBBORN_BUILD})
    starts(client, "build", interactive=True)
    (build,) = wait_until(lambda: host.status()["builds"])
    assert build["client"] == {"key": "batch", "from": "127.0.0.1"}
    assert build["priority"] == "batch"  # whatever the client says
    assert "sent by batch from 127.0.0.1" in host.run("status", cwd=host.home).stdout
    client.send(Signal(name="TERM"))


def test_a_detached_build_goes_on_and_can_be_attached_to(remote):
    client = remote()
    client.sync(
        {
            **FILES,
            "build.rs": b"fn main() { std::thread::sleep(std::time::Duration::from_secs(2)) }",
        }
    )
    client.send(Run(argv=["build"], is_detached=True))
    started = client.message()
    assert isinstance(started, Started)
    assert started.job
    client.process.kill()
    other = remote()
    other.send(encode(FrameType.JOBS))
    (shown,) = [one for one in other.message().jobs if one["job"] == started.job]
    assert shown["is_running"]
    other.send(Attach(job=started.job))
    assert other.message() == Started(job=started.job)
    assert other.message() == Exit(code=0)
    assert b"Compiling tiny" in other.stderr
    other.send(encode(FrameType.JOBS))
    (shown,) = [one for one in other.message().jobs if one["job"] == started.job]
    assert (shown["is_running"], shown["code"]) == (False, 0)


def test_a_build_that_takes_too_long_is_ended_and_another_waits_for_its_slot(remote):
    first, second = remote("small"), remote("small")
    slow = {**FILES, "build.rs": STUBBORN_BUILD}
    first.sync(slow, checkout="01" * 6)
    second.sync(FILES, checkout="02" * 6)
    starts(first, "build")
    assert second.run("build").code == 0
    assert "1 of `small` run already" in second.notices[0]
    assert first.message().code != 0
    assert "longer than its key allows" in first.notices[0]


def test_a_daemon_that_is_restarted_does_not_end_a_remote_build(remote, host):
    client = remote()
    slow = b"fn main() { std::thread::sleep(std::time::Duration::from_secs(3)) }"
    client.sync({**FILES, "build.rs": slow}, project="restarted")
    starts(client, "build")
    wait_until(lambda: [one for one in host.status()["builds"] if one["cargo_pid"]])
    assert host.run("daemon", "restart", cwd=host.home).returncode == 0
    assert client.message().code == 0


@pytest.mark.parametrize(
    "command",
    ["id", "forge serve; id", "forge serve\nid", "$(id)", "sh -c id", "scp -t /tmp", "forge status",
     "rsync --server -e.LsfxC . /tmp", "internal-sftp", "forge serve --key root"],
)  # fmt: skip
def test_the_key_is_no_login(host, sshd, command):
    sshd.offers("laptop")
    done = sshd.ssh(command)
    assert done.returncode == 77
    assert done.stdout == b""
    assert b"key `laptop` is for `forge serve` alone" in done.stderr


def test_neither_a_terminal_nor_a_tunnel_nor_a_subsystem_is_to_be_had(host, sshd):
    sshd.offers("laptop")
    assert sshd.ssh("-tt").stdout.replace(b"\r", b"") in (b"", b"\0forge-remote\n")
    sftp = sshd.ssh("-s", "sftp")
    assert sftp.returncode != 0
    tunnel = subprocess.run(
        [sshd.bin / "ssh", "-W", f"127.0.0.1:{sshd.port}", "studio"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
    )  # fmt: skip
    assert tunnel.returncode != 0
    assert b"SSH-2.0" not in tunnel.stdout


def test_variables_that_ssh_sends_reach_no_build(remote, host, sshd, tmp_path):
    sshd.offers("laptop")
    evil = tmp_path / "evil"
    names = ("RUSTC_WRAPPER", "LD_LIBRARY_PATH", "CARGO_HOME", "FORGE_CONFIG", "PYTHONPATH")
    process = subprocess.Popen(
        [sshd.bin / "ssh", "-o", f"SetEnv {' '.join(f'{name}={evil}' for name in names)}",
         "studio", "forge", "serve"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    client = Client(process)
    remote.clients.append(client)
    client.hello()
    client.sync(FILES, project="smuggled")
    script = b'fn main() { for (k, v) in std::env::vars() { println!("cargo:warning={k}={v}") } }'
    client.sync({**FILES, "build.rs": script}, project="smuggled")
    assert client.run("build").code == 0
    assert str(evil).encode() not in client.stderr
    assert not evil.exists()


def test_an_untrusted_key_builds_behind_walls(remote, host):
    client = remote("guest")
    probe = b"""
    fn main() {
        let home = std::env::var("HOME").unwrap();
        println!("ssh {}", std::fs::read_dir(format!("{home}/.ssh")).is_ok());
        println!("state {}", std::fs::metadata("STATE/forged.sock").is_ok());
        println!("net {}", std::net::TcpStream::connect("127.0.0.1:PORT").is_ok());
        println!("root {}", std::fs::write("/usr/forge-was-here", "x").is_ok());
        println!("here {}", std::fs::write("written", "x").is_ok());
    }
    """.replace(b"STATE", os.fsencode(host.state_dir)).replace(
        b"PORT", str(remote.sshd.port).encode()
    )
    client.sync(FILES | {"src/main.rs": probe})
    answer = client.run("run", "-q")
    if isinstance(answer, Error):
        assert answer.slug == "sandbox-unavailable"
        pytest.skip(f"there is no sandbox here: {answer.message}")
    assert answer.code == 0, client.stderr
    assert client.stdout == b"ssh false\nstate false\nnet false\nroot false\nhere true\n"
    assert not Path("/usr/forge-was-here").exists()


@pytest.mark.parametrize("key", ["laptop", "guest"])
def test_sources_that_name_another_workspace_as_theirs_get_nothing_of_it(remote, host, key):
    victim = remote("batch")
    theirs = victim.sync(FILES).root
    assert victim.run("build").code == 0
    client = remote(key)
    manifest = MANIFEST.replace(b"[package]", b'[package]\nworkspace = "' + theirs.encode() + b'"')
    client.sync(FILES | {"Cargo.toml": manifest}, project="pointing")
    answer = client.run("build")
    assert isinstance(answer, Error)
    assert answer.slug == "not-allowed"
    assert "outside the tree" in answer.message


@pytest.mark.parametrize("key", ["laptop", "guest"])
def test_a_target_dir_that_sources_name_elsewhere_is_not_fetched_from(remote, host, tmp_path, key):
    client = remote(key)
    (tmp_path / "secret").write_text("mine")
    config = f'[build]\ntarget-dir = "{tmp_path}"\n'.encode()
    client.sync(FILES | {".cargo/config.toml": config}, project="elsewhere")
    if isinstance(client.run("build"), Error):
        return  # there is no sandbox here
    client.send(Fetch(base="target", paths=["secret"]))
    answer = client.message()
    assert answer.why if isinstance(answer, File) else answer.slug == "not-allowed"
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


def test_an_untrusted_key_builds_nothing_where_there_are_no_walls(host, sshd, tmp_path):
    lines = sshd.authorized_keys.read_text()
    bare = lines.replace(os.environ["PATH"], str(tmp_path))
    sshd.authorized_keys.write_text(bare)
    try:
        sshd.offers("guest")
        client = Client(sshd.start_ssh("forge", "serve"))
        client.hello()
        client.sync(FILES)
        answer = client.run("build")
        client.stop()
    finally:
        sshd.authorized_keys.write_text(lines)
    assert isinstance(answer, Error)
    assert answer.slug == "sandbox-unavailable"


def test_a_key_that_is_revoked_comes_in_no_more(host, sshd):
    sshd.make_key("gone")
    public = str(sshd.home / "gone.pub")
    file = ("--file", str(sshd.authorized_keys))
    assert host.run("remote", "authorize", public, "--name", "gone", *file, cwd="/").returncode == 0
    sshd.offers("gone")
    assert sshd.ssh("forge", "serve", "ping").stdout == b"pong\n"
    assert host.run("remote", "revoke", "gone", *file, cwd="/").returncode == 0
    assert b"Permission denied" in sshd.ssh("forge", "serve", "ping").stderr
