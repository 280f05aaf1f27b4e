"""The RAM disk under real builds: it vanishes, has parts of projects, holds temporary files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.conftest import forge_lines, freshness, may_mount, package, wait_until

linux_root = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0 or not may_mount(), reason="root on Linux only"
)

LINKER = """#!/bin/sh
echo "${{TMPDIR-none}}" >> {log}
exec cc "$@"
"""
SHOWS_TMPDIR = 'fn main() { println!("{:?}", std::env::var_os("TMPDIR")); }\n'


def gone(forge, how: str) -> None:
    """Take the disk away behind Forge's back."""
    if how == "unmounted":
        subprocess.run(["umount", "-l", forge.mount_point], check=True)
    else:
        forge.mount_point.rename(forge.home / "elsewhere")


@linux_root
@pytest.mark.parametrize(("kind", "how"), [("tmpfs", "unmounted"), ("shm", "renamed")])
def test_a_build_whose_disk_vanishes_goes_on_with_another_one(forge, held, kind, how):
    forge.configure(kind=kind)
    build = forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    (held.root / "began").unlink()
    gone(forge, how)
    wait_until(held.has_begun)  # cargo runs a second time
    held.let_go()
    _, said = build.communicate(timeout=60)
    assert build.returncode == 0, said
    (line,) = [one for one in forge_lines(said) if "RAM disk" in one]
    assert "is gone" in line or "is not the RAM disk any more" in line
    assert line.endswith("it goes on with another disk")
    assert (forge.target_dir(held.root) / "debug" / "tiny").exists()


@linux_root
def test_a_disk_that_vanishes_between_builds_is_noticed_and_made_anew(forge, tmp_path):
    forge.configure(kind="tmpfs")
    root = package(tmp_path / "p")
    assert forge.run("build", cwd=root).returncode == 0
    gone(forge, "unmounted")
    wait_until(lambda: forge.decisions("disk.lost"), patience_s=5)
    assert forge.run("build", cwd=root).returncode == 0
    assert (forge.target_dir(root) / "debug" / "tiny").exists()


def test_the_daemon_mounts_the_disk_before_the_first_build_where_that_is_wanted(forge, tmp_path):
    config = Path(forge.env["FORGE_CONFIG"])
    config.write_text(config.read_text().replace("[disk]", "[disk]\nmount_at_start = true"))
    assert forge.run("daemon", "start", cwd=tmp_path).returncode == 0
    wait_until(lambda: forge.status()["disk"]["phase"] == "mounted")


def fresh(forge, root) -> bool:
    done = forge.run("build", "--message-format=json", cwd=root)
    assert done.returncode == 0, done.stderr
    return all(freshness(done.stdout).values())


def test_a_project_changes_its_mode_and_nothing_is_built_again(forge, tmp_path):
    root = package(tmp_path / "p", build="fn main() {}\n")
    assert not fresh(forge, root)
    assert not (root / "target").exists()
    assert forge.run("target", "mode", "build-dir", cwd=root).returncode == 0
    assert fresh(forge, root)
    program = root / "target" / "debug" / "tiny"
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"hello\n"
    assert not (root / "target" / "debug" / "deps").exists()
    assert forge.run("target", "mode", "target-dir", cwd=root).returncode == 0
    assert fresh(forge, root)
    assert program.exists()  # the project's own: Forge deletes nothing there


def test_a_mode_outlives_the_daemon(forge, tmp_path):
    root = package(tmp_path / "p")
    forge.run("target", "mode", "build-dir", cwd=root)
    forge.run("daemon", "restart", cwd=root)
    assert forge.run("target", "mode", cwd=root).stdout == "build-dir\n"
    assert forge.run("build", cwd=root).returncode == 0
    assert (root / "target" / "debug" / "tiny").exists()


def linked_by(root: Path, log: Path) -> Path:
    """Let a package be linked by a script that notes its TMPDIR."""
    linker = root / "cc"
    linker.write_text(LINKER.format(log=log))
    linker.chmod(0o755)
    host = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    triple = next(line[6:] for line in host.splitlines() if line.startswith("host: "))
    (root / ".cargo").mkdir()
    (root / ".cargo" / "config.toml").write_text(f'[target.{triple}]\nlinker = "{linker}"\n')
    return root


@pytest.mark.parametrize("users", [None, "/var/tmp"])
def test_linkers_put_temporary_files_on_the_disk_and_programs_do_not(forge, tmp_path, users):
    log = tmp_path / "log"
    root = linked_by(package(tmp_path / "p", main=SHOWS_TMPDIR), log)
    done = forge.run("run", cwd=root, env={"TMPDIR": users})
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("None\n" if users is None else f'Some("{users}")\n')
    (seen,) = set(log.read_text().splitlines())
    if users:
        assert seen == users
    else:
        assert Path(seen).parent == forge.mount_point / ".tmp"
        wait_until(lambda: not Path(seen).exists())


def test_what_a_crash_has_left_is_swept_when_the_daemon_comes_back(forge, tmp_path):
    root = package(tmp_path / "p")
    assert forge.run("build", cwd=root).returncode == 0
    left = forge.mount_point / ".tmp" / "b9-999999999"
    left.mkdir(parents=True)
    (left / "rmeta").write_bytes(bytes(4096))
    forge.run("daemon", "restart", cwd=root)
    wait_until(lambda: not left.exists())


@linux_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
def test_another_user_of_the_machine_can_read_nothing(forge, tmp_path):
    forge.configure(kind="shm")
    forge.mount_point.parent.chmod(0o755)
    root = package(tmp_path / "p")
    assert forge.run("build", cwd=root).returncode == 0
    for what in (forge.mount_point, forge.target_dir(root)):
        tried = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", what],
            capture_output=True, text=True,
        )  # fmt: skip
        assert tried.returncode
        assert "denied" in tried.stderr
