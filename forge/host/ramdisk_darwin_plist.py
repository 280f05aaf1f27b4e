"""What `hdiutil info -plist` and `diskutil info -plist` say, as values.

Every key but the path and the entities of an image may be missing: older and newer macOS differ.
"""

import plistlib
import re
from dataclasses import dataclass
from xml.parsers.expat import ExpatError

SECTORS_PER_MIB = 2048  # a ram:// sector is 512 bytes
_RAM_PATH = re.compile(r"ram://(\d+)")
_NODE = re.compile(r"(?:/dev/)?(disk\d+)(?:s\d+)*")


@dataclass(frozen=True, slots=True)
class Volume:
    """A piece of an image that is mounted: `device` is `disk5s1`."""

    device: str
    mount_point: str


@dataclass(frozen=True, slots=True)
class RamImage:
    """An attached ram:// image. `node` is its physical device, the first entity (`/dev/disk4`).

    `helper_pid` is the process that keeps its memory; None: not told, or the kernel does.
    """

    node: str
    sectors: int
    owner_uid: int | None
    devices: tuple[str, ...]
    volumes: tuple[Volume, ...]
    helper_pid: int | None = None

    @property
    def size_mib(self) -> int:
        """Its capacity; memory is only used as it is written."""
        return self.sectors // SECTORS_PER_MIB

    def volume_at(self, mount_point: str) -> Volume | None:
        """Return the volume of this image that is mounted there."""
        return next((one for one in self.volumes if one.mount_point == mount_point), None)


def parse_images(text: str) -> tuple[RamImage, ...]:
    """Return the ram:// images that `hdiutil info -plist` lists; ValueError for garbage."""
    images = _load(text).get("images", [])
    if not isinstance(images, list):
        raise ValueError("`images` is not a list")
    found = (_image(one) for one in images if isinstance(one, dict))
    return tuple(one for one in found if one is not None)


def parse_volume_at(text: str, mount_point: str) -> tuple[str, str] | None:
    """Return device and name of what is mounted exactly at `mount_point`.

    Asked about a plain directory, `diskutil info` answers for the volume that the directory is on:
    only the MountPoint in the answer tells.
    """
    info = _load(text)
    if info.get("MountPoint") != mount_point:
        return None
    return str(info.get("DeviceIdentifier", "?")), str(info.get("VolumeName", "?"))


def whole_disk(device: str) -> str:
    """Return `disk5` for `/dev/disk5s1`."""
    match = _NODE.fullmatch(device)
    if not match:
        raise ValueError(f"{device!r} is not a disk")
    return match[1]


def _load(text: str) -> dict[str, object]:
    try:
        value = plistlib.loads(text.encode())
    except (plistlib.InvalidFileException, ExpatError, ValueError, IndexError) as error:
        raise ValueError(f"not a property list: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("not a property list of the expected shape")
    return value


def _image(entry: dict[str, object]) -> RamImage | None:
    path = _RAM_PATH.fullmatch(str(entry.get("image-path", "")))
    entities = entry.get("system-entities")
    if not path or not isinstance(entities, list):
        return None
    known = [one for one in entities if isinstance(one, dict) and _NODE.fullmatch(_device(one))]
    if not known:
        return None  # attached, and its device is not there yet
    owner, helper = entry.get("owner-uid"), entry.get("hdid-pid")
    return RamImage(
        node=f"/dev/{whole_disk(_device(known[0]))}",
        sectors=int(path[1]),
        owner_uid=owner if isinstance(owner, int) else None,
        devices=tuple(_device(one) for one in known),
        volumes=tuple(
            Volume(_device(one), str(one["mount-point"])) for one in known if one.get("mount-point")
        ),
        helper_pid=helper if isinstance(helper, int) and helper > 0 else None,
    )


def _device(entity: dict[str, object]) -> str:
    return str(entity.get("dev-entry", "")).strip().removeprefix("/dev/")
