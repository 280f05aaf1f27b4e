import plistlib

import pytest

from forge.host.ramdisk_darwin_plist import (
    RamImage,
    Volume,
    parse_images,
    parse_volume_at,
    whole_disk,
)


def info(*images: object) -> str:
    return plistlib.dumps({"framework": "683.160.3", "images": list(images)}).decode()


def entities(*devices: str) -> list[dict[str, str]]:
    return [{"dev-entry": device} for device in devices]


def test_an_image_with_apfs_on_it_is_read_whole():
    image = {
        "blockcount": 16384,
        "image-path": "ram://16384",
        "owner-uid": 501,
        "system-entities": [
            {"content-hint": "", "dev-entry": "/dev/disk138"},
            {"dev-entry": "/dev/disk139"},
            {"dev-entry": "/dev/disk139s1", "mount-point": "/Volumes/OptaBuilds 1"},
        ],
    }
    (found,) = parse_images(info(image))
    assert found == RamImage(
        node="/dev/disk138",
        sectors=16384,
        owner_uid=501,
        devices=("disk138", "disk139", "disk139s1"),
        volumes=(Volume("disk139s1", "/Volumes/OptaBuilds 1"),),
    )
    assert found.size_mib == 8
    assert found.volume_at("/Volumes/OptaBuilds") is None


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"image-path": "/Users/opta/x.dmg", "system-entities": entities("/dev/disk4")},
        {"image-path": "ram://x", "system-entities": entities("/dev/disk4")},
        {"image-path": "ram://16384"},  # attached, and no device yet
        {"image-path": "ram://16384", "system-entities": []},
        {"image-path": "ram://16384", "system-entities": [{"content-hint": ""}]},
        {"image-path": "ram://16384", "system-entities": entities("/dev/disk4; rm -r /")},
        "text",
    ],
)
def test_what_is_not_a_whole_ram_image_is_passed_over(image):
    assert parse_images(info(image)) == ()


def test_every_key_but_path_and_entities_may_be_missing():
    image = {"image-path": "ram://2048", "system-entities": entities("/dev/disk4")}
    assert parse_images(info(image)) == (RamImage("/dev/disk4", 2048, None, ("disk4",), ()),)


@pytest.mark.parametrize("text", ["", "no plist", "<plist>", "<plist><array/></plist>", "bplist00"])
def test_garbage_is_a_value_error(text):
    with pytest.raises(ValueError, match="not a property list"):
        parse_images(text)


def test_a_list_without_images_is_empty():
    assert parse_images(plistlib.dumps({}).decode()) == ()
    assert parse_images(info()) == ()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("/Volumes/CMDR1", ("disk6s1", "CMDR1")),
        ("/Volumes/plain", None),  # diskutil answered for what the directory is on
    ],
)
def test_only_an_answer_about_the_asked_mount_point_counts(asked, found):
    answer = {
        "DeviceIdentifier": "disk6s1",
        "MountPoint": "/Volumes/CMDR1",
        "VolumeName": "CMDR1",
    }
    assert parse_volume_at(plistlib.dumps(answer).decode(), asked) == found


@pytest.mark.parametrize(
    ("device", "whole"),
    [("/dev/disk5s1", "disk5"), ("disk5", "disk5"), ("disk12s1s1", "disk12")],
)
def test_a_piece_names_its_whole_disk(device, whole):
    assert whole_disk(device) == whole


def test_what_is_no_disk_has_no_whole_disk():
    with pytest.raises(ValueError, match="is not a disk"):
        whole_disk("/Volumes/x")
