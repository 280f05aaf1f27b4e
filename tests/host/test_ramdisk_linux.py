import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path

import pytest

from forge.core.disk import Disk, DiskKind, DiskSpec
from forge.errors import DiskBusy, DiskTaken, DiskUnavailable, ResizeRefused
from forge.host.disk_marker import DiskMarker
from forge.host.disk_usage import TreeSize
from forge.host.mounts import mount_at, read_mounts
from forge.host.ramdisk_linux import (
    DISK_CAVEAT,
    NOSWAP_CAVEAT,
    SIZE_CAVEAT,
    SWAP_CAVEAT,
    LinuxRamDisk,
    may_mount,
)
from forge.host.ramdisk_linux_directory import TreeMeter, put_aside

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the Linux door")
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or not may_mount(), reason="mounting a tmpfs needs CAP_SYS_ADMIN"
)
MIB = 1024 * 1024


@pytest.fixture
def place():
    """A directory outside tmp_path, so that a mount left behind by a bug can't be walked by it."""
    with tempfile.TemporaryDirectory(prefix="forge-disk-") as root:
        where = Path(root) / "builds"
        try:
            yield str(where)
        finally:
            while mount_at(str(where)):
                subprocess.run(["umount", "-l", str(where)], check=True)


def door(tmp_path, **more):
    shm = tmp_path / "shm"
    shm.mkdir(exist_ok=True)
    return LinuxRamDisk(tmp_path, cache_dir=tmp_path / "cache", shm=shm, **more)


def spec(place, kind=DiskKind.TMPFS, size_mib=64):
    return DiskSpec(place, size_mib, 5000, kind)


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


def test_mounts_with_blanks_in_their_names_are_read(tmp_path):
    recording = tmp_path / "mounts"
    recording.write_text("a\\040b /mnt/x\\040y tmpfs rw,size=1k 0 0\nshort\n")
    (mount,) = read_mounts(recording)
    assert (mount.source, mount.mount_point) == ("a b", "/mnt/x y")
