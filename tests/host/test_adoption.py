"""Moving a project's `target/` onto the RAM disk and back: nothing is lost, nothing else goes."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from forge.client.adoptable import find_targets
from forge.core.disk import Disk
from forge.errors import SnapshotFailed, SnapshotRefused, TargetDirBusy, TreeRefused
from forge.host import adoption
from forge.host.file_copies import FileCopies
from forge.host.restoring import restore
from forge.host.snapshots import SnapshotStore
from tests.host.trees import add_special, content, disk_at, odd_tree
from tests.scenarios.conftest import may_mount

PLENTY = 1 << 40


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    root.mkdir()
    (root / "Cargo.toml").write_text("[package]\n")
    odd_tree(root / "target")
    return root


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "m").mkdir()
    return disk_at(tmp_path / "m")


def adopt(disk: Disk, project: Path, room_bytes: int = PLENTY) -> Path:
    path = Path(disk.mount_point) / "app-1"
    adoption.adopt(disk, str(project / "target"), str(path), room_bytes)
    return path


def test_it_goes_to_the_disk_and_comes_back_as_it_was(project, disk):
    before = content(project / "target")
    path = adopt(disk, project)
    assert content(path) == before
    assert os.listdir(project) == ["Cargo.toml"]
    (project / "target").symlink_to(path)  # as builds.link_target puts it
    adoption.disown(str(path), str(project / "target"))
    assert content(project / "target") == before
    assert sorted(os.listdir(project)) == ["Cargo.toml", "target"]
    assert os.listdir(disk.mount_point) == []


def unmark(project: Path) -> None:
    (project / "target" / "CACHEDIR.TAG").unlink()


def mark_by_link(project: Path) -> None:
    tag = project / "target" / "CACHEDIR.TAG"
    tag.rename(project / "tag")
    tag.symlink_to(project / "tag")


def drop_manifest(project: Path) -> None:
    (project / "Cargo.toml").unlink()


def put_a_link(project: Path) -> None:
    (project / "target").rename(project / "elsewhere")
    (project / "target").symlink_to(project / "elsewhere")


@pytest.mark.parametrize(
    "change",
    [unmark, mark_by_link, drop_manifest, put_a_link, lambda p: add_special(p / "target")],
)
def test_what_is_no_target_dir_or_would_lose_something_is_left_alone(project, disk, change):
    change(project)
    before = content(project)
    with pytest.raises(TreeRefused):
        adopt(disk, project)
    assert content(project) == before
    assert os.listdir(disk.mount_point) == []


def test_one_that_a_cargo_uses_is_left_alone(project, disk):
    with open(project / "target" / "debug" / ".cargo-lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TargetDirBusy):
            adopt(disk, project)
    assert (project / "target" / "debug").exists()


def test_one_that_does_not_fit_is_left_alone(project, disk):
    with pytest.raises(SnapshotFailed, match="only"):
        adopt(disk, project, 1000)
    assert (project / "target" / "debug").exists()


def test_one_that_is_on_the_disk_already_is_not_overwritten(project, disk):
    before = content(adopt(disk, project))
    odd_tree(project / "target")
    with pytest.raises(TreeRefused, match="there already"):
        adopt(disk, project)
    assert content(Path(disk.mount_point) / "app-1") == before
    assert (project / "target" / "debug").exists()


def test_nothing_is_deleted_when_the_copy_is_not_the_same(project, disk, monkeypatch):
    """A copy with all sizes and times right, and one wrong bit."""
    right = FileCopies.copy

    def wrong(self: FileCopies, source: int, path: str, mode: int) -> int:
        copy = right(self, source, path, mode)
        if path.endswith("liba-1.rlib"):
            os.pwrite(copy, b"\0\1\2\3", 1000)
        return copy

    monkeypatch.setattr(FileCopies, "copy", wrong)
    before = content(project)
    with pytest.raises(TreeRefused, match="another content"):
        adopt(disk, project)
    assert content(project) == before
    assert os.listdir(disk.mount_point) == []


def test_nothing_is_deleted_when_it_changes_meanwhile(project, disk):
    def change(done: int, of: int) -> None:
        if done == of // 2:  # copied, and not yet compared
            (project / "target" / "late").write_text("late")

    with pytest.raises(TreeRefused, match="changed"):
        adoption.adopt(disk, str(project / "target"), f"{disk.mount_point}/app-1", PLENTY, change)
    assert (project / "target" / "late").exists()
    assert (project / "target" / "debug" / "liba.rlib").exists()


def test_it_can_go_into_a_snapshot_and_comes_out_as_it_was(project, disk, tmp_path):
    store = SnapshotStore(str(tmp_path / "s" / "snapshots"), reserve_bytes=0)
    before = content(project / "target")
    path = f"{disk.mount_point}/app-1"
    snapshot = adoption.keep(store, str(project / "target"), path, str(project), PLENTY)
    assert os.listdir(project) == ["Cargo.toml"]
    assert content(restore(store, snapshot, disk, PLENTY)) == before


def test_nothing_is_deleted_when_the_snapshot_cannot_be_read_back(project, tmp_path, monkeypatch):
    store = SnapshotStore(str(tmp_path / "s" / "snapshots"), reserve_bytes=0)

    def refuse(self: SnapshotStore, snapshot: object) -> None:
        raise SnapshotRefused("damaged")

    monkeypatch.setattr(SnapshotStore, "check", refuse)
    with pytest.raises(SnapshotRefused):
        adoption.keep(store, str(project / "target"), "/m/app-1", str(project), PLENTY)
    assert (project / "target" / "debug" / "liba.rlib").exists()


def test_a_target_of_the_users_is_not_overwritten_by_what_comes_back(project, disk):
    path = adopt(disk, project)
    (project / "target").mkdir()
    with pytest.raises(TreeRefused, match="there already"):
        adoption.disown(str(path), str(project / "target"))
    assert (path / "debug" / "liba.rlib").exists()


@pytest.mark.privileged
def test_one_with_something_mounted_in_it_is_left_alone(project, disk):
    if not may_mount():
        pytest.skip("mounting a tmpfs needs root on Linux")
    inside = project / "target" / "mounted"
    inside.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(inside)], check=True)
    try:
        with pytest.raises(TreeRefused, match="another file system"):
            adopt(disk, project)
        assert os.path.ismount(inside)
    finally:
        subprocess.run(["umount", "-l", str(inside)], check=True)


def test_all_below_a_directory_are_found_but_not_through_links(project, tmp_path):
    nested = tmp_path / "group" / "deeper"
    nested.mkdir(parents=True)
    shutil.copytree(project, nested / "other", symlinks=True)
    (tmp_path / "group" / "link").symlink_to(project)
    (nested / "unmarked").mkdir()
    (nested / "unmarked" / "target").mkdir()
    found = find_targets(str(tmp_path), recursive=True)
    assert [one.path for one in found] == [
        str(project / "target"),
        str(nested / "other" / "target"),
    ]
    assert found[0].size_bytes > 300_000
    assert find_targets(str(project), recursive=False)[0].project == str(project)
    with pytest.raises(TreeRefused, match="no target dir"):
        find_targets(str(tmp_path / "group"), recursive=False)
