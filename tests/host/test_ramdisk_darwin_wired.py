"""The RAM disk in macOS's kernel, against the simulated macOS: believed when two things agree."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from forge.core.disk import DiskKind, DiskSpec
from forge.errors import DiskUnavailable
from forge.host.disk_marker import read_marker
from forge.host.ramdisk import RamDisk
from tests.host.test_ramdisk_darwin import QUICK, door_of, is_settled, target
from tests.macos.fixtures import simulated_mac  # noqa: F401
from tests.macos.simulated import SimulatedMac

WIRED = DiskSpec("/Volumes/OptaBuilds", size_mib=128, inodes=0, kind=DiskKind.APFS_WIRED)
ORDINARY = DiskSpec("/Volumes/OptaBuilds", size_mib=128, inodes=0)


@pytest.fixture
def mac(simulated_mac: SimulatedMac) -> SimulatedMac:  # noqa: F811
    return simulated_mac


@pytest.fixture
def door(mac: SimulatedMac, tmp_path: Path) -> RamDisk:
    return door_of(mac, tmp_path, QUICK)


def attached(mac):
    return [argv[1:-1] for argv in mac.calls("hdiutil.attach")]


def test_it_is_not_tried_unless_it_is_asked_for(mac, door):
    mac.keep_in_kernel("wired")
    assert door.place_of(None)[0] is DiskKind.APFS
    assert door.ensure(ORDINARY).kind is DiskKind.APFS
    assert attached(mac) == [["-nomount"]]


def test_where_macos_has_it_the_disk_is_wired_and_says_so_after_a_restart_too(mac, door, tmp_path):
    mac.keep_in_kernel("wired")
    disk = door.ensure(WIRED)
    assert disk.kind is DiskKind.APFS_WIRED
    assert attached(mac) == [["-kernel", "-nomount"]]
    assert not any("pageable" in one for one in disk.caveats)
    marker = read_marker(target(mac))
    assert marker and marker.kind is DiskKind.APFS_WIRED
    assert is_settled(tmp_path)
    assert os.listdir(target(mac)).count(".opta-forge-probe") == 0
    again = door_of(mac, tmp_path).identify(WIRED)
    assert again and (again.kind, again.adopted, again.caveats) == (disk.kind, True, disk.caveats)
    assert door.ensure(ORDINARY).kind is DiskKind.APFS_WIRED, "what is there is better, and kept"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("refused", "Operation not permitted"),
        ("ignored", "macOS took no notice of `-kernel`: a helper (pid 5000001)"),
        ("pageable", "64 MiB were written to it, and wired memory grew by 0 B"),
    ],
)
def test_what_is_not_proven_to_be_wired_is_taken_away_and_the_ordinary_one_made(
    mac, door, tmp_path, how, why
):
    mac.keep_in_kernel(how)
    disk = door.ensure(WIRED)
    assert disk.kind is DiskKind.APFS
    first, second, *_ = disk.caveats
    assert first.startswith('disk.kind asks for "apfs-wired", and this is the ordinary one: ')
    assert why in first and "pageable" in second
    assert attached(mac) == [["-kernel", "-nomount"], ["-nomount"]]
    assert len(mac.images()) == 1
    assert mac.mounted() == [str(target(mac))]
    assert is_settled(tmp_path)
    again = door_of(mac, tmp_path).identify(WIRED)
    assert again and "none was wanted or to be had" in again.caveats[0]


@pytest.mark.parametrize("verb", ["createContainer", "addVolume", "mount"])
def test_one_that_cannot_be_formatted_is_taken_away_as_well(mac, door, verb):
    mac.keep_in_kernel("wired")
    mac.fault(f"diskutil.{verb}", fails="it does not like this device")
    disk = door.ensure(WIRED)
    assert disk.kind is DiskKind.APFS
    assert "does not like this device" in disk.caveats[0]
    assert len(mac.images()) == 1


def test_one_whose_memory_cannot_be_measured_is_not_tried(mac, door):
    mac.keep_in_kernel("wired")
    mac.fault("vm_stat", says="nothing of the kind\n", exit_code=0)
    disk = door.ensure(WIRED)
    assert "`vm_stat` does not tell how much is wired" in disk.caveats[0]
    assert attached(mac) == [["-nomount"]]


def test_an_attach_that_hangs_is_given_up_and_what_it_leaves_later_is_swept(mac, tmp_path):
    mac.keep_in_kernel("wired")
    mac.fault("hdiutil.attach", late_s=1.0)
    door = door_of(mac, tmp_path, replace(QUICK, attach_s=0.5, settle_s=5.0))
    disk = door.ensure(WIRED)
    assert disk.kind is DiskKind.APFS
    assert [image["wired"] for image in mac.images()] == [False]
    assert is_settled(tmp_path)


def test_a_disk_that_is_too_small_for_the_proof_is_ordinary(mac, door):
    mac.keep_in_kernel("wired")
    small = DiskSpec("/Volumes/OptaBuilds", size_mib=32, inodes=0, kind=DiskKind.APFS_WIRED)
    disk = door.ensure(small)
    assert disk.kind is DiskKind.APFS
    assert len(mac.images()) == 1


def test_when_neither_can_be_had_the_reason_is_that_of_the_ordinary_one(mac, door):
    mac.fault("hdiutil.attach", fails="No space left on device", times=None)
    with pytest.raises(DiskUnavailable, match="No space left"):
        door.ensure(WIRED)
    assert mac.images() == []
