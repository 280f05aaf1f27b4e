"""The decisions of the log as sentences for people.

Each decision has one function, which takes the entry and says it with its numbers. An entry that
lacks what its sentence needs, because a daemon of another version wrote it, and a decision that is
not known here are shown as they are in the log: name and fields.
"""

from collections.abc import Callable, Mapping
from typing import Any

from rich.text import Text

from forge.cli.decisions_of_builds import SENTENCES_OF_BUILDS
from forge.cli.decisions_of_inference import SENTENCES_OF_INFERENCE
from forge.cli.decisions_of_memory import SENTENCES_OF_MEMORY
from forge.cli.decisions_of_targets import SENTENCES_OF_TARGETS
from forge.cli.render import decision_line, plain
from forge.core.units import plural, show_bytes, show_duration, show_mib

Entry = Mapping[str, Any]

WRONG = frozenset((
    "build.orphaned", "cgroup.unlimited", "cgroup.unweighed", "config.refused",
    "config.unwatched", "daemon.bug", "daemon.unreachable", "disk.failed", "disk.lost",
    "disk.read_only", "disk.unmeasured", "disk.unseen", "disk.unwatched",
    "jobserver.failed", "link.killed", "memory.unmeasured", "peer.deaf", "peer.garbage",
    "peer.oversize", "peer.refused", "shim.missing", "store.failed", "target.task_failed",
    "target.unlinked", "unit.killed",
))  # fmt: skip
"""Decisions that tell of something that went wrong."""


def sentence(entry: Entry) -> Text:
    """Say one decision in a sentence."""
    decision = str(entry.get("decision"))
    say = SENTENCES.get(decision)
    try:
        said = say(entry) if say else ""
    except (LookupError, TypeError, ValueError, AttributeError):
        said = ""  # written by a daemon of another version
    if not said:
        return decision_line({**entry, "at": ""})[2:]
    return Text(plain(said), "red" if _is_wrong(decision, entry) else "")


def _is_wrong(decision: str, entry: Entry) -> bool:
    return decision in WRONG or (decision == "build.ended" and entry.get("exit") != 0)


def _daemon_bug(entry: Entry) -> str:
    last = str(entry["traceback"]).rstrip().splitlines()[-1].strip()
    again = f", {plural(entry['repeats'], 'time')} more" if entry.get("repeats") else ""
    return f"something nobody foresaw{again}: {last} (`forge daemon logs` has all of it)"


def _config_refused(entry: Entry) -> str:
    return f"configuration refused: {entry['reason']}{_hint(entry)}; {entry['kept']} holds"


def _disk_mounted(entry: Entry) -> str:
    disk = f"{entry['kind']}, {show_mib(entry['size_mib'])} at {entry['mount_point']}"
    if not entry["adopted"]:
        return f"the RAM disk is mounted: {disk}"
    used = show_bytes(entry["used_bytes"])
    return f"the RAM disk that was there is adopted: {disk}, {used} used"


def _disk_unmounting(entry: Entry) -> str:
    forced = ", even while it is used" if entry["force"] else ""
    return f"unmounting the RAM disk at {entry['mount_point']}{forced}"


def _held(entry: Entry) -> str:
    running = entry["running"]
    ends = "runs" if running == 1 else "run"
    rest = f"; {plural(running, 'unit')} that {ends} will end" if running else ""
    return f"the machine is held: nothing starts{rest}"


def _forgotten(entry: Entry) -> str:
    whose = f"of {entry['root']}" if entry["root"] else "of all projects"
    builds = ", and past builds" if entry["with_builds"] else ""
    return f"forgotten {whose}: {plural(entry['costs'], 'learned cost')}{builds}"


def _hint(entry: Entry) -> str:
    return f" ({entry['hint']})" if entry.get("hint") else ""


SENTENCES: Mapping[str, Callable[[Entry], str]] = {
    **SENTENCES_OF_BUILDS,
    **SENTENCES_OF_INFERENCE,
    **SENTENCES_OF_MEMORY,
    **SENTENCES_OF_TARGETS,
    "config.loaded": lambda e: f"configuration read: {e['file'] or 'no file, all defaults'}",
    "config.refused": _config_refused,
    "config.unwatched": lambda e: (
        f"changes of forge.toml cannot be noticed: {e['reason']} (instead: {e['instead']})"
    ),
    "daemon.bug": _daemon_bug,
    "daemon.ended": lambda e: f"the daemon has ended{_left_behind(e)}",
    "daemon.started": lambda e: f"daemon {e['version']} has started (pid {e['pid']})",
    "daemon.stopping": lambda e: f"the daemon was told to end{_left_behind(e)}",
    "daemon.unreachable": lambda e: (
        f"the daemon ends: nobody can reach it, as its socket {e['socket']} was taken away"
    ),
    "disk.bloated": lambda e: (
        f"the RAM disk holds {show_bytes(e['used'])} and keeps {show_bytes(e['kept'])}: after"
        f" {show_duration(e['idle_s'])} without builds it is made anew, as nothing on it is lost"
    ),
    "disk.failed": lambda e: f"the RAM disk failed while {e['while']}: {e['reason']}",
    "disk.lost": lambda e: f"the RAM disk is gone, and nobody asked for it: {e['reason']}",
    "disk.mounted": _disk_mounted,
    "disk.mounting": lambda e: (
        f"mounting a RAM disk of {show_mib(e['size_mib'])} at {e['mount_point']}"
    ),
    "disk.read_only": lambda e: (
        f"the RAM disk at {e['mount_point']} has become read-only: builds go to the SSD"
    ),
    "disk.resizing": lambda e: (
        f"resizing the RAM disk from {show_mib(e['from_mib'])} to {show_mib(e['to_mib'])}"
    ),
    "disk.unmeasured": lambda e: f"the RAM disk could not be looked at: {e['reason']}",
    "disk.unmounted": lambda _: "the RAM disk is unmounted",
    "disk.unmounting": _disk_unmounting,
    "disk.unwatched": lambda e: (
        f"the OS tells no changes of the RAM disk: {e['why']} (instead: {e['instead']})"
    ),
    "disk.writable": lambda e: f"the RAM disk at {e['mount_point']} can be written to again",
    "disk.unseen": lambda e: f"the disk of an earlier daemon could not be looked for: {e['why']}",
    "history.forgotten": _forgotten,
    "jobserver.swept": lambda e: f"removed {e['path']}, whose build ended while no daemon ran",
    "machine.held": _held,
    "machine.resumed": lambda _: "the machine goes on: builds, units and tests start again",
    "peer.deaf": lambda e: f"connection {e['conn']} closed: its client did not read",
    "peer.garbage": lambda e: f"connection {e['conn']} sent garbage: {e['reason']}",
    "peer.oversize": lambda e: (
        f"a message of type `{e['type']}` to connection {e['conn']} was too long to send"
    ),
    "peer.refused": lambda e: f"refused a connection of user {e['uid']}",
    "service.news": lambda e: f"service {e['service']} {e['what']}",
    "shim.missing": lambda e: f"there is no shim, so builds have no gates: {e['reason']}",
    "shim.ready": lambda e: f"the shim is ready ({e['key']}): builds have gates",
    "store.failed": lambda e: f"the database could not be written: {e['why']}; {e['then']}",
    "target.gone": lambda e: f"the target dir {e['path']} is gone, and nobody asked for it",
    "target.mode": lambda e: (
        f"{e['root']} is built in the mode {e['mode']} from now on (before: {e['was']})"
    ),
    "tmp.swept": lambda e: f"removed {e['path']}, which a build that crashed had left",
}


def _left_behind(entry: Entry) -> str:
    builds = entry["builds"]
    goes = "goes" if builds == 1 else "go"
    return f"; {plural(builds, 'build')} {goes} on without it" if builds else ""
