"""A private Forge for each scenario, and real cargo to build with.

Each Forge has a state directory, a configuration and a RAM disk of its own under a short path (a
socket's has at most 104 bytes), and is taken apart afterwards whatever happened to it. CARGO_HOME
is the user's own: crates are fetched once.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from forge.client.connection import connect
from forge.core.workspace import target_dir_name
from forge.errors import ForgeError
from forge.host.shim import current_shim

WORKSPACE = Path(__file__).parent.parent / "data" / "workspace"
TEMPORARY = Path("/tmp")
FORGE = (
    sys.executable,
    "-P",
    "-c",
    "import sys; sys.argv[0] = 'forge'; from forge.cli.main import main; sys.exit(main())",
)
STEERING = ("CARGO_TARGET", "CARGO_BUILD_", "CARGO_MAKEFLAGS", "FORGE_", "RUSTC", "RUSTFLAGS")
IN_ENV = {
    "CARGO", "CARGO_INCREMENTAL", "CARGO_LOG", "CARGO_TERM_COLOR", "CI", "CLAUDECODE", "MAKEFLAGS",
    "MFLAGS", "PYTHONPATH", "SSH_CONNECTION", "TERM_PROGRAM", "VSCODE_PID",
}  # fmt: skip
PATIENCE_S = 120.0


def may_mount() -> bool:
    """Say whether this process may mount a tmpfs."""
    if sys.platform != "linux":
        return False
    from forge.host import ramdisk_linux

    return ramdisk_linux.may_mount()


@dataclass
class PrivateForge:
    """A Forge of our own. `prefix` is what its commands are run through."""

    home: Path
    mount_point: Path
    env: dict[str, str]
    prefix: tuple[str, ...] = ()
    cli: tuple[str, ...] = FORGE
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def state_dir(self) -> Path:
        return Path(self.env["FORGE_STATE_DIR"])

    @property
    def socket(self) -> Path:
        return self.state_dir / "forged.sock"

    def configure(
        self,
        *,
        size: str = "2GiB",
        kind: str | None = None,
        disk: str = "",
        builds: str = "",
        more: str = "",
    ) -> None:
        """Write forge.toml: a RAM disk of our own, and whatever else is asked for."""
        lines = ["[disk]", f'size = "{size}"', disk]
        if kind:
            lines.append(f'kind = "{kind}"')
        if sys.platform == "darwin":
            lines.append(f'volume_name = "{self.mount_point.name}"')
        else:
            lines.append(f'mount_point = "{self.mount_point}"')
        if "[snapshots]" not in more:
            lines += ["[snapshots]", "enabled = false"]
        lines += ["[builds]", builds, more]
        Path(self.env["FORGE_CONFIG"]).write_text("\n".join(lines) + "\n")

    def run(
        self,
        *argv: str | bytes,
        cwd: Path | bytes,
        stdin: str | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run `forge ARGV` to its end; a variable that is None is taken out."""
        return subprocess.run(
            [*self.prefix, *self.cli, *argv],
            cwd=cwd,
            env=changed(self.env, env),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=PATIENCE_S,
        )

    def start(self, *argv: str, cwd: Path, **options: Any) -> "subprocess.Popen[str]":
        """Start `forge ARGV` in a session of its own; it is ended with us."""
        process: subprocess.Popen[str] = subprocess.Popen(
            [*self.prefix, *self.cli, *argv],
            cwd=cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **({"start_new_session": True} | options),
        )
        self.started.append(process)
        return process

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Ask the daemon that runs."""
        connection = connect(self.env)
        try:
            return connection.ask(message)
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """Return the daemon's status object."""
        status: dict[str, Any] = self.ask({"type": "status"})["status"]
        return status

    def daemon_pid(self) -> int:
        return int(self.status()["pid"])

    def decisions(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of the decision log, oldest first."""
        log = self.state_dir / "forged.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [one for one in map(json.loads, lines) if name in (None, one["decision"])]

    def target_dir(self, root: Path) -> Path:
        """Return where the builds of a workspace belong."""
        return self.mount_point / target_dir_name(os.path.realpath(root))

    def take_apart(self) -> None:
        """End what we started and leave no mount, no process and no file behind."""
        for process in self.started:
            end_session(process)
        for pid in {int(one["pid"]) for one in self.decisions("daemon.started")}:
            self._end_daemon(pid)
        self._remove_cgroups()
        if sys.platform == "darwin":
            subprocess.run(
                ["hdiutil", "detach", "-force", str(self.mount_point)],
                capture_output=True,
                timeout=60,
            )
        else:
            while os.path.ismount(self.mount_point):
                subprocess.run(["umount", "-l", str(self.mount_point)], check=True, timeout=30)
            shutil.rmtree(self.mount_point, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def _remove_cgroups(self) -> None:
        """Remove what a daemon that was killed could not, once what was in it is gone."""
        note = self.state_dir / "builds.cgroups"
        for line in note.read_text().splitlines() if note.exists() else ():
            wait_until(partial(is_removed, line))

    def _end_daemon(self, pid: int) -> None:
        """End a daemon of ours by its pid, if that is still what the pid names."""
        with contextlib.suppress(psutil.Error):
            daemon = psutil.Process(pid)
            if daemon.environ().get("FORGE_STATE_DIR") != self.env["FORGE_STATE_DIR"]:
                return
            if sys.platform == "darwin":
                with contextlib.suppress(ForgeError):
                    self.ask({"type": "disk", "verb": "unmount", "force": True})
            daemon.send_signal(signal.SIGKILL)  # ends one that is stopped as well
            wait_until(lambda: is_gone(pid))


def is_removed(directory: str) -> bool:
    """Remove a directory if that can be; say whether it is gone."""
    with contextlib.suppress(OSError):
        os.rmdir(directory)
    return not os.path.exists(directory)


def is_gone(pid: int) -> bool:
    """Say whether a process has ended, be it that nobody has asked how."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def changed(env: Mapping[str, str], by: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return `env` with some variables set, and those that are None taken out."""
    both = {**env, **(by or {})}
    return {name: value for name, value in both.items() if value is not None}


def end_session(process: "subprocess.Popen[str]") -> None:
    """End a process that leads a session of its own, with what it started there."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def wait_until(what: Callable[[], Any], patience_s: float = 30.0) -> Any:
    """Return the first true answer of `what`; fail after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not so within {patience_s:g} s"
        time.sleep(0.02)
    return answer


def clean_env() -> dict[str, str]:
    """Return our environment without whatever steers cargo or Forge."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in IN_ENV and not name.startswith(STEERING)
    }


def open_forge(cache: Path, name: str = "of") -> PrivateForge:
    """Make a private Forge; the caller takes it apart."""
    home = Path(tempfile.mkdtemp(prefix=name, dir=TEMPORARY))
    label = f"{name}-{secrets.token_hex(4)}"
    if sys.platform == "darwin":
        mount_point = Path("/Volumes") / label
    elif may_mount():
        mount_point = home / "m"
    else:
        mount_point = Path("/dev/shm") / label
    env = clean_env() | {
        "FORGE_STATE_DIR": str(home / "s"),
        "FORGE_CACHE_DIR": str(cache),
        "FORGE_CONFIG": str(home / "forge.toml"),
    }
    forge = PrivateForge(home, mount_point, env)
    forge.configure()
    return forge


@pytest.fixture(autouse=True)
def _cargo_is_here() -> None:
    if shutil.which("cargo") is None:
        pytest.skip("there is no cargo on PATH")


@pytest.fixture(scope="session")
def forge_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What can be made again, above all the native shim: built once and shared by all."""
    cache = tmp_path_factory.mktemp("forge-cache")
    with contextlib.suppress(ForgeError):  # without a rustc all goes on without gates
        current_shim(cache, clean_env())
    return cache


@pytest.fixture
def launcher() -> str:
    """Which launcher `forge` goes on as: the native one where it is there, else Python's."""
    return "native"


@pytest.fixture
def forge(forge_cache: Path, launcher: str) -> Iterator[PrivateForge]:
    """A Forge for one test. A module that overrides `launcher` runs its tests with each."""
    made = open_forge(forge_cache)
    made.env["FORGE_NATIVE"] = "0" if launcher == "python" else "1"
    try:
        yield made
    finally:
        made.take_apart()


@pytest.fixture(scope="module")
def lasting_forge(forge_cache: Path) -> Iterator[PrivateForge]:
    """A Forge for the tests of one module that leave it as they found it."""
    made = open_forge(forge_cache)
    try:
        yield made
    finally:
        made.take_apart()


def cargo(
    *argv: str | bytes,
    cwd: Path | bytes,
    stdin: str | None = None,
    env: Mapping[str, str | None] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run plain cargo, to compare with."""
    return subprocess.run(
        ["cargo", *argv],
        cwd=cwd,
        env=changed(clean_env(), env),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=PATIENCE_S,
    )


HELLO = 'fn main() { println!("hello"); }\n'


def package(
    directory: Path, *, main: str = HELLO, manifest: str = "", build: str | None = None
) -> Path:
    """Write a package with one small binary, `tiny`; return its directory."""
    (directory / "src").mkdir(parents=True)
    (directory / "Cargo.toml").write_text(
        f'[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2021"\n{manifest}'
    )
    (directory / "src" / "main.rs").write_text(main)
    if build is not None:
        (directory / "build.rs").write_text(build)
    return directory


HELD_BUILD_SCRIPT = """
use std::os::unix::process::parent_id;
use std::{fs, path::Path, thread::sleep, time::Duration};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let cargo = parent_id();
    fs::write("began", "").unwrap();
    while Path::new("hold").exists() && parent_id() == cargo {
        sleep(Duration::from_millis(20));
    }
}
"""


@dataclass(frozen=True)
class HeldPackage:
    """A package whose build goes on until it is let go. It ends by itself when cargo is gone."""

    root: Path

    def has_begun(self) -> bool:
        return (self.root / "began").exists()

    def let_go(self) -> None:
        (self.root / "hold").unlink()


@pytest.fixture
def held(tmp_path: Path) -> HeldPackage:
    root = package(tmp_path / "held", build=HELD_BUILD_SCRIPT)
    (root / "hold").touch()
    return HeldPackage(root)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A fresh copy of the workspace in tests/data."""
    ignore = shutil.ignore_patterns("target", "Cargo.lock")
    return Path(shutil.copytree(WORKSPACE, tmp_path / "workspace", ignore=ignore))


def freshness(stdout: str) -> dict[str, bool]:
    """Read `--message-format=json`: was the unit fresh, by its target's name and kind."""
    found = {}
    for line in stdout.splitlines():
        if not line.startswith("{"):
            continue
        message = json.loads(line)
        if message["reason"] == "compiler-artifact":
            target = message["target"]
            name = f"{message['package_id']} {target['name']} {target['kind'][0]}"
            found[name] = message["fresh"]
    return found


def forge_lines(stderr: str) -> list[str]:
    """Return what Forge itself has said."""
    return [line for line in stderr.splitlines() if line.startswith("forge: ")]


def registry_source(name: str, place: Path, version: str = "*") -> Path:
    """Copy the source of a crate out of cargo's own cache, fetched by cargo if need be."""
    asking = package(place / "asking", manifest=f'[dependencies]\n{name} = "{version}"\n')
    done = cargo("fetch", cwd=asking)
    if done.returncode:
        pytest.skip(f"the crates registry does not give {name}: {done.stderr[-300:]}")
    lock = tomllib.loads((asking / "Cargo.lock").read_text())
    (locked,) = (one["version"] for one in lock["package"] if one["name"] == name)
    cargo_home = Path(clean_env().get("CARGO_HOME") or Path.home() / ".cargo")
    (source, *_) = cargo_home.glob(f"registry/src/*/{name}-{locked}")
    return Path(shutil.copytree(source, place / name))
