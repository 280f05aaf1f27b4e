"""Eviction by a real daemon on a real small disk: what goes, and who keeps theirs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.harness import RealDaemon

MIB = 1 << 20


@pytest.fixture
def daemon():
    one = RealDaemon()
    one.start()
    yield one
    one.close()


def a_project(daemon: RealDaemon, name: str, mib: int) -> Path:
    """Have a target dir made for a project, and put so much into it."""
    root = daemon.home / name
    root.mkdir()
    (root / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.1.0"\n')
    (root / "src").mkdir()
    (root / "src" / "lib.rs").write_text("")
    connection = daemon.connect()
    target = Path(daemon.begin(connection, root, "build")["target_dir"])
    connection.close()
    (target / "debug").mkdir(exist_ok=True)
    (target / "debug" / "big").write_bytes(os.urandom(mib * MIB))
    (target / "debug" / ".cargo-lock").touch()
    return target


def forge(daemon: RealDaemon, *words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "forge.cli.main", *words]
    return subprocess.run(argv, env=daemon.env, cwd=cwd, capture_output=True, text=True, timeout=60)


def test_room_is_made_where_it_is_asked_for_and_pins_and_locks_are_kept(daemon):
    small, large = a_project(daemon, "small", 5), a_project(daemon, "large", 30)
    pinned, locked = a_project(daemon, "pinned", 5), a_project(daemon, "locked", 5)
    assert forge(daemon, "target", "pin", cwd=daemon.home / "pinned").returncode == 0

    def measured() -> bool:
        told = json.loads(forge(daemon, "target", "list", "--json", cwd=daemon.home).stdout)
        used = daemon.status()["disk"]["used_bytes"]
        return used > 40 * MIB and len(told) == 4 and all(one["size_bytes"] for one in told)

    daemon.wait_for(measured, "all are measured", 40)
    lock = f"import fcntl, time; f = open({str(locked / 'debug' / '.cargo-lock')!r}, 'w');"
    holder = subprocess.Popen(
        [sys.executable, "-c", lock + "fcntl.flock(f, 2); print('on', flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout
        holder.stdout.readline()
        dry = forge(daemon, "target", "evict", "--need", "126MiB", "--dry-run", cwd=daemon.home)
        assert str(large) in dry.stdout, dry.stderr
        assert large.exists()
        told = forge(daemon, "target", "evict", "--need", "126MiB", "--json", cwd=daemon.home)
        reply = json.loads(told.stdout)
        assert {one["target_dir"] for one in reply["freed"]} >= {str(large)}
        assert "a cargo builds in" in " ".join(one["why"] for one in reply["kept"])
    finally:
        holder.kill()
        holder.communicate()
    assert not large.exists()
    assert pinned.exists()
    assert locked.exists()
    assert not [one for one in daemon.mount_point.iterdir() if one.name.startswith(".evicted-")]
    del small

    refused = forge(daemon, "target", "clean", cwd=daemon.home / "pinned")
    assert refused.returncode == 75
    assert forge(daemon, "target", "unpin", cwd=daemon.home / "pinned").returncode == 0
    assert forge(daemon, "target", "clean", cwd=daemon.home / "pinned").returncode == 0
    assert not pinned.exists()


def test_what_a_killed_daemon_had_put_aside_is_deleted_by_the_next(daemon):
    kept = a_project(daemon, "app", 1)
    left = kept.rename(kept.parent / ".evicted-app-1234")
    daemon.processes[-1].kill()
    daemon.processes[-1].wait()
    daemon.start()
    daemon.wait_for(lambda: not left.exists(), "what was left is gone")


def test_a_pin_outlives_the_daemon(daemon):
    target = a_project(daemon, "app", 1)
    assert forge(daemon, "target", "pin", cwd=daemon.home / "app").returncode == 0
    daemon.processes[-1].kill()
    daemon.processes[-1].wait()
    daemon.start()
    daemon.wait_for(lambda: daemon.status()["target_dirs"], "the index is there")
    told = forge(daemon, "target", "clean", cwd=daemon.home / "app")
    assert told.returncode == 75, told.stdout
    assert target.exists()
