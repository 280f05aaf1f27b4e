"""The diskutil of the simulated macOS: returns exit code, stdout and stderr, as macOS words them.

Names of what it makes come on lines of their own; what it says to a plain directory is a trap.
"""

from __future__ import annotations

import os

from tests.macos.disk_programs import hdiutil
from tests.macos.images import VOLUME_HINT, disk_name, entities, image_of, plist, volume_of
from tests.macos.mounts import Busy
from tests.macos.world import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Answer = tuple[int, str, str]


def diskutil(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    words = [word for word in argv if word not in ("apfs", "quiet")]
    verb, rest = words[0], words[1:]
    verbs = {
        "createContainer": _create_container,
        "create": _create_both,
        "addVolume": _add_volume,
        "eraseVolume": _erase_volume,
        "mount": _mount,
        "unmount": _unmount,
        "unmountDisk": _unmount,
        "umount": _unmount,
        "rename": _rename,
        "renameVolume": _rename,
        "info": _info,
        "list": _list,
        "eject": _eject,
    }
    if verb not in verbs:
        return 1, "", f"diskutil: did not recognize verb `{verb}'\n"
    if fault.get("busy") and verb.startswith("unmount"):
        return _dissented(disk_name(rest[-1]), Busy(*fault["busy"]))
    return verbs[verb](world, rest)


def _create_container(world: World, argv: list[str]) -> Answer:
    disk = disk_name(argv[0])
    with world.changing() as state:
        image = image_of(state, disk)
        if image is None:
            return _no_disk(argv[0])
        made = world.add_container(state, image)
    return 0, (
        f"Started APFS operation on {disk}\nCreating a new empty APFS Container\n"
        f"Unmounting Volumes\nSwitching {disk} to APFS\nCreating APFS Container\n"
        f"Created new APFS Container disk{made}\nDisk from APFS operation: disk{made}\n"
        f"Finished APFS operation on {disk}\n"
    ), ""  # fmt: skip


def _add_volume(world: World, argv: list[str]) -> Answer:
    disk, name = disk_name(argv[0]), argv[2]
    mounts = "-nomount" not in argv
    with world.changing() as state:
        image = image_of(state, disk, container=True)
        if image is None:
            return _no_disk(argv[0])
        volume = world.add_volume(state, image, name)
        if mounts:
            world.mount(volume)
    device = volume["device"]
    return 0, (
        f'Will export new APFS Volume "{name}" from APFS Container Reference {disk}\n'
        f"Started APFS operation on {disk}\nPreparing to add APFS Volume to APFS Container {disk}\n"
        f"Creating APFS Volume\nCreated new APFS Volume {device}\n"
        + ("Mounting APFS Volume\nSetting volume permissions\n" if mounts else "")
        + f"Disk from APFS operation: {device}\nFinished APFS operation on {disk}\n"
    ), ""  # fmt: skip


def _create_both(world: World, argv: list[str]) -> Answer:
    code, made, error = _create_container(world, argv[:1])
    if code:
        return code, made, error
    container = made.partition("operation: ")[2].split()[0]
    code, added, error = _add_volume(world, [container, "APFS", argv[1]])
    return code, made + added, error


def _erase_volume(world: World, argv: list[str]) -> Answer:
    disk = disk_name(argv[2])
    code, _, error = _create_both(world, [disk, argv[1]])
    if code:
        return code, "", error
    return 0, (
        f"Started erase on {disk}\nUnmounting disk\nErasing\nMounting disk\n"
        f"Finished erase on {disk} {argv[1]}\n"
    ), ""  # fmt: skip


def _mount(world: World, argv: list[str]) -> Answer:
    if "-mountPoint" in argv:
        return 1, "", "Volume failed to mount: not privileged (0xf8da0009)\n"
    with world.changing() as state:
        volume = volume_of(state, argv[-1])
        if volume is None:
            return 1, f"Unable to find disk for {argv[-1]}\n", ""
        world.mount(volume)
    return 0, f"Volume {volume['name']} on {volume['device']} mounted\n", ""


def _unmount(world: World, argv: list[str]) -> Answer:
    force = "force" in argv
    with world.changing() as state:
        volume = volume_of(state, argv[-1])
        image = image_of(state, argv[-1], container=True) or image_of(state, argv[-1])
        if volume is None and image is None:
            return 1, f"Unable to find disk for {argv[-1]}\n", ""
        try:
            for one in [volume] if volume else image["volumes"] if image else []:
                world.unmount(one, force=force)
        except Busy as busy:
            return _dissented(disk_name(argv[-1]), busy)
    if volume:
        return 0, f"Volume {volume['name']} on {volume['device']} unmounted\n", ""
    return 0, f"Unmount of all volumes on {disk_name(argv[-1])} was successful\n", ""


def _dissented(disk: str, busy: Busy) -> Answer:
    return 1, (
        f"Unmount of {disk} failed: at least one volume could not be unmounted\n"
        f"Unmount was dissented by PID {busy.pid} ({busy.program})\n"
        "Dissenter parent PPID 1 (/sbin/launchd)\n"
    ), ""  # fmt: skip


def _rename(world: World, argv: list[str]) -> Answer:
    with world.changing() as state:
        volume = volume_of(state, argv[0])
        if volume is None:
            return 1, f"Unable to find disk for {argv[0]}\n", ""
        world.rename(volume, argv[1])
    return 0, f"Volume on {volume['device']} renamed to {argv[1]}\n", ""


def _eject(world: World, argv: list[str]) -> Answer:
    code, _, error = hdiutil(world, ["detach", argv[-1]], {})
    return (0, f"Disk {argv[-1]} ejected\n", "") if code == 0 else (1, error, "")


def _info(world: World, argv: list[str]) -> Answer:
    asked, state = argv[-1], world.read()
    volume = volume_of(state, asked)
    if volume:
        image = next(one for one in state["images"] if volume in one["volumes"])
        info = _volume_info(volume, image)
    elif asked.startswith("/") and os.path.lexists(asked):
        # the trap: a plain path is answered with the volume that it is on
        info = {
            "DeviceIdentifier": "disk3s5",
            "MountPoint": "/System/Volumes/Data",
            "VolumeName": "Data",
            "FreeSpace": 0,
        }
    else:
        message = f"Could not find disk: {asked}"
        info = {"Error": True, "ErrorMessage": message, "ExitCode": 1}
    return int(info.get("ExitCode", 0)), plist(info), ""


def _volume_info(volume: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    return {
        "APFSContainerReference": f"disk{image['container']}",
        "APFSContainerSize": image["sectors"] * 512,
        "APFSPhysicalStores": [{"APFSPhysicalStore": f"disk{image['disk']}"}],
        "BusProtocol": "Disk Image",
        "Content": VOLUME_HINT,
        "DeviceIdentifier": volume["device"],
        "DeviceNode": f"/dev/{volume['device']}",
        "FilesystemType": "apfs",
        "FreeSpace": 0,
        "MountPoint": volume["mount_point"] or "",
        "ParentWholeDisk": f"disk{image['container']}",
        "Size": image["sectors"] * 512,
        "VolumeName": volume["name"],
        "WholeDisk": False,
    }


def _list(world: World, argv: list[str]) -> Answer:
    rows = [entity for image in world.read()["images"] for entity in entities(image)]
    names = ["disk0", "disk3", *(device for device, _, _ in rows)]
    whole = [name for name in names if "s" not in name.removeprefix("disk")]
    listed = {"AllDisks": names, "VolumesFromDisks": [], "WholeDisks": whole}
    return 0, plist(listed | {"AllDisksAndPartitions": []}), ""


def _no_disk(asked: str) -> Answer:
    return 1, "Error: -69808: Some information was unavailable during an internal lookup\n", ""
