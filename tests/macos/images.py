"""Finding images and volumes in the state of the simulated macOS."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


CONTAINER_HINT = "EF57347C-0000-11AA-AA11-00306543ECAC"
VOLUME_HINT = "41504653-0000-11AA-AA11-00306543ECAC"


def entities(image: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    rows: list[tuple[str, str, str | None]] = [(f"disk{image['disk']}", "", None)]
    if image["container"] is not None:
        rows.append((f"disk{image['container']}", CONTAINER_HINT, None))
    rows += [(one["device"], VOLUME_HINT, one["mount_point"]) for one in image["volumes"]]
    return rows


def disk_name(text: str) -> str:
    return text.removeprefix("/dev/").removeprefix("r")


def image_of(
    state: dict[str, Any], device: str, *, container: bool = False
) -> dict[str, Any] | None:
    key = "container" if container else "disk"
    name = disk_name(device)
    return next((one for one in state["images"] if f"disk{one[key]}" == name), None)


def volume_of(state: dict[str, Any], asked: str) -> dict[str, Any] | None:
    """Find a volume by device, mount point or name."""
    for image in state["images"]:
        for volume in image["volumes"]:
            found: dict[str, Any] = volume
            if asked in (volume["mount_point"], volume["name"]):
                return found
            if disk_name(asked) == volume["device"]:
                return found
    return None


def plist(value: dict[str, Any]) -> str:
    """Write a property list; importing plistlib would cost each program more than its work."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN"'
        ' "http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'
        f'<plist version="1.0">\n{_element(value)}</plist>\n'
    )


def _element(value: Any) -> str:
    if isinstance(value, dict):
        rows = (f"<key>{escape(key)}</key>{_element(one)}" for key, one in value.items())
        return f"<dict>\n{''.join(rows)}</dict>\n"
    if isinstance(value, list):
        return f"<array>\n{''.join(map(_element, value))}</array>\n" if value else "<array/>\n"
    if isinstance(value, bool):
        return "<true/>\n" if value else "<false/>\n"
    if isinstance(value, int):
        return f"<integer>{value}</integer>\n"
    return f"<string>{escape(value)}</string>\n"


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
