"""What was decided about memory, as sentences for people."""

from collections.abc import Callable, Mapping
from typing import Any

from forge.core.units import plural, show_bytes, show_duration, show_mib

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


def _killed(what: str, name: str, entry: Entry) -> str:
    reached, available = show_bytes(entry["reached"]), show_bytes(entry["available"])
    return (
        f"the {what} of {name} in {entry['build']} was killed for memory: it had reached {reached},"
        f" {available} was available; from now on it books {show_bytes(entry['needs'])} or more"
    )


def _link_ended(entry: Entry) -> str:
    known = "from earlier runs" if entry["learned"] else "by its inputs"
    return (
        f"{entry['build']} has linked {entry['link']}: it had booked"
        f" {show_bytes(entry['booked'])} {known}, and needed {show_bytes(entry['peak'])}"
    )


def _held(entry: Entry) -> str:
    """Say what a reservation holds: `r4 (import): 40.0 GiB and 2 cores`."""
    held = f"{show_mib(entry['memory_mib'])} and {plural(entry['cores'], 'core')}"
    return f"{entry['reservation']} ({entry['name']}): {held}"


def _ended(entry: Entry) -> str:
    is_killed = entry.get("signal") is not None
    how = f"signal {entry['signal']}" if is_killed else f"exit {entry['exit']}"
    numbers = [how, show_duration(entry["wall_s"])]
    if entry["peak_kib"]:
        numbers.append(f"peak of a process {show_bytes(entry['peak_kib'] * 1024)}")
    numbers.append(f"{show_duration(entry['cpu_s'])} of cores")
    return f"{_held(entry)} are free again: {', '.join(numbers)}"


def _granted(entry: Entry) -> str:
    after = f" after {show_duration(entry['wait_s'])}" if entry["wait_s"] >= 0.05 else ""
    return f"{_held(entry)} are held for it{after}"


def _left(entry: Entry) -> str:
    then = "; its command may run on" if entry["running"] else " before it had started"
    return f"{_held(entry)} are given up, as its `forge reserve` is gone{then}"


def _reserve_cancelled(entry: Entry) -> str:
    was = "its command is told to end" if entry["running"] else "it was waiting"
    return f"{entry['reservation']} ({entry['name']}) is cancelled; {was}"


def _cgroup_opened(entry: Entry) -> str:
    swapped = "and are never swapped" if entry["swap_off"] else "and may be swapped"
    return f"builds run in a cgroup of their own, {entry['directory']}, {swapped}"


SENTENCES_OF_MEMORY: Mapping[str, Callable[[Entry], str]] = {
    "cgroup.missing": lambda e: f"builds have no cgroup, so they may be swapped: {e['reason']}",
    "cgroup.opened": _cgroup_opened,
    "cgroup.unlimited": lambda e: f"the ceiling of builds could not be set: {e['reason']}",
    "link.cancelled": lambda e: (
        f"{e['build']} links {e['link']} again later: it had booked {show_bytes(e['booked'])}"
    ),
    "link.ended": _link_ended,
    "link.killed": lambda e: _killed("linker", e["link"], e),
    "memory.eased": _eased,
    "memory.tight": _tight,
    "memory.unmeasured": lambda e: (
        f"memory cannot be read, so links go by the linker buffer alone: {e['reason']}"
    ),
    "reserve.cancelled": _reserve_cancelled,
    "reserve.ended": _ended,
    "reserve.granted": _granted,
    "reserve.impatient": lambda e: (
        f"{e['reservation']} ({e['name']}) gave up: it has waited for"
        f" {show_duration(e['patience_s'])}, as long as it may"
    ),
    "reserve.left": _left,
    "reserve.waits": lambda e: f"{_held(e)} are not there yet: it waits",
    "unit.killed": lambda e: _killed("rustc", e["unit"], e),
    "unit.paused": lambda e: f"{e['build']} has its rustc of {e['unit']} stopped, for memory",
    "unit.resumed": lambda e: f"{e['build']} goes on with its rustc of {e['unit']}",
}
