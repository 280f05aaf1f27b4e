import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path

import pytest

from forge.core.disk import DiskKind, DiskSpec
from forge.errors import DiskBusy, DiskTaken, DiskUnavailable, ResizeRefused
from forge.host.mounts import mount_at, read_mounts
from forge.host.ramdisk_linux import (
    DISK_CAVEAT,
    NOSWAP_CAVEAT,
    SIZE_CAVEAT,
    SWAP_CAVEAT,
    may_mount,
)
from tests.host.linux_disks import a_place, door, spec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the Linux door")
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or not may_mount(), reason="mounting a tmpfs needs CAP_SYS_ADMIN"
)
MIB = 1024 * 1024


@pytest.fixture
def place():
    with a_place() as where:
        yield where


@needs_root
@pytest.mark.privileged
class TestTmpfs:
    def test_it_is_mounted_private_sized_and_out_of_swap(self, tmp_path, place):
        disk = door(tmp_path).ensure(spec(place))
        mount = mount_at(place)
        assert mount
        assert {"mode=700", "size=65536k", "nr_inodes=5000", "nosuid", "nodev"} <= mount.options
        assert (disk.size_mib, disk.adopted) == (64, False)
        if "noswap" in mount.options:
            assert disk.caveats == ()
        assert os.stat(place).st_mode & 0o777 == 0o700

    def test_an_older_kernel_without_noswap_is_said(self, tmp_path, place):
        disk = door(tmp_path, noswap=False).ensure(spec(place))
        assert disk.caveats == (NOSWAP_CAVEAT,)

    def test_one_that_is_there_is_adopted_with_all_that_is_on_it(self, tmp_path, place):
        first = door(tmp_path).ensure(spec(place))
        Path(place, "kept").write_text("x")
        again = door(tmp_path).ensure(spec(place, size_mib=128))
        assert again.adopted
        assert (again.token, again.size_mib) == (first.token, 64)
        assert Path(place, "kept").exists()
        assert len([m for m in read_mounts() if m.mount_point == place]) == 1

    def test_one_that_was_half_made_is_finished(self, tmp_path, place):
        door(tmp_path).ensure(spec(place))
        Path(place, ".opta-forge-disk.json").unlink()  # killed between the mount and the marker
        assert door(tmp_path).ensure(spec(place)).token

    def test_a_strangers_mount_is_left_alone(self, tmp_path, place):
        Path(place).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "stranger", place], check=True)
        with pytest.raises(DiskTaken, match="stranger"):
            door(tmp_path).ensure(spec(place))

    def test_a_directory_with_files_is_not_hidden(self, tmp_path, place):
        Path(place).mkdir()
        Path(place, "thesis.tex").write_text("x")
        with pytest.raises(DiskTaken, match="1 entries"):
            door(tmp_path).ensure(spec(place))

    def test_it_is_resized_while_in_use_but_never_below_use(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place))
        Path(place, "big").write_bytes(bytes(8 * MIB))
        assert ramdisk.resize(disk, 96).size_mib == 96
        with pytest.raises(ResizeRefused, match=r"4 MiB is below the 8 MiB in use"):
            ramdisk.resize(disk, 4)
        assert ramdisk.measure(disk).total_bytes == 96 * MIB

    def test_its_use_is_measured(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place))
        Path(place, "big").write_bytes(bytes(8 * MIB))
        usage = ramdisk.measure(disk)
        assert 8 * MIB <= usage.used_bytes < 9 * MIB
        assert usage.total_files == 5000

    def test_a_busy_one_is_not_unmounted_and_its_user_is_named(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place))
        with (
            open(os.path.join(place, "open"), "w"),
            pytest.raises(DiskBusy, match=str(os.getpid())),
        ):
            ramdisk.unmount(disk)
        ramdisk.unmount(disk)
        assert mount_at(place) is None

    def test_force_unmounts_a_busy_one(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place))
        with open(os.path.join(place, "open"), "w"):
            ramdisk.unmount(disk, force=True)
            assert mount_at(place) is None

    def test_what_replaced_it_is_neither_measured_nor_unmounted(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place))
        subprocess.run(["umount", place], check=True)
        with pytest.raises(DiskUnavailable):
            ramdisk.measure(disk)
        subprocess.run(["mount", "-t", "tmpfs", "stranger", place], check=True)
        with pytest.raises(DiskUnavailable, match="not the RAM disk any more"):
            ramdisk.unmount(disk)
        assert mount_at(place)

    def test_auto_takes_it_first(self, tmp_path, place):
        assert door(tmp_path).ensure(spec(place, kind=None)).kind is DiskKind.TMPFS


class TestDirectories:
    @pytest.mark.parametrize(
        ("kind", "caveats"),
        [
            (DiskKind.SHM, (SIZE_CAVEAT, SWAP_CAVEAT)),
            (DiskKind.DIRECTORY, (SIZE_CAVEAT, DISK_CAVEAT)),
        ],
    )
    def test_without_root_a_private_directory_serves_and_says_what_it_lacks(
        self, tmp_path, place, kind, caveats
    ):
        disk = door(tmp_path).ensure(spec(place, kind))
        assert (disk.kind, disk.caveats, disk.size_mib) == (kind, caveats, 64)
        assert os.stat(place).st_mode & 0o777 == 0o700
        assert door(tmp_path).ensure(spec(place, kind)).adopted

    def test_forge_keeps_its_size(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place, DiskKind.SHM))
        Path(place, "big").write_bytes(bytes(8 * MIB))
        usage = ramdisk.measure(disk)
        assert usage.total_bytes == 64 * MIB
        assert usage.used_bytes >= 8 * MIB
        assert usage.free_bytes <= 56 * MIB
        with pytest.raises(ResizeRefused):
            ramdisk.resize(disk, 4)
        assert ramdisk.resize(disk, 32).size_mib == 32
        assert door(tmp_path).ensure(spec(place, DiskKind.SHM)).size_mib == 32

    def test_unmounting_deletes_what_is_on_it_and_nothing_behind_links(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place, DiskKind.SHM))
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept").write_text("x")
        Path(place, "link").symlink_to(outside)
        Path(place, "dir").mkdir()
        Path(place, "dir/link").symlink_to(outside)
        ramdisk.unmount(disk)
        assert not os.path.lexists(place)
        assert (outside / "kept").exists()

    def test_a_directory_in_use_is_not_deleted(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place, DiskKind.SHM))
        with open(os.path.join(place, "open"), "w"), pytest.raises(DiskBusy):
            ramdisk.unmount(disk)

    def test_a_directory_with_somebodys_files_is_not_taken(self, tmp_path, place):
        Path(place).mkdir()
        Path(place, "thesis.tex").write_text("x")
        with pytest.raises(DiskTaken):
            door(tmp_path).ensure(spec(place, DiskKind.DIRECTORY))

    def test_a_link_in_its_place_is_not_followed(self, tmp_path, place):
        (tmp_path / "elsewhere").mkdir()
        os.symlink(tmp_path / "elsewhere", place)
        with pytest.raises(DiskTaken):
            door(tmp_path).ensure(spec(place, DiskKind.DIRECTORY))

    def test_auto_falls_back_where_nothing_may_be_mounted(self, tmp_path):
        ramdisk = door(tmp_path, privileged=lambda: False)
        kind, where = ramdisk.place_of(None)
        assert kind is DiskKind.DIRECTORY, "the shm of this test is no tmpfs"
        disk = ramdisk.ensure(DiskSpec(where, 64, 5000))
        assert disk.kind is DiskKind.DIRECTORY

    def test_a_tmpfs_without_root_is_refused_with_the_way_out(self, tmp_path, place):
        with pytest.raises(DiskUnavailable, match="needs root"):
            door(tmp_path, privileged=lambda: False).ensure(spec(place))

    def test_the_macos_kind_is_refused(self, tmp_path, place):
        with pytest.raises(DiskUnavailable, match="not for Linux"):
            door(tmp_path).ensure(spec(place, DiskKind.APFS))


def test_only_the_disk_that_is_meant_is_found(tmp_path, place):
    ramdisk = door(tmp_path, privileged=lambda: False)
    assert ramdisk.identify(spec(place, DiskKind.SHM)) is None
    made = ramdisk.ensure(spec(place, DiskKind.SHM))
    found = ramdisk.identify(spec(place, DiskKind.SHM))
    assert found
    assert (found.token, found.adopted) == (made.token, True)
    assert ramdisk.identify(spec(place, DiskKind.TMPFS)) is None
    _, default = ramdisk.place_of(None)
    assert ramdisk.identify(DiskSpec(default, 64, 5000)) is None, "another place"


class TestProof:
    def test_a_full_table_of_open_files_does_not_lose_the_disk(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place, DiskKind.SHM))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                ramdisk.measure(disk)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert ramdisk.measure(disk).total_bytes == 64 * MIB

    @pytest.mark.parametrize("instead", ["nothing", "link", "directory", "another", "garbage"])
    def test_a_disk_without_its_own_marker_is_lost(self, tmp_path, place, instead):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place, DiskKind.SHM))
        marker = Path(place, ".opta-forge-disk.json")
        text = marker.read_text()
        marker.unlink()
        if instead == "link":
            (tmp_path / "elsewhere").write_text(text)
            marker.symlink_to(tmp_path / "elsewhere")
        elif instead == "directory":
            marker.mkdir()
        elif instead != "nothing":
            marker.write_text(text.replace(disk.token, "0") if instead == "another" else "{")
        with pytest.raises(DiskUnavailable, match="not the RAM disk any more"):
            ramdisk.measure(disk)


def test_identifying_waits_for_a_change_that_is_under_way(tmp_path, place):
    ramdisk = door(tmp_path)
    made = ramdisk.ensure(spec(place, DiskKind.SHM))
    with open(tmp_path / "disk.lock") as lock, ThreadPoolExecutor(1) as thread:
        flock(lock, LOCK_EX)
        found = thread.submit(ramdisk.identify, spec(place, DiskKind.SHM))
        assert not wait([found], timeout=0.2).done
        flock(lock, LOCK_UN)
        disk = found.result(timeout=20)
    assert disk
    assert disk.token == made.token


def test_mounts_with_blanks_in_their_names_are_read(tmp_path):
    recording = tmp_path / "mounts"
    recording.write_text("a\\040b /mnt/x\\040y tmpfs rw,size=1k 0 0\nshort\n")
    (mount,) = read_mounts(recording)
    assert (mount.source, mount.mount_point) == ("a b", "/mnt/x y")
