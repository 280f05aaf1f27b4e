"""The daemon behind the builds: one of them, hard to end by talking nonsense, cheap to ask."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.conftest import (
    PrivateForge,
    changed,
    clean_env,
    forge_lines,
    may_mount,
    open_forge,
    package,
    wait_until,
)

pytestmark = pytest.mark.real_cargo
CLIENTS = 50
NOBODY = 65534


def test_fifty_clients_at_once_start_one_daemon(forge: PrivateForge, tmp_path: Path) -> None:
    root = package(tmp_path / "p")
    command = [*forge.cli, "metadata", "--no-deps", "--format-version=1"]
    clients = [
        subprocess.Popen(
            command, cwd=root, env=forge.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(CLIENTS)
    ]  # fmt: skip
    ends = [client.communicate(timeout=100) for client in clients]
    assert {client.returncode for client in clients} == {0}
    assert {err for _, err in ends} == {""}
    dirs = {json.loads(out)["target_directory"] for out, _ in ends}
    assert dirs == {str(forge.target_dir(root))}
    assert len(forge.decisions("daemon.started")) == 1


class RawClient:
    """A connection on which anything can be said."""

    def __init__(self, forge: PrivateForge) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(10)
        self._socket.connect(str(forge.socket))
        self._file = self._socket.makefile("rb")

    def say(self, text: bytes) -> None:
        try:
            self._socket.sendall(text)
        except (BrokenPipeError, ConnectionResetError):
            return  # turned away in mid-sentence

    def hear(self) -> dict[str, object] | None:
        try:
            line = self._file.readline()
        except ConnectionResetError:
            return None
        return dict(json.loads(line)) if line else None

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture
def running(lasting_forge: PrivateForge, tmp_path: Path) -> PrivateForge:
    """A Forge whose daemon runs."""
    root = package(tmp_path / "p")
    done = lasting_forge.run("metadata", "--no-deps", "--format-version=1", cwd=root)
    assert done.returncode == 0, done.stderr
    return lasting_forge


def begin(**fields: object) -> bytes:
    """Write a `begin` of a launcher that is gone by the time it is read."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    message = {"type": "begin", "v": 1, "pid": gone.pid, "cwd": "/", "argv": ["build"], "env": {}}
    return json.dumps(message | fields).encode() + b"\n"


@pytest.mark.parametrize(
    ("said", "stays_open"),
    [
        (b"garbage\n", True),
        (b"\0\xff\xfe\n", True),
        (b"[]\n", True),
        (b"{}\n", True),
        (b'{"type":"nonsense","v":1}\n', True),
        (b'{"type":"begin","v":1}\n', True),
        (b"[" * 100_000 + b"\n", True),  # deeper than any parser's stack
        (begin(pid="1"), True),
        (begin(pid=-1, argv=[]), None),
        (begin(pid=2**70), None),
        (begin(cwd="\0"), None),
        (begin(cwd="relative", argv=["\0", "-C", "\0"]), None),
        (begin(argv=["build", "--manifest-path", "a" * 5000]), None),
        (b'{"type":"disk","v":1,"verb":"explode"}\n', True),
        (b'{"type":"disk","v":1,"verb":"resize","size_mib":-5}\n', True),
        (b'{"type":"ended","v":1,"exit":0}\n', True),
        (b'{"type":"started","v":1,"pid":1}\n', True),
        (b'{"type":"status","v":2}\n', False),
        (b'{"type":"status","v":"1"}\n', False),
        (b'{"type":"status"}\n', False),  # the first line of a connection has the version
        (b"x" * 1_100_000, False),  # endless
        (b"x" * 1_100_000 + b"\n", None),
    ],
)
def test_nonsense_on_the_socket_is_answered_and_never_ends_the_daemon(
    running: PrivateForge, said: bytes, stays_open: bool | None
) -> None:
    pid = running.daemon_pid()
    client = RawClient(running)
    client.say(said)
    if stays_open is not None:
        answer = client.hear()
        assert answer is not None
        assert answer["type"] == "error"
        assert answer["slug"]
    if stays_open:
        client.say(b'{"type":"status","v":1}\n')
        reply = client.hear()
        assert reply is not None
        assert reply["type"] == "status"
    elif stays_open is False:
        assert client.hear() is None
    client.close()
    status = running.status()
    assert status["pid"] == pid
    wait_until(lambda: running.status()["builds"] == [], 10)
    assert running.decisions("daemon.bug") == []


def test_clients_that_leave_in_mid_sentence_leave_nothing_behind(running: PrivateForge) -> None:
    for said in (b"", b'{"type":', begin(), begin()[:-5]) * 10:
        client = RawClient(running)
        client.say(said)
        client.close()
    wait_until(lambda: running.status()["builds"] == [], 10)
    assert running.decisions("daemon.bug") == []


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_a_peer_of_another_user_is_turned_away_even_when_the_directory_lets_it_in(
    running: PrivateForge,
) -> None:
    pid = running.daemon_pid()
    for place, mode in ((running.home, 0o755), (running.state_dir, 0o755), (running.socket, 0o666)):
        place.chmod(mode)
    talk = (
        "import os, socket, sys\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])\n"
        "try:\n"
        '    s.sendall(b\'{"type":"status","v":1}\\n\')\n'
        "    print(s.recv(100))\n"
        "except OSError: print(b'')\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", talk, str(running.socket)],
            capture_output=True,
            text=True,
            timeout=30,
        )
    finally:
        running.state_dir.chmod(0o700)
    assert done.stdout == "b''\n", done.stderr
    assert running.daemon_pid() == pid
    assert running.decisions("peer.refused")[-1]["uid"] == NOBODY


SLOW_TO_LOAD = {"click", "rich", "asyncio", "psutil", "watchdog", "toml", "tomllib", "sqlite3"}
SPY = """
import sys
def spy(event, args):
    if event in ("os.posix_spawn", "os.exec") and args[0].endswith(("/cargo", "/forge")):
        with open({to!r}, "w") as file:
            file.write("\\n".join(sys.modules))
sys.addaudithook(spy)
sys.argv[0] = "forge"
from forge.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("daemon_runs", [False, True])
def test_nothing_that_is_slow_to_load_is_loaded_before_cargo_starts(
    forge: PrivateForge, tmp_path: Path, daemon_runs: bool, native: str
) -> None:
    forge.env["FORGE_NATIVE"] = native
    root = package(tmp_path / "p")
    if daemon_runs:
        assert forge.run("build", cwd=root).returncode == 0
    seen = tmp_path / "modules"
    forge.cli = (sys.executable, "-P", "-c", SPY.format(to=str(seen)))
    done = forge.run("build", cwd=root)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in seen.read_text().split()}
    assert "forge" in loaded
    assert loaded & SLOW_TO_LOAD == set()


def test_without_privileges_the_disk_is_a_private_directory_and_builds_work(
    forge: PrivateForge, tmp_path: Path
) -> None:
    if sys.platform != "linux":
        pytest.skip("macOS needs no privilege for a RAM disk")
    place = Path("/dev/shm") / forge.home.name
    forge.mount_point = place
    forge.configure(kind="shm", size="1GiB")
    root = package(tmp_path / "p")
    try:
        done = forge.run("build", cwd=root)
        assert done.returncode == 0, done.stderr
        assert (forge.target_dir(root) / "debug" / "tiny").exists()
        assert place.stat().st_mode & 0o777 == 0o700
        disk = forge.status()["disk"]
        assert disk["kind"] == "shm"
        assert disk["caveats"]
        assert forge.ask({"type": "disk", "verb": "unmount"})["type"] == "disk"
        assert not forge.target_dir(root).exists()
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.privileged
@pytest.mark.skipif(
    not may_mount() or shutil.which("setpriv") is None, reason="needs root and setpriv"
)
def test_another_user_without_privileges_gets_a_disk_of_its_own(tmp_path: Path) -> None:
    """As uid nobody, which may still read this machine's toolchain and Python.

    access(2) leaves capabilities out of account, so nothing that looks for a program in this user's
    home finds it: cargo is named, nothing is linked, and no shim is built.
    """
    forge = open_forge(tmp_path / "unused")
    forge.env["FORGE_CACHE_DIR"] = str(forge.home / "c")
    forge.mount_point = Path("/dev/shm") / forge.home.name
    forge.configure(size="1GiB", builds="gates = false")
    forge.prefix = (
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
        "--bounding-set=-all,+dac_read_search",
        "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
    )  # fmt: skip
    user = Path.home()
    forge.env |= {
        "FORGE_REAL_CARGO": str(shutil.which("cargo")),
        "HOME": str(forge.home),
        "CARGO_HOME": str(forge.home / "cargo"),
        "RUSTUP_HOME": clean_env().get("RUSTUP_HOME") or str(user / ".rustup"),
    }
    root = package(forge.home / "p")
    try:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", forge.home], check=True, timeout=30)
        probe = subprocess.run(
            [*forge.prefix, "cargo", "metadata", "--format-version=1"],
            cwd=root,
            env=changed(forge.env, None),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if probe.returncode:
            pytest.skip(f"another user cannot run this cargo: {probe.stderr[-200:]}")
        done = forge.run("check", cwd=root)
        assert done.returncode == 0, done.stderr
        assert forge_lines(done.stderr) == []
        assert (forge.target_dir(root) / "debug").stat().st_uid == NOBODY
        assert not (root / "target").exists()
        assert forge.decisions("disk.mounted")[-1]["kind"] == "shm"
    finally:
        forge.take_apart()
