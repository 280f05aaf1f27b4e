"""The macOS RAM disk when things break half-way: crashes, deadlines, leftovers, other processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge.core.disk import Disk, DiskSpec
from forge.errors import DeadlineExceeded, DiskBusy, DiskUnavailable
from forge.host.ramdisk import RamDisk
from forge.host.ramdisk_darwin import DarwinRamDisk
from forge.host.ramdisk_darwin_intent import INTENT_NAME, Intent, read_intent, write_intent
from forge.host.ramdisk_darwin_leftovers import FORGET_LOST_S
from forge.host.ramdisk_darwin_tools import DarwinDeadlines
from tests.macos.fixtures import simulated_mac  # noqa: F401
from tests.macos.simulated import REPOSITORY, SimulatedMac

SPEC = DiskSpec("/Volumes/OptaBuilds", size_mib=64, inodes=0)
SECTORS = 64 * 2048
QUICK = DarwinDeadlines(pause_s=0.01, settle_s=1.5, busy_s=0.1)
ENSURE = """
import sys
from pathlib import Path
from forge.core.disk import DiskSpec
from forge.host.ramdisk_darwin import DarwinRamDisk
from forge.host.ramdisk_darwin_tools import DarwinDeadlines

door = DarwinRamDisk(
    Path(sys.argv[1]), volumes_root=Path(sys.argv[2]), deadlines=DarwinDeadlines(pause_s=0.02)
)
disk = door.ensure(DiskSpec("/Volumes/OptaBuilds", size_mib=64, inodes=0))
print(disk.token, disk.adopted)
"""


@pytest.fixture
def mac(simulated_mac: SimulatedMac) -> SimulatedMac:  # noqa: F811
    return simulated_mac


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def door_of(mac: SimulatedMac, state_dir: Path, deadlines: DarwinDeadlines = QUICK) -> RamDisk:
    return DarwinRamDisk(state_dir, volumes_root=mac.volumes_root, deadlines=deadlines, env=mac.env)


def start_ensure(mac: SimulatedMac, state_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE, str(state_dir), str(mac.volumes_root)],
        env=mac.env,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


def assert_one_good_disk(mac: SimulatedMac, state_dir: Path, disk: Disk) -> None:
    assert [image["sectors"] for image in mac.images()] == [SECTORS]
    assert mac.mounted() == [str(mac.volumes_root / "OptaBuilds")]
    assert disk.node == f"/dev/disk{mac.images()[0]['disk']}"
    assert door_of(mac, state_dir).measure(disk).total_bytes > 0
    assert sorted(path.name for path in mac.volumes_root.iterdir()) == ["OptaBuilds"]


def lose_an_attach(state_dir: Path, **changes: object) -> None:
    """Write the journal as a process leaves it that was killed while it attached."""
    fields: dict[str, object] = {
        "boot": "",
        "token": "lost",
        "sectors": SECTORS,
        "staging": "OptaBuilds-lost",
        "before": (),
        "began_at": time.time(),
        "lost": 1,
    }
    write_intent(state_dir, Intent(**(fields | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("hdiutil.attach", {"late_s": 0.3}),  # the helper goes on without us
        ("hdiutil.attach", {"delay_after_s": 0.25}),  # attached, and nobody has read the answer
        ("diskutil.createContainer", {"delay_s": 0.2}),
        ("diskutil.mount", {"late_s": 0.2}),
        ("mdutil", {"delay_s": 0.2}),  # marked, not yet renamed
        ("diskutil.rename", {"late_s": 0.2}),
        ("diskutil.rename", {"delay_after_s": 0.25}),  # whole, and only the journal is left
    ],
)
def test_after_a_kill_at_any_step_there_is_exactly_one_disk(mac, state_dir, step, fault):
    mac.fault(step, **fault)
    with start_ensure(mac, state_dir) as door:
        while not mac.calls(step):
            assert door.poll() is None
            time.sleep(0.01)
        time.sleep(0.1 if "delay_after_s" in fault else 0)
        door.send_signal(signal.SIGKILL)
    disk = door_of(mac, state_dir).ensure(SPEC)
    assert_one_good_disk(mac, state_dir, disk)


def test_an_attach_that_ends_after_its_deadline_is_found_and_not_doubled(mac, state_dir):
    mac.fault("hdiutil.attach", late_s=0.6)
    with pytest.raises(DeadlineExceeded, match=r"hdiutil attach"):
        door_of(mac, state_dir, DarwinDeadlines(attach_s=0.3)).ensure(SPEC)
    left = read_intent(state_dir)
    assert left and left.lost == 1 and left.node is None
    disk = door_of(mac, state_dir).ensure(SPEC)
    assert_one_good_disk(mac, state_dir, disk)
    assert not (state_dir / INTENT_NAME).exists()


def test_a_lost_attach_that_turns_up_after_all_is_swept_by_a_later_call(mac, state_dir):
    lose_an_attach(state_dir)
    hasty = DarwinDeadlines(pause_s=0.02, settle_s=0)
    disk = door_of(mac, state_dir, hasty).ensure(SPEC)
    assert read_intent(state_dir)  # one is still missing
    mac.attach_stranger(size_mib=64, uid=os.getuid())
    adopted = door_of(mac, state_dir, hasty).ensure(SPEC)
    assert adopted.adopted and adopted.token == disk.token
    assert_one_good_disk(mac, state_dir, disk)
    assert not (state_dir / INTENT_NAME).exists()


@pytest.mark.parametrize(
    ("stranger", "changes"),
    [
        ({"uid": 4242}, {}),  # another user's
        ({"size_mib": 65}, {}),
        ({"volume": "Other"}, {}),  # in use
        ({"path": "/Users/opta/x.dmg"}, {}),
        ({}, {"before": ("/dev/disk4",)}),  # was there first
        ({}, {"boot": "the one before"}),  # no RAM disk outlives its boot
        ({}, {"began_at": time.time() - FORGET_LOST_S - 1}),
        ({}, {"lost": 0, "node": "/dev/disk9"}),  # we know which one ours was
        ({"volume": "Other"}, {"lost": 0, "node": "/dev/disk4"}),  # the number was given out again
    ],
)
def test_a_device_that_may_be_a_strangers_is_left_alone(mac, state_dir, stranger, changes):
    image = mac.attach_stranger(**({"size_mib": 64, "uid": os.getuid()} | stranger))
    lose_an_attach(state_dir, **changes)
    quick = DarwinDeadlines(pause_s=0.01, settle_s=0)
    mac.fault("hdiutil.attach", fails="No space left on device")  # only the recovery matters here
    with pytest.raises(DiskUnavailable, match="No space left"):
        door_of(mac, state_dir, quick).ensure(SPEC)
    assert [one["pid"] for one in mac.images()] == [image["pid"]]


def test_more_candidates_than_lost_devices_are_all_left_alone(mac, state_dir):
    lose_an_attach(state_dir)
    mac.attach_stranger(size_mib=64, uid=os.getuid())
    mac.attach_stranger(size_mib=64, uid=os.getuid())
    with pytest.raises(DiskUnavailable, match=r"2 nameless RAM devices .*: /dev/disk4, /dev/disk5"):
        door_of(mac, state_dir).ensure(SPEC)
    assert len(mac.images()) == 2


def test_leftovers_that_cannot_be_told_apart_do_not_spoil_a_good_disk(mac, state_dir):
    disk = door_of(mac, state_dir).ensure(SPEC)
    lose_an_attach(state_dir)
    mac.attach_stranger(size_mib=64, uid=os.getuid())
    mac.attach_stranger(size_mib=64, uid=os.getuid())
    assert door_of(mac, state_dir).ensure(SPEC).token == disk.token
    assert len(mac.images()) == 3


def test_a_journal_that_is_garbage_proves_nothing(mac, state_dir):
    mac.attach_stranger(size_mib=64, uid=os.getuid())
    (state_dir / INTENT_NAME).write_text('{"node": "/dev/disk4"}')
    door_of(mac, state_dir).ensure(SPEC)
    assert len(mac.images()) == 2


def test_a_reboot_takes_the_disk_and_the_journal_with_it(mac, state_dir):
    lose_an_attach(state_dir, boot="0B7F0C52-51C5-4C0A-9F5D-2C1B1D1D4A11")
    mac.reboot()
    stranger = mac.attach_stranger(size_mib=64, uid=os.getuid())
    door_of(mac, state_dir).ensure(SPEC)
    assert stranger["pid"] in [one["pid"] for one in mac.images()]
    assert len(mac.images()) == 2


@pytest.mark.parametrize("step", ["diskutil.createContainer", "diskutil.mount"])
def test_a_diskutil_that_stalls_meets_its_deadline_and_leaks_nothing(mac, state_dir, step):
    mac.fault(step, delay_s=30)
    deadlines = DarwinDeadlines(format_s=0.3, mount_s=0.3, pause_s=0.02)
    with pytest.raises(DeadlineExceeded, match=r"`diskutil .* did not end within 0\.3 s"):
        door_of(mac, state_dir, deadlines).ensure(SPEC)
    assert mac.images() == []
    assert not (state_dir / INTENT_NAME).exists()


def test_what_cannot_be_taken_back_at_once_is_taken_back_by_the_next_call(mac, state_dir):
    mac.fault("diskutil.mount", fails="timed out")
    mac.fault("hdiutil.detach", fails="internal error")
    with pytest.raises(DiskUnavailable, match="timed out"):  # the first failure is the one told
        door_of(mac, state_dir).ensure(SPEC)
    assert len(mac.images()) == 1
    disk = door_of(mac, state_dir).ensure(SPEC)
    assert_one_good_disk(mac, state_dir, disk)


def test_an_image_that_the_list_leaves_out_for_a_moment_is_still_there(mac, state_dir):
    door = door_of(mac, state_dir)
    disk = door.ensure(SPEC)
    for ask in (door.ensure, door.identify):
        mac.fault("hdiutil.info", hides_images=True, times=2)
        found = ask(SPEC)
        assert found and found.token == disk.token
    mac.fault("hdiutil.info", hides_images=True, times=2)
    door.unmount(disk)
    assert mac.images() == []


def test_an_image_that_the_list_leaves_out_for_long_is_neither_gone_nor_made_again(mac, state_dir):
    door = door_of(mac, state_dir)
    disk = door.ensure(SPEC)
    mac.fault("hdiutil.info", hides_images=True, times=None)
    for ask in (lambda: door.unmount(disk), lambda: door.ensure(SPEC)):
        with pytest.raises(DiskUnavailable, match="`hdiutil info` does not list its device"):
            ask()
    assert len(mac.images()) == 1


def test_a_helper_that_keeps_stdout_open_keeps_nobody_waiting(mac, state_dir):
    mac.fault("hdiutil.attach", holds_pipe_s=20)
    started = time.monotonic()
    door_of(mac, state_dir).ensure(SPEC)
    assert time.monotonic() - started < 10


def test_two_processes_at_once_make_one_disk(mac, state_dir):
    with start_ensure(mac, state_dir) as one, start_ensure(mac, state_dir) as other:
        said = [door.communicate(timeout=20)[0].split() for door in (one, other)]
    assert said[0][0] == said[1][0]
    assert sorted(adopted for _, adopted in said) == ["False", "True"]
    assert len(mac.images()) == 1


def test_a_lock_that_stays_held_is_a_deadline(mac, state_dir):
    mac.fault("hdiutil.attach", delay_s=30)
    with start_ensure(mac, state_dir) as holder:
        while not mac.calls("hdiutil.attach"):
            time.sleep(0.01)
        with pytest.raises(DeadlineExceeded, match="another process has been changing the RAM"):
            door_of(mac, state_dir, DarwinDeadlines(lock_s=0.1)).ensure(SPEC)
        holder.kill()


@pytest.mark.parametrize("then", ["unmount", "ensure"])
def test_a_disk_that_was_only_half_taken_away_is_finished(mac, state_dir, then):
    door = door_of(mac, state_dir)
    disk = door.ensure(SPEC)
    mac.fault("hdiutil.detach", busy=(1, "?"), unmounts=True, times=None)
    with pytest.raises(DiskBusy):
        door.unmount(disk)
    assert mac.mounted() == [] and len(mac.images()) == 1
    mac.clear_faults()
    if then == "unmount":
        door_of(mac, state_dir).unmount(disk)
        assert mac.images() == []
    else:
        again = door_of(mac, state_dir).ensure(SPEC)
        assert not again.adopted
        assert_one_good_disk(mac, state_dir, again)
    assert not (state_dir / INTENT_NAME).exists()


def test_a_detach_that_stalls_meets_its_deadline_and_can_be_repeated(mac, state_dir):
    disk = door_of(mac, state_dir).ensure(SPEC)
    mac.fault("hdiutil.detach", delay_s=30)
    with pytest.raises(DeadlineExceeded):
        door_of(mac, state_dir, DarwinDeadlines(detach_s=0.3)).unmount(disk)
    door_of(mac, state_dir).unmount(disk)
    assert mac.images() == []


def test_a_state_directory_that_cannot_be_written_stops_before_anything_is_attached(mac, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="cannot write to"):
        door_of(mac, tmp_path / "file" / "state").ensure(SPEC)
    assert mac.images() == []
