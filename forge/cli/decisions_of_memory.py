"""What was decided about memory, as sentences for people."""

from collections.abc import Callable, Mapping
from typing import Any

from forge.core.units import show_bytes

Entry = Mapping[str, Any]


def _state(entry: Entry) -> str:
    """Say what there is: `1.2 GiB available, low water 1.0 GiB, falling by 512 MiB/s`."""
    said = f"{show_bytes(entry['available'])} available, low water {show_bytes(entry['low_water'])}"
    if entry["falling"]:
        said += f", falling by {show_bytes(entry['falling'])}/s"
    return said


def _tight(entry: Entry) -> str:
    return f"memory is tight, so Forge goes on to: {entry['rung']} ({_state(entry)})"


def _eased(entry: Entry) -> str:
    now = "nothing is held back any more" if entry["rung"] == "calm" else f"now: {entry['rung']}"
    return f"memory has eased: {now} ({_state(entry)})"


SENTENCES_OF_MEMORY: Mapping[str, Callable[[Entry], str]] = {
    "link.cancelled": lambda e: (
        f"{e['build']} links {e['link']} again later: it had booked {show_bytes(e['booked'])}"
    ),
    "memory.eased": _eased,
    "memory.tight": _tight,
    "memory.unmeasured": lambda e: (
        f"memory cannot be read, so links go by the linker buffer alone: {e['reason']}"
    ),
    "unit.paused": lambda e: f"{e['build']} has its rustc of {e['unit']} stopped, for memory",
    "unit.resumed": lambda e: f"{e['build']} goes on with its rustc of {e['unit']}",
}
