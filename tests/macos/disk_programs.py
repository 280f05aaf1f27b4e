"""Disk tools of the simulated macOS: hdiutil, newfs_apfs, mdutil.

Each takes its arguments and returns exit code, stdout and stderr, worded as macOS words them.
"""

from __future__ import annotations

import os

from tests.macos.images import disk_name, entities, image_of, plist
from tests.macos.mounts import Busy
from tests.macos.world import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Answer = tuple[int, str, str]


def hdiutil(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    verb, rest = argv[0], argv[1:]
    if verb == "attach":
        return _attach(world, rest)
    if verb in ("detach", "eject"):
        return _detach(world, rest, fault)
    if verb == "info":
        hides = bool(fault.get("hides_images"))
        return _info_plist(world, hides) if "-plist" in rest else _info_text(world, hides)
    return 1, "", f"hdiutil: {verb}: unknown verb\n"


def newfs_apfs(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    name = argv[argv.index("-v") + 1] if "-v" in argv else "untitled"
    with world.changing() as state:
        image = image_of(state, argv[-1])
        if image is None:
            return 1, "", f"newfs_apfs: unable to open {argv[-1]}: No such file or directory\n"
        world.add_container(state, image)
        world.add_volume(state, image, name)
    return 0, "", ""


def mdutil(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    return 0, f"{argv[-1]}:\n\tIndexing disabled.\n", ""


def _attach(world: World, argv: list[str]) -> Answer:
    sectors = argv[-1].removeprefix("ram://")
    if not sectors.isdigit():
        return 1, "", "hdiutil: attach failed - No such file or directory\n"
    in_kernel = world.read()["in_kernel"] if "-kernel" in argv else "ignored"
    if in_kernel == "refused":
        return 1, "", "hdiutil: attach failed - Operation not permitted\n"
    with world.changing() as state:
        image = world.attach(state, argv[-1], int(sectors), os.getuid())
        image["helped"] = in_kernel == "ignored"
        image["wired"] = in_kernel == "wired"
    return 0, f"/dev/disk{image['disk']:<11}\t{'':31}\t\n", ""


def _detach(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    disk = disk_name(next(word for word in argv if not word.startswith("-")))
    busy = (16, "", f'hdiutil: couldn\'t eject "{disk}" - Resource busy\n')
    with world.changing() as state:
        image = image_of(state, disk)
        if image is None:
            return 1, "", "hdiutil: detach failed - No such file or directory\n"
        if fault.get("busy"):
            if not fault.get("unmounts"):
                return 16, "", f'hdiutil: couldn\'t unmount "{disk}" - Resource busy\n'
            for volume in image["volumes"]:
                world.unmount(volume, force=True)
            return busy[0], f'"{disk}" unmounted.\n', busy[2]
        try:
            world.detach(state, image, force="-force" in argv)
        except Busy:
            return 16, "", f'hdiutil: couldn\'t unmount "{disk}" - Resource busy\n'
    return 0, f'"{disk}" unmounted.\n"{disk}" ejected.\n', ""


def _info_plist(world: World, hides: bool) -> Answer:
    state = world.read()
    images = []
    for image in [] if hides else state["images"]:
        entry = {
            "autodiskmount": False,
            "blockcount": image["sectors"],
            "blocksize": 512,
            "hdid-pid": image["pid"],
            "image-encrypted": False,
            "image-path": image["path"],
            "image-type": "read/write",
            "owner-uid": image["uid"],
            "removable": True,
            "system-entities": [
                {"content-hint": hint, "dev-entry": f"/dev/{device}"}
                | ({"mount-point": place} if place else {})
                for device, hint, place in entities(image)
            ],
            "writeable": True,
        }
        if not image["helped"]:
            del entry["hdid-pid"]
        if not state["shows_owner"]:
            del entry["owner-uid"]
            entry.pop("hdid-pid", None)
        images.append(entry)
    info = {"framework": "683.160.3", "images": images, "revision": "683.160.3", "vendor": "Apple"}
    return 0, plist(info), ""


def _info_text(world: World, hides: bool) -> Answer:
    images = [] if hides else world.read()["images"]
    rule = "=" * 48
    lines = ["framework       : 683.160.3", "driver          : 683.160.3"]
    lines += [f"images          : {len(images)}", rule]
    for image in images:
        lines += [
            f"image-path      : {image['path']}",
            "image-type      : read/write",
            f"blockcount      : {image['sectors']}",
            "mounting mode   : <unknown>",
            f"process ID      : {image['pid']}",
            "framework name  : DiskImages",
        ]
        lines += [f"/dev/{dev}\t{hint}\t{place or ''}" for dev, hint, place in entities(image)]
        lines.append(rule)
    return 0, "\n".join(lines) + "\n", ""
