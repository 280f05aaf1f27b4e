"""Putting aside and deleting on the RAM disk: never anything else, and nothing that is used."""

import fcntl
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge.core.disk import Disk
from forge.errors import DiskUnavailable, TargetDirInUse, TargetDirMissing
from forge.host import trash
from forge.host.dir_users import users_of
from forge.host.ramdisk_linux import may_mount
from forge.host.removal import set_aside, set_parts_aside
from forge.host.trash import empty, open_root, trash_on
from tests.host.small_disks import fill, small_disk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts and /proc")
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or not may_mount(), reason="mounting needs CAP_SYS_ADMIN"
)


@pytest.fixture
def disk():
    with small_disk() as one:
        yield one


@pytest.fixture
def outside(tmp_path):
    """What must still be there after everything."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "precious").write_text("precious")
    yield place
    assert (place / "precious").read_text() == "precious"


def delete_all(disk: Disk) -> list[trash.Emptied]:
    root = open_root(disk.mount_point, disk.device_id)
    try:
        return [empty(root, name) for name in trash_on(root)]
    finally:
        os.close(root)


def evict(disk: Disk, target: Path) -> trash.Emptied:
    set_aside(disk, str(target))
    assert not target.exists()
    (done,) = delete_all(disk)
    return done


def on(disk: Disk) -> list[str]:
    return sorted(os.listdir(disk.mount_point))


def test_a_target_dir_is_gone_at_once_and_deleted_afterwards(disk):
    target, other = fill(disk, kib=1024), fill(disk, "other-1")
    done = evict(disk, target)
    assert done.left == []
    assert 1024 * 1024 <= done.freed_bytes < 1.2 * 1024 * 1024
    assert on(disk) == [other.name]


@pytest.mark.parametrize("kind", ["to a file", "to a directory", "to nothing", "to itself"])
def test_links_are_deleted_and_never_followed(disk, outside, kind):
    target = fill(disk)
    to = {"to a file": outside / "precious", "to a directory": outside,
          "to nothing": outside / "nothing", "to itself": target}[kind]  # fmt: skip
    (target / "debug/deps/link").symlink_to(to)
    assert evict(disk, target).left == []
    assert on(disk) == []


def test_a_target_dir_that_is_a_link_itself_is_none(disk, outside):
    Path(disk.mount_point, "app-0123").symlink_to(outside)
    with pytest.raises(TargetDirMissing):
        set_aside(disk, f"{disk.mount_point}/app-0123")


def test_a_file_with_another_name_elsewhere_on_the_disk_keeps_its_bytes(disk):
    target, other = fill(disk), fill(disk, "other-1")
    os.link(target / "debug/deps/libapp-1.rlib", other / "kept")
    done = evict(disk, target)
    assert (other / "kept").read_bytes() == b"x" * 64 * 1024
    assert done.freed_bytes < 64 * 1024, "they are not free"


def test_sockets_fifos_and_names_that_are_no_text_are_deleted(disk):
    target = fill(disk)
    os.mkfifo(target / "debug/fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(target / "debug/socket"))
    (target / os.fsdecode(b"debug/\xff\xfe")).write_text("x")
    assert evict(disk, target).left == []
    assert on(disk) == []


@needs_root
@pytest.mark.privileged
@pytest.mark.parametrize("what", ["debug/deps/libapp-1.rlib", "debug/deps", "debug"])
def test_what_is_immutable_is_deleted_all_the_same(disk, what):
    target = fill(disk)
    subprocess.run(["chattr", "+i", target / what], check=True)
    assert evict(disk, target).left == []
    assert on(disk) == []


def test_directories_that_nobody_may_write_to_are_deleted(disk):
    target = fill(disk)
    (target / "debug/deps").chmod(0o500)
    (target / "debug").chmod(0)
    assert evict(disk, target).left == []


@needs_root
@pytest.mark.privileged
@pytest.mark.parametrize("options", [["--bind"], ["-t", "tmpfs"]])
def test_what_is_mounted_inside_stays_and_so_does_what_is_there(disk, outside, options):
    target = fill(disk)
    inside = target / "debug/mounted"
    inside.mkdir()
    subprocess.run(["mount", *options, outside, inside], check=True)
    done = evict(disk, target)
    assert "mounted: another file system is mounted there" in done.left
    assert done.freed_bytes > 64 * 1024, "all else is gone"
    (name,) = on(disk)
    subprocess.run(["umount", Path(disk.mount_point, name, "debug/mounted")], check=True)
    assert delete_all(disk)[0].left == []
    assert on(disk) == []


@needs_root
@pytest.mark.privileged
def test_another_directory_of_the_same_disk_that_is_mounted_inside_is_not_entered(disk):
    target, other = fill(disk), fill(disk, "other-1")
    inside = target / "debug/mounted"
    inside.mkdir()
    subprocess.run(["mount", "--bind", other, inside], check=True)
    evict(disk, target)
    assert (other / "debug/deps/libapp-1.rlib").exists()


def test_a_tree_deeper_than_descriptors_reach_is_deleted(disk):
    target = fill(disk)
    here = os.open(target, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert evict(disk, target).left == []
    assert on(disk) == []


@pytest.mark.parametrize(
    "path", ["{}/../outside", "{}/a/b", "/etc/passwd", "{}/.opta-forge-disk.json", "{}", "{}/"]
)
def test_what_is_no_target_dir_on_the_disk_is_refused(disk, path):
    with pytest.raises((DiskUnavailable, TargetDirMissing)):
        set_aside(disk, path.format(disk.mount_point))


def test_another_disk_at_the_same_place_is_left_alone(disk):
    target = fill(disk)
    later = Disk(disk.kind, disk.mount_point, 32, disk.device_id + 1, "token")
    with pytest.raises(DiskUnavailable):
        set_aside(later, str(target))
    with pytest.raises(DiskUnavailable):
        open_root(later.mount_point, later.device_id)
    assert target.exists()


def test_a_target_dir_that_was_removed_behind_our_back_is_missing(disk):
    with pytest.raises(TargetDirMissing):
        set_aside(disk, f"{disk.mount_point}/gone-1")


@pytest.mark.parametrize(
    "lock", ["debug/.cargo-lock", "x86_64-unknown-linux-gnu/debug/.cargo-lock"]
)
def test_a_cargo_that_has_its_lock_keeps_its_target_dir(disk, lock):
    target = fill(disk)
    (target / lock).parent.mkdir(parents=True, exist_ok=True)
    with (target / lock).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TargetDirInUse, match=r"it holds .*\.cargo-lock"):
            set_aside(disk, str(target))
        with pytest.raises(TargetDirInUse):
            set_parts_aside(disk, str(target), ["debug/deps"])
    assert on(disk) == [target.name]
    evict(disk, target)


def test_a_cargo_that_has_opened_its_lock_and_not_yet_taken_it_wins_as_well(disk):
    target = fill(disk)
    script = "import os, sys; f = open(sys.argv[1]); print('on', flush=True); input()"
    with (
        running(script, target / "debug/.cargo-lock"),
        pytest.raises(TargetDirInUse, match="is used by python"),
    ):
        set_aside(disk, str(target))
    assert on(disk) == [target.name]


def test_one_that_comes_between_the_look_and_the_rename_has_it_undone(disk):
    """The second look sees it: whoever opened the old path is seen under the new one."""
    target = fill(disk)
    with running("import sys; input(); f = open(sys.argv[1]); print('on', flush=True); input()",
                 target / "debug/.cargo-lock", wait=False) as late:  # fmt: skip

        def it_comes(path: str) -> None:
            assert late.stdin
            assert late.stdout
            late.stdin.write("go\n")
            late.stdin.flush()
            assert late.stdout.readline() == "on\n"

        with pytest.raises(TargetDirInUse, match=r"debug/\.cargo-lock"):
            set_aside(disk, str(target), save_first=it_comes)
    assert on(disk) == [target.name]


@pytest.mark.parametrize(
    "script",
    [
        "import os, sys; os.chdir(os.path.dirname(sys.argv[1])); print('on', flush=True); input()",
        "import mmap, os, sys; f = os.open(sys.argv[1], os.O_RDONLY);"
        "m = mmap.mmap(f, 0, prot=mmap.PROT_READ); os.close(f); print('on', flush=True); input()",
    ],
    ids=["works there", "has mapped a file"],
)
def test_whoever_uses_something_in_it_keeps_it(disk, script):
    target = fill(disk)
    with running(script, target / "debug/deps/libapp-1.rlib") as process:
        assert {one.pid for one in users_of(str(target))} == {process.pid}
        with pytest.raises(TargetDirInUse, match=f"pid {process.pid}"):
            set_aside(disk, str(target))
    evict(disk, target)


def test_a_program_that_runs_from_it_keeps_it(disk):
    target = fill(disk)
    program = target / "debug/sleep"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    process = subprocess.Popen([program, "30"], cwd="/")
    try:
        wait_until(lambda: list(users_of(str(target))))
        with pytest.raises(TargetDirInUse, match=r"debug/sleep"):
            set_aside(disk, str(target))
    finally:
        process.kill()
        process.wait()


def test_what_saving_first_says_keeps_the_target_dir(disk):
    target = fill(disk)

    def full(path: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        set_aside(disk, str(target), save_first=full)
    assert on(disk) == [target.name]


def test_parts_go_and_the_rest_stays(disk):
    target = fill(disk)
    parts = ["debug/incremental/app-1/s-1", "debug/deps/libapp-1.rlib", "debug/gone/x"]
    set_parts_aside(disk, str(target), parts)
    (done,) = delete_all(disk)
    assert done.freed_bytes >= 68 * 1024
    assert (target / "debug/.fingerprint/app-1/lib-app").exists()
    assert not (target / "debug/deps/libapp-1.rlib").exists()


def test_a_part_that_leads_out_by_a_link_is_passed_over(disk, outside):
    target = fill(disk)
    (target / "debug/out").symlink_to(outside)
    set_parts_aside(disk, str(target), ["debug/out/precious", "../other", "debug/../../x"])
    delete_all(disk)


def test_a_part_that_somebody_uses_stays(disk):
    target = fill(disk)
    with running("import sys; f = open(sys.argv[1]); print('on', flush=True); input()",
                 target / "debug/deps/libapp-1.rlib"):  # fmt: skip
        set_parts_aside(disk, str(target), ["debug/deps", "debug/incremental"])
    assert (target / "debug/deps/libapp-1.rlib").exists()
    assert not (target / "debug/incremental").exists()


def test_deleting_can_be_stopped_and_goes_on_another_time(disk):
    target = fill(disk)
    name = set_aside(disk, str(target))
    root = open_root(disk.mount_point, disk.device_id)
    asked = iter([False, True])
    assert empty(root, name, lambda: next(asked)).files <= 1
    os.close(root)
    assert on(disk) == [name]
    delete_all(disk)
    assert on(disk) == []


@needs_root
@pytest.mark.privileged
def test_a_disk_that_was_remounted_read_only_keeps_all(disk):
    target = fill(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk.mount_point], check=True)
    with pytest.raises(OSError, match="Read-only"):
        set_aside(disk, str(target))
    subprocess.run(["mount", "-o", "remount,rw", disk.mount_point], check=True)
    name = set_aside(disk, str(target))
    subprocess.run(["mount", "-o", "remount,ro", disk.mount_point], check=True)
    (done,) = delete_all(disk)
    assert any("Read-only" in one for one in done.left)
    assert on(disk) == [name]


class running:  # noqa: N801  # reads as a word in `with`
    """A Python that runs beside us, and says `on` when it stands."""

    def __init__(self, script: str, *args: object, wait: bool = True) -> None:
        argv = [sys.executable, "-I", "-S", "-c", script, *map(str, args)]
        self._wait = wait
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )

    def __enter__(self) -> subprocess.Popen[str]:
        if self._wait:
            assert self._process.stdout
            assert self._process.stdout.readline() == "on\n"
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def wait_until(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
