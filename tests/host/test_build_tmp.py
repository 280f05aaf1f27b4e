"""Temporary directories of builds: made, deleted, and swept where a crash has left them."""

import os
import subprocess
from pathlib import Path

import pytest

from forge.core.disk import Disk, DiskKind
from forge.host.build_tmp import make_tmp_dir, remove_tmp_dir, sweep_tmp_dirs
from forge.host.ramdisk_linux import may_mount

NOBODYS_PID = 999_999_999


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "m"
    place.mkdir()
    return Disk(DiskKind.SHM, str(place), 16, os.stat(place).st_dev, "t")


def made(disk, name):
    path = make_tmp_dir(f"{disk.mount_point}/.tmp/{name}")
    assert path
    return path


def test_it_is_private_and_making_it_twice_is_no_harm(disk):
    path = made(disk, "b1-1")
    assert made(disk, "b1-1") == path
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["a link", "a file", "nothing above"])
def test_where_it_cannot_be_made_the_build_does_without(disk, tmp_path, what):
    top = f"{disk.mount_point}/.tmp"
    if what == "a link":
        os.mkdir(top)
        os.symlink(tmp_path, f"{top}/b1-1")
    elif what == "a file":
        os.close(os.open(top, os.O_CREAT))
    else:
        os.rmdir(disk.mount_point)
    assert make_tmp_dir(f"{top}/b1-1") is None


def test_links_in_it_are_deleted_and_what_they_point_to_is_not(disk, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    path = made(disk, "b1-1")
    os.symlink(outside, f"{path}/link")
    os.link(outside / "kept", f"{path}/hard")
    os.makedirs(f"{path}/deep/er")
    os.mkfifo(f"{path}/deep/fifo")
    assert remove_tmp_dir(disk, path)
    assert (outside / "kept").exists()


@pytest.mark.skipif(not may_mount(), reason="only root may mount")
def test_what_is_mounted_in_it_is_left_alone(disk):
    path = made(disk, "b1-1")
    os.mkdir(f"{path}/m")
    subprocess.run(["mount", "-t", "tmpfs", "none", f"{path}/m"], check=True)
    try:
        open(f"{path}/m/kept", "w").close()
        assert remove_tmp_dir(disk, path)
        (aside,) = Path(disk.mount_point).glob(".evicted-*")
        assert (aside / "m" / "kept").exists()
    finally:
        (mounted,) = Path(disk.mount_point).glob(".*/m")
        subprocess.run(["umount", mounted], check=True)


def test_another_disk_in_its_place_is_left_alone(disk):
    path = made(disk, "b1-1")
    other = Disk(disk.kind, disk.mount_point, 16, disk.device_id + 1, "u")
    assert not remove_tmp_dir(other, path)


def test_those_whose_launcher_is_gone_are_swept(disk):
    alive = made(disk, f"b1-{os.getpid()}")
    dead = made(disk, f"b2-{NOBODYS_PID}")
    odd = made(disk, "odd")
    assert sorted(sweep_tmp_dirs(disk)) == sorted([dead, odd])
    assert os.path.isdir(alive)
    assert sweep_tmp_dirs(disk) == []
