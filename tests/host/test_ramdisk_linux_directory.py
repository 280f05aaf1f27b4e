"""The kinds that are directories: taken away whole, and measured by walking."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from forge.core.disk import Disk, DiskKind
from forge.errors import DiskBusy
from forge.host.disk_marker import DiskMarker
from forge.host.disk_usage import TreeSize
from forge.host.mounts import read_mounts
from forge.host.ramdisk_linux import (
    may_mount,
)
from forge.host.ramdisk_linux_directory import TreeMeter, put_aside
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


class TestTakingADirectoryAway:
    @pytest.fixture
    def room(self):
        """A directory to make disks in, as a user whom permissions bind; root becomes 12345."""
        with tempfile.TemporaryDirectory(prefix="forge-disk-") as name:
            uid = os.getuid()
            os.chown(name, uid or 12345, -1)
            if uid == 0:
                os.setresuid(12345, 12345, 0)
            try:
                yield Path(name)
            finally:
                if uid == 0:
                    os.setresuid(0, 0, 0)
                os.chmod(name, 0o700)
                subprocess.run(["chmod", "-R", "u+rwx", name], check=True)

    def test_what_a_build_made_read_only_goes_too(self, room):
        ramdisk = door(room)
        place = room / "builds"
        disk = ramdisk.ensure(spec(str(place), DiskKind.SHM))
        (place / "app/inner/deep").mkdir(parents=True)
        (place / "app/inner/deep/file").touch()
        for name, mode in (("app/inner/deep", 0), ("app/inner", 0o500), ("app", 0o500), ("", 0)):
            (place / name).chmod(mode)
        place.chmod(0o500)
        ramdisk.unmount(disk)
        assert sorted(os.listdir(room)) == ["disk.lock", "shm"]

    def test_its_place_is_free_at_once_while_a_build_still_writes(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place, DiskKind.SHM))
        for number in range(300):  # takes longer to delete than the writer pauses
            Path(place, f"old{number}").mkdir()
        inside = os.open(place, os.O_RDONLY)
        ended = threading.Event()

        def write():
            number = 0
            while not ended.is_set():
                number += 1
                time.sleep(0.0005)
                with suppress(FileNotFoundError):  # deleted: nothing can be made in it any more
                    os.mkdir(f"d{number}", dir_fd=inside)
                    os.close(os.open(f"d{number}/f", os.O_CREAT | os.O_WRONLY, dir_fd=inside))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            ramdisk.unmount(disk, force=True)
            again = ramdisk.ensure(spec(place, DiskKind.SHM))
        finally:
            ended.set()
            writer.join()
            os.close(inside)
        assert (again.adopted, again.token != disk.token) == (False, True)
        ramdisk.ensure(spec(place, DiskKind.SHM))
        assert os.listdir(Path(place).parent) == ["builds"]

    def test_a_new_disk_is_made_while_the_old_one_is_being_deleted(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place, DiskKind.SHM))
        Path(place, "file").touch()
        marker = DiskMarker(disk.token, os.getuid(), disk.kind, disk.size_mib)
        aside = put_aside(place, marker)  # and here the daemon is killed
        assert aside
        assert not ramdisk.ensure(spec(place, DiskKind.SHM)).adopted
        assert os.listdir(Path(place).parent) == ["builds"]

    @pytest.mark.skipif(os.getuid() != 0, reason="gives a directory away, which needs root")
    def test_what_cannot_be_deleted_stays_ours_until_it_can(self, room):
        ramdisk = door(room)
        place = room / "builds"
        disk = ramdisk.ensure(spec(str(place), DiskKind.SHM))
        (place / "theirs").mkdir()
        (place / "theirs/file").touch()
        self.give_away(place / "theirs", 0)
        ramdisk.unmount(disk)
        assert not ramdisk.ensure(spec(str(place), DiskKind.SHM)).adopted
        (left,) = room.glob("builds.gone-*")
        (theirs,) = [path for path in left.iterdir() if path.is_dir()]
        self.give_away(theirs, 12345)
        assert ramdisk.ensure(spec(str(place), DiskKind.SHM)).adopted
        assert sorted(os.listdir(room)) == ["builds", "disk.lock", "shm"]

    @staticmethod
    def give_away(path, uid):
        os.setresuid(0, 0, 0)
        os.chown(path, uid, -1)
        os.setresuid(12345, 12345, 0)

    def test_where_the_parent_is_fixed_it_is_emptied_in_its_place(self, room):
        ramdisk = door(room)
        place = room / "fixed/builds"
        disk = ramdisk.ensure(spec(str(place), DiskKind.SHM))
        (place / "app").mkdir()
        (place / "app/file").touch()
        place.parent.chmod(0o500)
        ramdisk.unmount(disk)
        assert os.listdir(place) == []
        assert not ramdisk.ensure(spec(str(place), DiskKind.SHM)).adopted

    @pytest.mark.skipif(os.getuid() != 0, reason="gives a directory away, which needs root")
    def test_one_that_cannot_be_emptied_in_its_place_stays_a_disk(self, room):
        ramdisk = door(room)
        place = room / "fixed/builds"
        disk = ramdisk.ensure(spec(str(place), DiskKind.SHM))
        (place / "theirs").mkdir()
        (place / "theirs/file").touch()
        self.give_away(place / "theirs", 0)
        place.parent.chmod(0o500)
        with pytest.raises(DiskBusy, match="cannot be emptied"):
            ramdisk.unmount(disk)
        assert ramdisk.ensure(spec(str(place), DiskKind.SHM)).token == disk.token

    def test_what_only_looks_like_a_leftover_is_kept(self, tmp_path, place):
        ramdisk = door(tmp_path)
        other = ramdisk.ensure(spec(str(tmp_path / "other"), DiskKind.SHM))
        parent = Path(place).parent
        unmarked = parent / f"builds.gone-{'a' * 32}"
        (unmarked / "thesis").mkdir(parents=True)
        link = parent / f"builds.gone-{'b' * 32}"
        link.symlink_to(other.mount_point)
        named = ramdisk.ensure(spec(str(parent / "builds.gone-by"), DiskKind.SHM))
        ramdisk.ensure(spec(place, DiskKind.SHM))
        assert (unmarked / "thesis").exists()
        assert link.is_symlink()
        assert ramdisk.measure(other).used_files >= 2
        assert ramdisk.measure(named).used_files >= 2

    @needs_root
    @pytest.mark.privileged
    @pytest.mark.parametrize("options", [["-t", "tmpfs", "x"], ["--bind", "{kept}"]])
    def test_what_is_mounted_in_it_is_never_entered(self, tmp_path, place, options):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place, DiskKind.SHM))
        kept = Path(place).parent / "kept"  # of the same file system: its device tells nothing
        inner = Path(place, "app/inner")
        for path in (kept, inner):
            path.mkdir(parents=True)
        inner.chmod(0o500)
        argv = ["mount", *(option.format(kept=kept) for option in options), str(inner)]
        subprocess.run(argv, check=True)
        try:
            (inner / "thesis").touch()
            inner.chmod(0o555)
            with pytest.raises(DiskBusy, match="a mount at"):
                ramdisk.unmount(disk)
            ramdisk.unmount(disk, force=True)
            (mounted,) = [
                Path(mount.mount_point)
                for mount in read_mounts()
                if mount.mount_point.startswith(place + ".gone-")
            ]
            assert (mounted / "thesis").exists()
            assert mounted.stat().st_mode & 0o777 == 0o555
        finally:
            for mount in read_mounts():
                if mount.mount_point.startswith(place):
                    subprocess.run(["umount", mount.mount_point], check=True)
        ramdisk.ensure(spec(place, DiskKind.SHM))
        assert sorted(os.listdir(Path(place).parent)) == ["builds", "kept"]

    def test_no_tree_is_too_deep(self, tmp_path, place):
        ramdisk = door(tmp_path)
        disk = ramdisk.ensure(spec(place, DiskKind.SHM))
        inside = os.open(place, os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("deeper", dir_fd=inside)
            below = os.open("deeper", os.O_RDONLY, dir_fd=inside)
            os.close(inside)
            inside = below
        os.close(inside)
        ramdisk.unmount(disk)
        assert os.listdir(Path(place).parent) == []


class TestTreeMeter:
    DISK = Disk(DiskKind.SHM, "/place", 64, 1, "t")

    def test_a_walk_longer_than_the_pause_counts_from_its_end(self):
        walks = []

        def walk(place):
            time.sleep(0.3)
            walks.append(place)
            return TreeSize(1, 1)

        meter = TreeMeter(every_s=0.2, walk=walk, share=1.0)
        meter.read(self.DISK)
        meter.read(self.DISK)
        assert walks == ["/place"]
        time.sleep(0.6)
        meter.read(self.DISK)
        assert len(walks) == 2

    def test_a_walk_that_takes_long_is_made_more_rarely(self):
        walks = []

        def walk(place):
            time.sleep(0.2)
            walks.append(place)
            return TreeSize(1, 1)

        meter = TreeMeter(every_s=0.0, walk=walk, share=0.001)
        meter.read(self.DISK)
        meter.read(self.DISK)
        assert walks == ["/place"]

    def test_threads_that_ask_at_once_share_one_walk(self):
        walks = []

        def walk(place):
            walks.append(place)
            time.sleep(0.2)
            return TreeSize(5, 1)

        meter = TreeMeter(walk=walk)
        with ThreadPoolExecutor(4) as threads:
            sizes = list(threads.map(lambda _: meter.read(self.DISK), range(4)))
        assert sizes == [TreeSize(5, 1)] * 4
        assert len(walks) == 1

    def test_while_one_walks_the_others_take_the_last_figure(self):
        begun, may_end = threading.Event(), threading.Event()
        sizes = iter([TreeSize(1, 1), TreeSize(2, 1)])

        def walk(_):
            size = next(sizes)
            if size.size_bytes == 2:
                begun.set()
                assert may_end.wait(20)
            return size

        meter = TreeMeter(every_s=0, walk=walk)
        meter.read(self.DISK)
        with ThreadPoolExecutor(1) as thread:
            second = thread.submit(meter.read, self.DISK)
            assert begun.wait(20)
            assert meter.read(self.DISK) == TreeSize(1, 1)
            may_end.set()
            assert second.result() == TreeSize(2, 1)

    def test_the_figure_of_an_earlier_disk_is_not_the_new_ones(self):
        sizes = iter([TreeSize(1, 1), TreeSize(2, 1)])
        meter = TreeMeter(walk=lambda _: next(sizes))
        meter.read(self.DISK)
        assert meter.read(Disk(DiskKind.SHM, "/place", 64, 1, "new")) == TreeSize(2, 1)
