"""Snapshots, seeding and adoption with real cargo: what was built stays built, and no more."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.scenarios.conftest import (
    PrivateForge,
    cargo,
    freshness,
    package,
    wait_until,
)

SNAPSHOTS = "[snapshots]\nenabled = true"
OUT_DIR_USER = """
const N: i32 = include!(concat!(env!("OUT_DIR"), "/n.rs"));
fn main() { println!("{} {N}", env!("OUT_DIR")); }
"""
OUT_DIR_SCRIPT = """
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::write(format!("{out}/n.rs"), "42").unwrap();
    println!("cargo:rerun-if-changed=build.rs");
}
"""


@pytest.fixture(autouse=True)
def with_snapshots(forge: PrivateForge) -> None:
    forge.configure(builds="gates = false", more=SNAPSHOTS)


def build(forge: PrivateForge, root: Path, *argv: str) -> dict[str, bool]:
    done = forge.run("build", "--message-format=json", *argv, cwd=root)
    assert done.returncode == 0, done.stderr
    return freshness(done.stdout)


def snapshots(forge: PrivateForge) -> list[dict[str, str]]:
    listed = forge.run("target", "snapshots", "--json", cwd=Path("/"))
    found: list[dict[str, str]] = json.loads(listed.stdout)["results"]
    return found


def test_all_is_fresh_at_another_mount_point_but_for_paths_that_were_compiled_in(forge, tmp_path):
    root = package(tmp_path / "p", main=OUT_DIR_USER, build=OUT_DIR_SCRIPT)
    build(forge, root)
    old = forge.mount_point
    forge.run("disk", "unmount", cwd=root)
    forge.mount_point = forge.home / "elsewhere"
    if not old.is_relative_to(forge.home):  # without privileges: beside the old one
        forge.mount_point = old.with_name(f"{old.name}-2")
    forge.configure(builds="gates = false", more=SNAPSHOTS)
    forge.run("daemon", "restart", cwd=root)
    assert all(build(forge, root).values())
    printed = subprocess.run([forge.target_dir(root) / "debug" / "tiny"], capture_output=True,
                             text=True).stdout.split()  # fmt: skip
    assert printed[1] == "42"
    assert printed[0].startswith(f"{old}/")  # documented: it is a string in the program by now


def test_after_the_disk_was_unmounted_only_what_changed_is_built(forge, workspace):
    build(forge, workspace)
    assert forge.run("disk", "unmount", cwd=workspace).returncode == 0
    assert not forge.target_dir(workspace).exists()
    assert [one["root"] for one in snapshots(forge)] == [str(workspace)]
    assert all(build(forge, workspace).values())
    (restored,) = [d for d in forge.decisions("target.task_done") if d["task"] == "restore"]
    assert restored["size_bytes"] > 100_000
    source = workspace / "shout" / "src" / "lib.rs"
    source.write_text(source.read_text() + "// changed\n")
    fresh = build(forge, workspace)
    assert {name.split()[1] for name, is_fresh in fresh.items() if not is_fresh} >= {"shout"}
    assert any(fresh.values())


def test_the_daemon_saves_before_it_is_ended_from_outside(forge, workspace):
    build(forge, workspace)
    pid = forge.daemon_pid()
    wait_until(lambda: forge.status()["target_dirs"][0]["size_bytes"])
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: forge.decisions("daemon.ended"))
    assert [d["target_dir"] for d in forge.decisions("target.saved")] == [
        forge.target_dir(workspace).name
    ]


def test_a_daemon_that_was_killed_in_the_middle_leaves_nothing_that_counts(forge, workspace):
    build(forge, workspace)
    draft = forge.state_dir / "snapshots" / forge.target_dir(workspace).name / ".draft-1-x"
    draft.mkdir(parents=True)
    (draft / "0.tar.zst").write_text("half")
    half = forge.mount_point / ".draft-1-y"
    (half / "debug").mkdir(parents=True)
    os.kill(forge.daemon_pid(), signal.SIGKILL)
    forge.run("daemon", "restart", cwd=workspace)
    wait_until(lambda: not draft.exists() and not half.exists())
    assert all(build(forge, workspace).values())


def test_a_snapshot_that_is_damaged_costs_a_build_from_scratch_and_no_more(forge, workspace):
    build(forge, workspace)
    forge.run("disk", "unmount", cwd=workspace)
    (layer,) = (forge.state_dir / "snapshots").rglob("0.tar.zst")
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 1
    layer.write_bytes(data)
    done = forge.run("build", cwd=workspace)
    assert done.returncode == 0
    assert "digest differs; building anew" in done.stderr
    assert "Compiling" in done.stderr


def test_save_restore_and_unsave_by_hand(forge, workspace):
    build(forge, workspace)
    saved = forge.run("target", "save", cwd=workspace)
    assert saved.returncode == 0, saved.stderr
    (one,) = snapshots(forge)
    again = forge.run("target", "restore", cwd=workspace)
    assert "there already; nothing was done" in again.stdout
    (forge.target_dir(workspace) / "debug" / "hello").unlink()
    assert forge.run("target", "restore", "--replace", cwd=workspace).returncode == 0
    assert (forge.target_dir(workspace) / "debug" / "hello").exists()
    assert all(build(forge, workspace).values())
    assert forge.run("target", "unsave", one["id"], cwd=workspace).returncode == 0
    assert forge.run("target", "unsave", one["id"], cwd=workspace).returncode == os.EX_NOINPUT


def git(root: Path, *argv: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(root), *identity, *argv], check=True, capture_output=True)


@pytest.mark.real_cargo
def test_a_new_worktree_has_its_dependencies_fresh_and_never_the_code_of_the_other(forge, tmp_path):
    """The worktree is older than the build that it is made from, which is what deceives cargo."""
    main = package(
        tmp_path / "main",
        main='fn main() { println!("{} main", itoa::Buffer::new().format(1)); }\n',
        manifest='[dependencies]\nitoa = "1"\n',
    )
    if cargo("generate-lockfile", cwd=main).returncode:
        pytest.skip("the crates registry does not answer")
    git(main, "init", "-q")
    git(main, "add", ".")
    git(main, "commit", "-qm", "x")
    git(main, "worktree", "add", "-q", str(tmp_path / "other"))
    other = tmp_path / "other"
    source = other / "src" / "main.rs"
    source.write_text(source.read_text().replace('main"', 'other"'))
    build(forge, main)
    fresh = build(forge, other)
    assert {name.split()[1]: is_fresh for name, is_fresh in fresh.items()} == {
        "itoa": True,
        "tiny": False,
    }
    printed = subprocess.run([forge.target_dir(other) / "debug" / "tiny"], capture_output=True)
    assert printed.stdout == b"1 other\n"
    assert all(build(forge, main).values())


def test_a_target_of_cargos_own_is_adopted_fresh_and_comes_back_fresh(forge, workspace):
    assert cargo("build", cwd=workspace).returncode == 0
    shown = forge.run("target", "adopt", "-r", str(workspace.parent), "--dry-run", cwd=workspace)
    assert f"{workspace}/target" in shown.stdout
    refused = forge.run("target", "adopt", cwd=workspace)
    assert refused.returncode == os.EX_USAGE
    assert (workspace / "target" / "debug").exists()
    adopted = forge.run("target", "adopt", "--yes", cwd=workspace)
    assert adopted.returncode == 0, adopted.stderr
    assert not (workspace / "target").exists()
    assert all(build(forge, workspace).values())
    assert forge.run("target", "disown", cwd=workspace).returncode == 0
    plain = cargo("build", "--message-format=json", cwd=workspace)
    assert all(freshness(plain.stdout).values())
    assert not forge.target_dir(workspace).exists()


def test_one_that_is_adopted_into_a_snapshot_comes_with_the_next_build(forge, workspace):
    assert cargo("build", cwd=workspace).returncode == 0
    adopted = forge.run("target", "adopt", "--yes", "--snapshot", cwd=workspace)
    assert adopted.returncode == 0, adopted.stderr
    assert not (workspace / "target").exists()
    assert all(build(forge, workspace).values())
