"""The macOS RAM disk against the simulated macOS: what a caller sees when nothing breaks half-way.

Crashes, deadlines and leftovers are in test_ramdisk_darwin_recovery.py.
"""

import errno
import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from forge.core.disk import Disk, DiskKind, DiskSpec
from forge.errors import DiskBusy, DiskTaken, DiskUnavailable, ForgeError, ResizeRefused
from forge.host.disk_marker import DiskMarker, new_token, read_marker, write_marker
from forge.host.ramdisk import MARKER_NAME, RamDisk
from forge.host.ramdisk_darwin import DarwinRamDisk
from forge.host.ramdisk_darwin_intent import INTENT_NAME
from forge.host.ramdisk_darwin_tools import DarwinDeadlines
from tests.macos.fixtures import simulated_mac  # noqa: F401
from tests.macos.simulated import SimulatedMac

SPEC = DiskSpec("/Volumes/OptaBuilds", size_mib=64, inodes=0)
QUICK = DarwinDeadlines(pause_s=0.01, settle_s=0.3, busy_s=0.3)


@pytest.fixture
def mac(simulated_mac: SimulatedMac) -> SimulatedMac:  # noqa: F811
    return simulated_mac


@pytest.fixture
def door(mac: SimulatedMac, tmp_path: Path) -> RamDisk:
    return door_of(mac, tmp_path)


def door_of(mac: SimulatedMac, tmp_path: Path, deadlines: DarwinDeadlines = QUICK) -> RamDisk:
    return DarwinRamDisk(
        tmp_path / "state", volumes_root=mac.volumes_root, deadlines=deadlines, env=mac.env
    )


@pytest.fixture
def disk(mac: SimulatedMac, door: RamDisk) -> Disk:
    """Give a disk of ours that was there before; quicker than making it with all the tools."""
    mac.attach_stranger(size_mib=64, uid=os.getuid(), volume="OptaBuilds")
    write_marker(target(mac), DiskMarker(new_token(), os.getuid(), DiskKind.APFS, 64))
    found = door.identify(SPEC)
    assert found is not None
    return found


def target(mac: SimulatedMac) -> Path:
    return mac.volumes_root / "OptaBuilds"


def is_settled(tmp_path: Path) -> bool:
    return not (tmp_path / "state" / INTENT_NAME).exists()


def test_a_disk_of_64_gib_is_made_marked_and_private(mac, door, tmp_path: Path):
    disk = door.ensure(DiskSpec("/Volumes/OptaBuilds", size_mib=65536, inodes=0))
    assert mac.calls("hdiutil.attach") == [["attach", "-nomount", "ram://134217728"]]
    assert mac.mounted() == [str(target(mac))]
    root = target(mac)
    assert disk == Disk(
        kind=DiskKind.APFS,
        mount_point=str(root),
        size_mib=65536,
        device_id=root.stat().st_dev,
        token=disk.token,
        node="/dev/disk4",
        caveats=disk.caveats,
    )
    swap, keeps, _ = disk.caveats
    assert "swap" in swap and "recreate" in keeps
    assert root.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in root.iterdir()) == [".metadata_never_index", MARKER_NAME]
    marker = read_marker(root)
    assert marker and marker.token == disk.token and marker.size_mib == 65536
    assert is_settled(tmp_path)


def test_the_default_place_is_under_volumes(mac, door):
    for kind in (None, DiskKind.APFS):
        assert door.place_of(kind) == (DiskKind.APFS, str(target(mac)))


def test_no_disk_identifies_as_none_and_changes_nothing(mac, door, tmp_path: Path):
    assert door.identify(SPEC) is None
    assert mac.calls() == []
    assert not (tmp_path / "state").exists()


def test_after_a_restart_the_same_disk_is_adopted_with_what_is_on_it(mac, door, tmp_path: Path):
    made = door.ensure(SPEC)
    (target(mac) / "artifact").write_text("kept")
    adopted = door_of(mac, tmp_path).ensure(SPEC)
    assert adopted.adopted and not made.adopted
    assert (adopted.token, adopted.device_id, adopted.node) == (
        made.token,
        made.device_id,
        made.node,
    )
    assert (target(mac) / "artifact").read_text() == "kept"
    assert len(mac.images()) == 1


def test_an_adopted_disk_has_the_size_it_has_not_the_size_it_should_have(door, disk):
    assert door.ensure(DiskSpec("/Volumes/OptaBuilds", size_mib=128, inodes=0)).size_mib == 64


def test_a_strangers_volume_at_the_name_is_left_alone(mac, door):
    mac.attach_stranger(volume="OptaBuilds", path="/Users/opta/Photos.dmg")
    with pytest.raises(DiskTaken, match=r"'OptaBuilds' \(disk5s1\) is mounted at") as caught:
        door.ensure(SPEC)
    assert "diskutil eject disk5s1" in str(caught.value.hint)
    assert [image["path"] for image in mac.images()] == ["/Users/opta/Photos.dmg"]


@pytest.mark.parametrize("uid", [os.getuid(), 4242])
def test_a_ram_disk_without_our_marker_is_a_strangers(mac, door, uid):
    mac.attach_stranger(volume="OptaBuilds", size_mib=64, uid=uid)
    assert door.identify(SPEC) is None
    with pytest.raises(DiskTaken):
        door.ensure(SPEC)
    assert len(mac.images()) == 1


def test_a_marker_alone_proves_nothing_when_macos_does_not_say_whose_device_it_is(mac, door, disk):
    # every file on a volume that ignores ownership looks like the reader's own
    mac.hide_owners()
    assert door.identify(SPEC) is None
    with pytest.raises(ForgeError):
        door.ensure(SPEC)
    assert len(mac.images()) == 1


def test_an_empty_directory_left_at_the_mount_point_makes_way(mac, door):
    target(mac).mkdir()
    assert door.ensure(SPEC).mount_point == str(target(mac))


@pytest.mark.parametrize("what", ["full directory", "file", "symlink"])
def test_anything_else_at_the_mount_point_is_taken(mac, door, what: str):
    if what == "full directory":
        (target(mac) / "photos").mkdir(parents=True)
    elif what == "file":
        target(mac).write_text("mine")
    else:
        target(mac).symlink_to(mac.home)
    with pytest.raises(DiskTaken, match="is in the way and is not a volume"):
        door.ensure(SPEC)
    assert os.path.lexists(target(mac))
    assert mac.images() == []


def test_a_disk_that_macos_mounts_beside_its_name_is_not_accepted(mac, door, tmp_path: Path):
    mac.fault("diskutil.rename", delay_s=0.2)
    thread = threading.Thread(target=_take_name_during_rename, args=(mac,))
    thread.start()
    with pytest.raises(DiskTaken, match=r"mounted the RAM disk at .*/OptaBuilds 1: something else"):
        door.ensure(SPEC)
    thread.join()
    assert mac.images() == []
    assert is_settled(tmp_path)


def _take_name_during_rename(mac: SimulatedMac) -> None:
    while not mac.calls("diskutil.rename"):
        time.sleep(0.01)
    (target(mac) / "late").mkdir(parents=True)


def test_measuring_counts_what_is_written(mac, door, disk):
    before = door.measure(disk)
    (target(mac) / "artifact").write_bytes(b"x" * 1024 * 1024)
    after = door.measure(disk)
    assert after.total_files == 0
    if mac.images()[0]["volumes"][0]["real"]:
        assert before.total_bytes == 64 * 1024 * 1024
        assert after.used_bytes - before.used_bytes == 1024 * 1024
        assert after.free_bytes == before.free_bytes - 1024 * 1024


@pytest.mark.privileged
def test_a_full_disk_says_so(mac, door):
    disk = door.ensure(DiskSpec("/Volumes/OptaBuilds", size_mib=8, inodes=0))
    if not mac.images()[0]["volumes"][0]["real"]:
        pytest.skip("needs root to mount a tmpfs")
    with pytest.raises(OSError) as caught:
        (target(mac) / "artifact").write_bytes(b"x" * 9 * 1024 * 1024)
    assert caught.value.errno == errno.ENOSPC
    assert door.measure(disk).free_bytes == 0


def test_measuring_a_disk_that_is_gone_or_another_is_refused(mac, door, disk):
    door.unmount(disk)
    with pytest.raises(DiskUnavailable, match="no longer at"):
        door.measure(disk)
    door.ensure(SPEC)
    with pytest.raises(DiskUnavailable, match="no longer at"):
        door.measure(disk)  # the later disk has another token, if not another st_dev


def test_a_size_cannot_change_while_the_disk_exists(door, disk):
    assert door.resize(disk, 64) is disk
    with pytest.raises(ResizeRefused, match="from 64 MiB to 128 MiB") as caught:
        door.resize(disk, 128)
    assert "forge disk recreate" in str(caught.value.hint)


def test_unmounting_detaches_the_physical_device(mac, door, tmp_path: Path):
    disk = door.ensure(SPEC)
    door.unmount(disk)
    assert mac.calls("hdiutil.detach") == [["detach", "/dev/disk4"]]
    assert mac.images() == []
    assert not target(mac).exists()
    assert is_settled(tmp_path)


def test_unmounting_twice_is_no_failure_and_another_can_be_made(mac, door):
    first = door.ensure(SPEC)
    door.unmount(first)
    door.unmount(first)
    second = door.ensure(SPEC)
    assert second.token != first.token
    assert not second.adopted
    door.unmount(first)  # an old value never takes the new disk away
    assert door.identify(SPEC) == replace(second, adopted=True)


@pytest.mark.parametrize("volume", [None, "Other"])
def test_a_reused_device_number_is_never_detached(mac, door, disk, volume):
    mac.vanish(4)
    stranger = mac.attach_stranger(size_mib=64, uid=os.getuid(), volume=volume)
    assert f"/dev/disk{stranger['disk']}" == disk.node
    door.unmount(disk, force=True)
    assert [image["pid"] for image in mac.images()] == [stranger["pid"]]


def test_a_disk_that_lost_its_marker_is_not_taken_away(mac, door, disk):
    (target(mac) / MARKER_NAME).unlink()
    with pytest.raises(DiskTaken, match=r"the marker on .* is gone") as caught:
        door.unmount(disk)
    assert "hdiutil detach /dev/disk4" in str(caught.value.hint)
    assert len(mac.images()) == 1


def test_a_holder_that_lets_go_by_itself_is_waited_for(mac, door, disk):
    mac.fault("hdiutil.detach", busy=(311, "/…/mds_stores"), times=2)
    mac.fault("diskutil.unmountDisk", busy=(311, "/…/mds_stores"), times=2)
    door.unmount(disk)
    assert len(mac.calls("hdiutil.detach")) == 3
    assert mac.images() == []


def test_a_process_that_holds_the_disk_is_named_and_the_disk_stays(mac, door, disk, tmp_path: Path):
    with subprocess.Popen(["sleep", "30"], cwd=target(mac)) as holder:
        try:
            with pytest.raises(DiskBusy, match=rf"in use by \S*\S \(pid {holder.pid}\)"):
                door.unmount(disk)
            assert door.identify(SPEC) == disk
            assert is_settled(tmp_path)
        finally:
            holder.kill()
    door.unmount(disk)
    assert mac.images() == []


def test_a_disk_that_stays_busy_for_nameless_reasons_says_how_to_look(mac, door, disk):
    mac.fault("hdiutil.detach", busy=(1, "?"), times=None)
    mac.fault("diskutil.unmountDisk", times=None, says="Unmount failed\n")
    with pytest.raises(DiskBusy, match=r"is in use$") as caught:
        door.unmount(disk)
    assert "lsof" in str(caught.value.hint)


def test_force_takes_a_held_disk_away(mac, door, disk):
    with subprocess.Popen(["sleep", "30"], cwd=target(mac)) as holder:
        try:
            mac.fault("hdiutil.detach", busy=(holder.pid, "/bin/sleep"))  # also -force can fail
            door.unmount(disk, force=True)
            assert mac.images() == []
        finally:
            holder.kill()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (DiskSpec("/Users/opta/disk", 64, 0), "under /Volumes only, not at /Users/opta/disk"),
        (DiskSpec("/Volumes", 64, 0), "under /Volumes only"),
        (DiskSpec("/Volumes/a/b", 64, 0), "under /Volumes only"),
        (DiskSpec("/Volumes/OptaBuilds", 64, 0, DiskKind.TMPFS), '"tmpfs" is not for macOS'),
    ],
)
def test_a_wish_that_macos_cannot_grant_is_refused(door, spec: DiskSpec, said: str):
    with pytest.raises(DiskUnavailable, match=said):
        door.ensure(spec)


def test_without_the_tools_of_macos_there_is_no_disk(mac, tmp_path: Path):
    door = DarwinRamDisk(
        tmp_path / "state", volumes_root=mac.volumes_root, env={"PATH": str(tmp_path)}
    )
    with pytest.raises(DiskUnavailable, match="cannot run `"):
        door.ensure(SPEC)


@pytest.mark.parametrize(
    ("name", "fault", "said"),
    [
        ("hdiutil.attach", {"fails": "No space left on device"}, "No space left on device"),
        ("hdiutil.attach", {"fails": "Resource temporarily unavailable", "times": 3}, "temporar"),
        ("hdiutil.attach", {"says": "", "exit_code": 0}, "made no RAM device"),
        ("hdiutil.info", {"says": "<plist>", "exit_code": 0}, "not a property list"),
        ("hdiutil.info", {"fails": "Operation not permitted"}, "Operation not permitted"),
        ("diskutil.createContainer", {"fails": "-69808"}, "createContainer .* failed: .*-69808"),
        ("diskutil.addVolume", {"says": "Error: -69808", "exit_code": 0}, "named no disk"),
        ("diskutil.mount", {"fails": "timed out"}, "timed out"),
        ("diskutil.mount", {"says": "", "exit_code": 0}, "is not there"),  # it only said so
    ],
)
def test_a_tool_that_fails_is_quoted_and_leaves_nothing(mac, door, tmp_path, name, fault, said):
    mac.fault(name, **fault)
    with pytest.raises(DiskUnavailable, match=said):
        door.ensure(SPEC)
    assert mac.images() == []
    assert is_settled(tmp_path)


def test_an_attach_that_is_refused_for_now_is_tried_again(mac, door):
    mac.fault("hdiutil.attach", fails="Resource temporarily unavailable")
    door.ensure(SPEC)
    assert len(mac.calls("hdiutil.attach")) == 2


def test_an_indexer_that_does_not_answer_does_not_matter(mac, tmp_path: Path):
    mac.fault("mdutil", delay_s=20)
    door_of(mac, tmp_path, DarwinDeadlines(pause_s=0.02, index_s=0.2)).ensure(SPEC)
    assert mac.mounted() == [str(target(mac))]
