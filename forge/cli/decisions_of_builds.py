"""Sentences about builds: from the moment one waits until its cargo is over."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from forge.core.builds import BuildPhase
from forge.core.units import plural, show_bytes, show_duration

Entry = Mapping[str, Any]


def _name(entry: Entry) -> str:
    """Return a build's id and project, where the entry tells the project."""
    build, root = entry["build"], entry.get("root")
    return f"{build} ({os.path.basename(root)})" if root else str(build)


def _waits(entry: Entry) -> str:
    ahead = list(entry["ahead"])
    if entry["for"] == BuildPhase.WAITING_FOR_TARGET_DIR:
        then = f"; then {_and(ahead[1:])}" if ahead[1:] else ""
        return f"{_name(entry)} waits for {ahead[0]}, which builds in the same target dir{then}"
    behind = f", behind {_and(ahead)}" if ahead else ": it is next"
    return f"{_name(entry)} waits in line{behind}"


def _granted(entry: Entry) -> str:
    command = f"`cargo {' '.join(entry['argv'])}`"
    where = (
        f"in {entry['target_dir']}" if entry["target_dir"] else f"off the RAM disk: {entry['why']}"
    )
    ungated = "" if entry["gated"] else "; without gates"
    return f"{_name(entry)} may start {command} {where}{ungated}"


def _started(entry: Entry) -> str:
    after = f" after {show_duration(entry['wait_s'])}" if "wait_s" in entry else ""
    return f"{entry['build']} cargo started{after}"


def _ended(entry: Entry) -> str:
    numbers = [_outcome(entry), show_duration(entry["wall_s"]), plural(entry["units"], "unit")]
    numbers += [plural(entry[f"{noun}s"], noun) for noun in ("link", "test") if entry[f"{noun}s"]]
    if entry["lost"]:
        numbers.append(f"{entry['lost']} lost")
    if entry["peak_kib"]:
        numbers.append(f"peak {show_bytes(entry['peak_kib'] * 1024)}")
    if entry["cpu_s"]:
        numbers.append(f"{show_duration(entry['cpu_s'])} of cores")
    if entry["waited_s"] >= 1:
        numbers.append(f"units waited {show_duration(entry['waited_s'])} in all")
    return f"{_name(entry)} ended: {', '.join(numbers)}"


def _outcome(entry: Entry) -> str:
    if entry.get("signal") is not None:
        return f"signal {entry['signal']}"
    return "no exit code known" if entry.get("exit") is None else f"exit {entry['exit']}"


def _impatient(entry: Entry) -> str:
    patience = show_duration(entry["patience_s"])
    return f"{entry['build']} gave up: it has waited for {patience}, as long as it may"


def _adopted(entry: Entry) -> str:
    where = f"; it builds in {entry['target_dir']}" if entry["target_dir"] else ""
    return f"{entry['build']} was taken over from an earlier daemon{where}"


def _left(entry: Entry) -> str:
    if entry["phase"] == BuildPhase.GRANTED:  # what builds nothing does not say that cargo runs
        return f"{entry['build']} left when it was granted, as `clean` and `metadata` do"
    return f"{entry['build']} left before its cargo had started; it was {entry['phase']}"


def _gone(entry: Entry) -> str:
    return f"{entry['build']} is over: its {entry['part']} has ended, and nobody told how"


def _healed(entry: Entry) -> str:
    count = entry["tokens"]
    if count < 0:
        return f"{_name(entry)} had {plural(-count, 'job token')} too many: taken out"
    return f"{_name(entry)} got {plural(count, 'job token')} back that went with a killed process"


def _and(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


SENTENCES_OF_BUILDS: Mapping[str, Callable[[Entry], str]] = {
    "build.adopted": _adopted,
    "build.again": lambda e: f"{e['build']} carries on {e['of']}",
    "build.cancelled": lambda e: f"{e['build']} is cancelled; it was {e['phase']}",
    "build.compiled": lambda e: f"{e['build']} has compiled all: the next may have its target dir",
    "build.ended": _ended,
    "build.gone": _gone,
    "build.granted": _granted,
    "build.impatient": _impatient,
    "build.left": _left,
    "build.orphaned": lambda e: (
        f"{e['build']} has lost its launcher, which was killed: its cargo is told to end"
    ),
    "build.priority": lambda e: f"{e['build']} is {e['priority']} now",
    "build.lost_disk": lambda e: (
        f"{e['build']} has lost its disk and " + ("goes on with another" if e["again"] else "ends")
    ),
    "build.requeued": lambda e: (
        f"{_name(e)} is ended for memory, to go on later ({plural(e['times'], 'time')} so far)"
    ),
    "build.started": _started,
    "build.waits": _waits,
    "jobserver.healed": _healed,
    "jobserver.failed": lambda e: (
        f"{e['build']} gets no job tokens, so cargo makes its own: {e['why']}"
    ),
}
