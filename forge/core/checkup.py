"""What `forge doctor` says: rows with a verdict, made of what was found. Asks nobody.

`unknown` is what only a daemon can tell while none runs: it is no failure, since builds start one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forge.core.disk import DiskKind
from forge.core.memory import Reading
from forge.core.memory_map import MemoryMap
from forge.core.units import MIB, plural, show_bytes, show_mib

LOW_SPACE_BYTES = 1024 * MIB
NO_SPACE_BYTES = 64 * MIB
"""With so little a database and a log cannot be kept for a day."""

Report = Mapping[str, Any]


class Verdict(StrEnum):
    """How well something is."""

    OK = "ok"
    WARN = "warn"  # it works, and something is not guaranteed or not as good as it could be
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was looked at; `hint` is the way out, `fix` a remedy that risks nothing."""

    name: str
    verdict: Verdict
    finding: str
    hint: str | None = None
    fix: str | None = None


def has_failed(rows: Iterable[Row]) -> bool:
    """Say whether anything is broken."""
    return any(row.verdict is Verdict.FAIL for row in rows)


def unasked(*names: str) -> list[Row]:
    """Return rows for what only a daemon could tell."""
    return [Row(name, Verdict.UNKNOWN, "only a daemon can tell") for name in names]


def disk_row(disk: Report) -> Row:
    """Judge the RAM disk: whether it is there, and what its kind guarantees."""
    name, phase = "RAM disk", disk["phase"]
    if phase == "off":
        return Row(name, Verdict.OK, 'off: disk.kind is "none"')
    if disk["failure"]:
        return Row(name, Verdict.FAIL, str(disk["failure"]), disk["hint"] or "`forge disk mount`")
    if phase == "absent":
        return Row(name, Verdict.OK, f"the next build mounts it at {disk['mount_point']}")
    what = f"{disk['kind']}, {show_mib(disk['size_mib'] or 0)} at {disk['mount_point']}"
    if phase != "mounted":
        return Row(name, Verdict.OK, f"{phase}: {what}")
    if disk["kind"] == DiskKind.APFS_WIRED:
        what += "; its memory is wired, so it is never swapped out"
    if disk["caveats"]:
        return Row(name, Verdict.WARN, f"{what}; {'; '.join(disk['caveats'])}")
    return Row(name, Verdict.OK, f"{what}; its pages are never swapped out")


def gates_row(shim: Report) -> Row:
    """Judge the shim."""
    if shim["failure"]:
        hint = "install a C compiler and rustc; builds run without gates meanwhile"
        return Row("gates", Verdict.WARN, str(shim["failure"]), hint)
    if shim["phase"] == "ready":
        return Row("gates", Verdict.OK, "the shim is compiled")
    return Row("gates", Verdict.OK, "the first build compiles them", fix="shim")


def cgroup_row(cgroup: Report, builds: Iterable[Report], used_bytes: int | None) -> Row:
    """Judge the cgroup of builds; `used_bytes` is what is charged to it now."""
    name, outside = "cgroup of builds", [one for one in builds if one.get("in_cgroup") is False]
    if cgroup["directory"] is None:
        is_off = str(cgroup["failure"]).startswith("off:")
        hint = "run the daemon as root, or as a systemd unit with `Delegate=yes`"
        finding = f"{cgroup['failure'] or 'not there yet'}"
        if is_off:
            return Row(name, Verdict.OK, finding)
        return Row(name, Verdict.WARN, f"none, so builds can be swapped: {finding}", hint)
    ceiling_bytes = cgroup["ceiling_bytes"]
    parts = ["swap off" if cgroup["swap_off"] else "swap on"]
    parts += ["no ceiling" if ceiling_bytes is None else f"ceiling {show_bytes(ceiling_bytes)}"]
    parts += [] if used_bytes is None else [f"{show_bytes(used_bytes)} used, artifacts included"]
    parts += [f"{plural(len(outside), 'build')} could not enter it"] if outside else []
    finding = "; ".join([", ".join(parts), *cgroup["caveats"]])
    is_well = cgroup["swap_off"] and not outside and not cgroup["caveats"]
    return Row(name, Verdict.OK if is_well and ceiling_bytes else Verdict.WARN, finding)


def readings_row(reading: Reading) -> Row:
    """Judge what memory can be read, and what binds."""
    name = "memory readings"
    finding = (
        f"{show_bytes(reading.available_bytes)} of {show_bytes(reading.total_bytes)} available"
    )
    if reading.binding:
        finding += f"; {reading.binding.name} of {reading.binding.place} binds"
    if reading.missing:
        lacks = "; ".join(f"{one.what}: {one.reason}" for one in reading.missing)
        return Row(name, Verdict.WARN, f"{finding}; missing: {lacks}")
    return Row(name, Verdict.OK, finding)


def swap_row(reading: Reading, swapped_out_bytes: int | None) -> Row:
    """Judge the machine's swap; `swapped_out_bytes` counts since the RAM disk was mounted."""
    total_bytes, used_bytes = reading.swap.total_bytes, reading.swap.used_bytes
    if total_bytes is None:
        return Row("swap", Verdict.UNKNOWN, "the system does not tell")
    finding = f"{show_bytes(used_bytes or 0)} of {show_bytes(total_bytes)} used"
    if not total_bytes:
        finding = "the machine has none"
    if swapped_out_bytes:
        finding += f"; {show_bytes(swapped_out_bytes)} went out since the RAM disk was mounted"
        hint = "`forge log` tells when memory was tight; a smaller disk.size leaves more"
        return Row("swap", Verdict.WARN, finding, hint)
    return Row("swap", Verdict.OK, finding)


def low_water_row(reading: Reading, low_water_bytes: int) -> Row:
    """Judge whether memory is short now."""
    finding = f"{show_bytes(low_water_bytes)} stay available"
    if reading.available_bytes < low_water_bytes:
        short = f"{finding}: there are {show_bytes(reading.available_bytes)}, so builds give way"
        return Row("low water", Verdict.FAIL, short, "end something, or lower disk.size")
    return Row("low water", Verdict.OK, finding)


def map_rows(memory_map: MemoryMap, reading: Reading, warning: str = "") -> list[Row]:
    """Judge the memory map against the machine, and the model's row; `warning` is about that."""
    machine_mib = reading.total_bytes // MIB
    total = f"the rows add up to {show_mib(memory_map.total_mib)}"
    if memory_map.total_mib > machine_mib:
        finding = f"{total}, and the machine has {show_mib(machine_mib)}"
        rows = [Row("memory map", Verdict.FAIL, finding, "lower host.memory")]
    else:
        rows = [Row("memory map", Verdict.OK, total)]
    if warning:
        return [*rows, Row("model", Verdict.WARN, warning, "`forge inference plan`")]
    model_mib = memory_map.size_mib("model")
    if not model_mib:
        finding = "none is planned for; inference.model plans for one"
        return [*rows, Row("model", Verdict.OK, finding)]
    return [*rows, Row("model", Verdict.OK, f"{show_mib(model_mib)} are kept for it")]


def wired_limit_row(limit_mib: int, memory_map: MemoryMap) -> Row:
    """Judge macOS's limit of what the GPU may keep resident; 0 is its own choice."""
    name = "iogpu.wired_limit_mb"
    keys = ("model", "draft_model", "agent_context")
    wanted_mib = sum(memory_map.size_mib(key) for key in keys)
    hint = f"`sudo sysctl {name}={wanted_mib}`, which holds until the machine restarts"
    if limit_mib == 0:
        usual_mib = memory_map.total_mib * 3 // 4  # 2/3 up to 36 GB, which is no such machine
        verdict = Verdict.OK if wanted_mib <= usual_mib else Verdict.WARN
        finding = f"0: the system's own choice, about {show_mib(usual_mib)}"
        return Row(name, verdict, finding, None if verdict is Verdict.OK else hint)
    finding = f"{show_mib(limit_mib)}; the model's rows are {show_mib(wanted_mib)}"
    if limit_mib < wanted_mib:
        return Row(name, Verdict.WARN, finding, hint)
    return Row(name, Verdict.OK, finding)


def state_dir_row(path: str, owner: int | None, mode: int, ours: int) -> Row:
    """Judge who may look into the state directory; `owner` None: it is not there yet."""
    name = "state directory"
    if owner is None:
        return Row(name, Verdict.OK, f"{path}: the first build makes it")
    if owner != ours:
        hint = "set FORGE_STATE_DIR to a directory of your own"
        return Row(name, Verdict.FAIL, f"{path} belongs to user {owner}, not to {ours}", hint)
    if mode & 0o077:
        finding = f"{path} has mode {mode & 0o777:04o}, so others can look into it"
        hint = f"`chmod 700 {path}`; the next build does it too"
        return Row(name, Verdict.WARN, finding, hint, fix="state directory")
    return Row(name, Verdict.OK, f"{path}, private")


def space_row(free_bytes: int) -> Row:
    """Judge the room for the log and the database."""
    finding = f"{show_bytes(free_bytes)} free beside the state directory"
    if free_bytes < NO_SPACE_BYTES:
        return Row("disk space", Verdict.FAIL, finding, "make room; builds go on meanwhile")
    verdict = Verdict.WARN if free_bytes < LOW_SPACE_BYTES else Verdict.OK
    return Row("disk space", verdict, finding)
