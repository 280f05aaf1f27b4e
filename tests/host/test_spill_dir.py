"""Target dirs on the SSD: moved there and back whole, and nothing deleted that is not ours."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forge.errors import ForgeError, SpillRefused, TargetDirBusy, TreeRefused
from forge.host import spill_dir
from forge.host.ramdisk_linux import may_mount
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
def place(tmp_path):
    return tmp_path / "cache" / "spilled" / "app-0123"


def seen(target: Path) -> dict[str, tuple[int, bytes]]:
    """All files below, with their times and content."""
    return {
        str(one.relative_to(target)): (one.lstat().st_mtime_ns, one.read_bytes())
        for one in sorted(target.rglob("*"))
        if one.is_file() and one.name != "CACHEDIR.TAG"
    }


def on(directory) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name != ".opta-forge-disk.json")


def test_there_and_back_it_is_what_it_was_to_the_nanosecond(disk, place):
    target = fill(disk)
    os.utime(target / "debug/deps/libapp-1.rlib", ns=(1_700_000_000_123_456_789,) * 2)
    os.link(target / "debug/deps/libapp-1.rlib", target / "debug/libapp.rlib")
    was = seen(target)
    assert spill_dir.move_out(disk, str(target), str(place)) >= 64 * 1024
    assert on(disk.mount_point) == []
    assert seen(place) == was
    assert (place / "debug/libapp.rlib").stat().st_nlink == 2
    assert spill_dir.move_back(disk, str(target), str(place), 1 << 30) >= 64 * 1024
    assert seen(target) == was
    assert on(place.parent) == []


def test_what_is_not_on_the_disk_starts_empty(disk, place):
    assert spill_dir.move_out(disk, f"{disk.mount_point}/app-0123", str(place)) == 0
    assert on(place) == ["CACHEDIR.TAG"]


def test_what_an_earlier_move_has_left_there_gives_way(disk, place):
    spill_dir.move_out(disk, str(fill(disk)), str(place))
    (place / "old").write_text("old")
    spill_dir.move_out(disk, str(fill(disk, kib=1)), str(place))
    assert not (place / "old").exists()
    assert (place / "debug/deps/libapp-1.rlib").stat().st_size == 1024
    assert on(place.parent) == ["app-0123"]


@pytest.mark.parametrize("how", ["has files", "is a link", "is another's"])
def test_a_directory_that_is_not_ours_is_left_alone(disk, place, tmp_path, how):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious").write_text("precious")
    if how == "is a link":
        place.parent.parent.mkdir()
        place.parent.symlink_to(mine)
        (mine / "precious").unlink()
    else:
        place.parent.parent.mkdir()
        mine.rename(place.parent)
        if how == "is another's":
            marker = '{"token": "t", "uid": 4711, "kind": "directory", "size_mib": 1}'
            (place.parent / ".opta-forge-disk.json").write_text(marker)
    target = fill(disk)
    with pytest.raises(SpillRefused, match="is not Forge's own"):
        spill_dir.move_out(disk, str(target), str(place))
    with pytest.raises(SpillRefused):
        spill_dir.remove(str(place))
    assert target.exists()
    assert how == "is a link" or (place.parent / "precious").exists()


@needs_root
@pytest.mark.privileged
@pytest.mark.parametrize("free_kib", [16, 2048])
def test_with_the_ssd_full_all_stays_as_it_was(disk, free_kib):
    """Known beforehand, or found out in the middle: somebody else has filled it."""
    target = fill(disk, kib=8 * 1024)
    was = seen(target)
    with small_disk(16) as ssd:
        place = Path(ssd.mount_point, "spilled", "app-0123")
        spill_dir.move_out(disk, f"{disk.mount_point}/none", str(place.parent / "none"))
        room = os.statvfs(ssd.mount_point)
        filler = room.f_bavail * room.f_frsize - free_kib * 1024

        def others_write(_done: int, _of: int) -> None:
            (Path(ssd.mount_point) / "filler").write_bytes(b"x" * filler)

        expected: tuple[type[Exception], ...]
        if free_kib == 16:
            others_write(0, 0)
            on_bytes, expected = spill_dir.nothing, (SpillRefused,)
        else:
            (target / "a-first").write_bytes(b"x")
            was = seen(target)
            on_bytes, expected = others_write, (OSError,)
        with pytest.raises(expected):
            spill_dir.move_out(disk, str(target), str(place), on_bytes)
        assert on(place.parent) == ["none"], "nothing half moved is left"
    assert seen(target) == was


def test_a_cargo_at_work_keeps_its_target_dir(disk, place):
    target = fill(disk)
    with (target / "debug/.cargo-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TargetDirBusy):
            spill_dir.move_out(disk, str(target), str(place))
    assert on(disk.mount_point) == [target.name]
    assert on(place.parent) == []


def test_compilers_that_are_ending_are_waited_for(disk, place):
    target = fill(disk)
    script = "import sys, time; f = open(sys.argv[1], 'a'); print('on', flush=True); time.sleep(1)"
    argv = [sys.executable, "-I", "-S", "-c", script, str(target / "debug/deps/libapp-1.rlib")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as late:
        assert late.stdout
        late.stdout.readline()
        spill_dir.move_out(disk, str(target), str(place))
        assert late.wait() == 0
    assert on(disk.mount_point) == []


def test_one_that_stays_keeps_it(disk, place, monkeypatch):
    monkeypatch.setattr(spill_dir, "PATIENCE_S", 0.3)
    target = fill(disk)
    script = "import sys, time; f = open(sys.argv[1]); print('on', flush=True); time.sleep(60)"
    argv = [sys.executable, "-I", "-S", "-c", script, str(target / "debug/deps/libapp-1.rlib")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(ForgeError, match="is used by"):
            spill_dir.move_out(disk, str(target), str(place))
        other.kill()
    assert on(place.parent) == []


def test_links_that_lead_out_come_along_as_links(disk, place, tmp_path):
    outside = tmp_path / "precious"
    outside.write_text("precious")
    target = fill(disk)
    (target / "debug/out").symlink_to(outside)
    spill_dir.move_out(disk, str(target), str(place))
    assert (place / "debug/out").is_symlink()
    spill_dir.remove(str(place))
    assert outside.read_text() == "precious"
    assert on(place.parent) == []


def test_coming_back_needs_room(disk, place):
    target = fill(disk)
    spill_dir.move_out(disk, str(target), str(place))
    with pytest.raises(SpillRefused, match="only"):
        spill_dir.move_back(disk, str(target), str(place), 1024)
    assert place.exists()
    assert on(disk.mount_point) == []


def test_what_vanished_there_cannot_come_back(disk, place):
    spill_dir.move_out(disk, str(fill(disk)), str(place))
    spill_dir.remove(str(place))
    with pytest.raises((OSError, TreeRefused)):
        spill_dir.move_back(disk, f"{disk.mount_point}/app-0123", str(place), 1 << 30)
    assert on(disk.mount_point) == []


def test_what_a_killed_daemon_has_half_moved_is_swept_and_all_else_stays(disk, place):
    spill_dir.move_out(disk, str(fill(disk)), str(place))
    half = place.parent / ".evicted-other-1234"
    half.mkdir()
    (half / "x").write_text("x")
    assert spill_dir.sweep(str(place.parent)) == [str(half)]
    assert on(place.parent) == ["app-0123"]
    assert spill_dir.sweep(str(place.parent.parent / "nowhere")) == []
