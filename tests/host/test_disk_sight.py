"""The watch over the disk: it is gone, read-only, or a target dir came or went."""

import queue
import subprocess

import pytest

from forge.core.disk import Disk, DiskKind, DiskSpec
from forge.errors import DiskUnavailable
from forge.host.disk_sight import DiskSight
from forge.host.ramdisk_linux import LinuxRamDisk, may_mount


@pytest.fixture
def seen():
    return queue.Queue()


@pytest.fixture
def door(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    return LinuxRamDisk(state, cache_dir=tmp_path / "cache")


@pytest.fixture
def sight(door, seen):
    made = DiskSight(door.is_writable, seen.put)
    yield made
    made.close()


def a_disk(door, tmp_path, kind=DiskKind.DIRECTORY):
    return door.ensure(DiskSpec(str(tmp_path / "m"), 16, 10_000, kind))


@pytest.mark.parametrize("how", ["deleted", "renamed", "another in its place"])
def test_a_disk_that_is_gone_is_noticed_within_a_second(sight, seen, door, tmp_path, how):
    disk = a_disk(door, tmp_path)
    assert sight.watch(disk) is None
    (tmp_path / "m").rename(tmp_path / "elsewhere")
    if how == "another in its place":
        a_disk(door, tmp_path)
    told = seen.get(timeout=5)
    assert told.disk == disk
    assert told.lost


@pytest.mark.skipif(not may_mount(), reason="only root may mount")
@pytest.mark.parametrize("options", [[], ["-l"]])
def test_an_unmounted_tmpfs_is_noticed(sight, seen, door, tmp_path, options):
    disk = a_disk(door, tmp_path, DiskKind.TMPFS)
    sight.watch(disk)
    subprocess.run(["umount", *options, disk.mount_point], check=True)
    assert seen.get(timeout=5).lost


@pytest.mark.skipif(not may_mount(), reason="only root may mount")
def test_a_read_only_remount_is_noticed_and_so_is_its_end(sight, seen, door, tmp_path):
    disk = a_disk(door, tmp_path, DiskKind.TMPFS)
    try:
        sight.watch(disk)
        subprocess.run(["mount", "-o", "remount,ro", disk.mount_point], check=True)
        told = seen.get(timeout=5)
        assert (told.lost, told.writable) == (None, False)
        subprocess.run(["mount", "-o", "remount,rw", disk.mount_point], check=True)
        assert seen.get(timeout=5).writable
    finally:
        subprocess.run(["umount", disk.mount_point], check=True)


def test_a_target_dir_that_comes_or_goes_behind_our_back_is_told(sight, seen, door, tmp_path):
    disk = a_disk(door, tmp_path)
    sight.watch(disk)
    (tmp_path / "m" / "app-0123").mkdir()
    assert seen.get(timeout=5).changed
    (tmp_path / "m" / "app-0123").rename(tmp_path / "m" / "other")
    assert seen.get(timeout=5).changed
    (tmp_path / "m" / ".hidden").touch()
    with pytest.raises(queue.Empty):
        seen.get(timeout=1.2)


def test_a_disk_that_is_taken_away_as_asked_is_not_missed(sight, seen, door, tmp_path):
    disk = a_disk(door, tmp_path)
    sight.watch(disk)
    sight.unwatch()
    door.unmount(disk)
    with pytest.raises(queue.Empty):
        seen.get(timeout=1.2)


def test_what_cannot_be_told_says_nothing_and_looking_goes_on(seen):
    answers = [OSError(24, "Too many open files"), DiskUnavailable("it is gone")]

    def look(_disk):
        raise answers.pop(0)

    sight = DiskSight(look, seen.put, every_s=0.05)
    try:
        why = sight.watch(Disk(DiskKind.SHM, "/nowhere/at/all", 16, 1, "t"))
        assert why, "there is nothing to watch there"
        assert seen.get(timeout=5).lost == "it is gone"
    finally:
        sight.close()
