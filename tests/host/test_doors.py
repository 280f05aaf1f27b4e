"""The small doors, each on the real thing or on a recording of it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from forge.core.disk import Disk, DiskKind
from forge.errors import DiskUnavailable, StateDirUnsafe
from forge.host import processes
from forge.host.disk_usage import measure_tree
from forge.host.machine import cores, memory_mib
from forge.host.processes import Process
from forge.host.state_dir import private_dir
from forge.host.target_dirs import link_target, list_target_dirs, make_target_dir


def disk_at(path):
    return Disk(DiskKind.SHM, str(path), 64, os.stat(path).st_dev, "t")


class TestTargetDirs:
    def test_one_is_made_private_and_tagged_and_made_again_without_harm(self, tmp_path):
        path = tmp_path / "app-1"
        for _ in range(2):
            make_target_dir(disk_at(tmp_path), str(path))
        assert path.stat().st_mode & 0o777 == 0o700
        tag = (path / "CACHEDIR.TAG").read_text()
        assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55")

    def test_none_is_made_outside_the_disk_or_on_another(self, tmp_path):
        disk = disk_at(tmp_path)
        with pytest.raises(DiskUnavailable, match="not on the RAM disk"):
            make_target_dir(disk, str(tmp_path / "a" / "b"))
        other = Disk(disk.kind, disk.mount_point, 64, disk.device_id + 1, "t")
        with pytest.raises(DiskUnavailable, match="another file system"):
            make_target_dir(other, str(tmp_path / "app"))

    def test_a_link_in_its_place_is_not_followed(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "app").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(DiskUnavailable, match="not a directory"):
            make_target_dir(disk_at(tmp_path), str(tmp_path / "app"))

    def test_those_on_the_disk_are_listed_without_hidden_ones_and_files(self, tmp_path):
        (tmp_path / "app").mkdir()
        (tmp_path / ".hidden").mkdir()
        (tmp_path / "file").touch()
        assert [path for path, _ in list_target_dirs(disk_at(tmp_path))] == [str(tmp_path / "app")]

    def test_a_link_named_target_is_put_where_nothing_is(self, tmp_path):
        link = tmp_path / "target"
        link_target(str(link), "/mnt/b/app-1")
        link_target(str(link), "/mnt/b/app-2")
        assert os.readlink(link) == "/mnt/b/app-2"

    def test_a_real_target_directory_and_a_users_link_are_never_replaced(self, tmp_path):
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "kept").touch()
        link_target(str(tmp_path / "target"), "/mnt/b/app")
        assert (tmp_path / "target" / "kept").exists()
        own = tmp_path / "own"
        own.symlink_to("/scratch/target")
        link_target(str(own), "/mnt/b/app")
        assert os.readlink(own) == "/scratch/target"


class TestTreeSize:
    def test_hard_links_count_once_and_links_are_not_followed(self, tmp_path):
        (tmp_path / "t").mkdir()
        (tmp_path / "t/a").write_bytes(bytes(1 << 20))
        os.link(tmp_path / "t/a", tmp_path / "t/b")
        (tmp_path / "big").write_bytes(bytes(1 << 22))
        (tmp_path / "t/link").symlink_to(tmp_path / "big")
        (tmp_path / "t/loop").symlink_to(tmp_path / "t")
        size = measure_tree(str(tmp_path / "t"))
        assert size
        assert 1 << 20 <= size.size_bytes < 2 << 20
        assert size.files == 4

    def test_a_tree_that_is_gone_has_no_size(self, tmp_path):
        assert measure_tree(str(tmp_path / "no")) is None


class TestProcesses:
    def test_a_process_is_recognised_and_one_that_ended_is_not(self):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        process = processes.identify(child.pid)
        assert process
        assert processes.is_alive(process)
        assert processes.end(process)
        child.wait()
        assert child.returncode == -signal.SIGTERM
        assert not processes.is_alive(process)
        assert not processes.end(process)
        child.communicate()

    def test_a_zombie_is_gone(self):
        child = subprocess.Popen([sys.executable, "-c", ""])
        deadline = time.monotonic() + 20
        while processes.identify(child.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert processes.identify(child.pid) is None
        child.wait()

    def test_a_pid_that_was_used_again_is_somebody_else(self):
        me = processes.identify(os.getpid())
        assert me
        assert not processes.is_alive(Process(me.pid, me.started - 1))
        assert not processes.end(Process(me.pid, me.started - 1))

    @pytest.mark.parametrize("pid", [0, -1, 2**22 + 5])
    def test_a_pid_that_is_nobodys_names_no_process(self, pid):
        assert processes.identify(pid) is None


class TestMachine:
    def test_it_has_memory_and_cores(self):
        assert memory_mib() > 100
        assert cores() >= 1


class TestStateDir:
    def test_it_is_made_private_and_an_open_one_is_closed(self, tmp_path):
        private_dir(str(tmp_path / "a" / "b"))
        assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
        (tmp_path / "c").mkdir(mode=0o755)
        private_dir(str(tmp_path / "c"))
        assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700

    def test_a_file_in_its_place_is_refused(self, tmp_path):
        (tmp_path / "f").touch()
        with pytest.raises(StateDirUnsafe, match="cannot be made"):
            private_dir(str(tmp_path / "f"))

    @pytest.mark.skipif(os.getuid() != 0, reason="gives a directory away, which needs root")
    def test_one_of_another_user_is_refused(self, tmp_path):
        (tmp_path / "theirs").mkdir()
        os.chown(tmp_path / "theirs", 12345, -1)
        with pytest.raises(StateDirUnsafe, match="belongs to user 12345"):
            private_dir(str(tmp_path / "theirs"))
