"""What was done to whole target dirs, as sentences for people."""

from collections.abc import Callable, Mapping
from typing import Any

from forge.core.units import plural, show_bytes, show_duration

Entry = Mapping[str, Any]

_DONE = {
    "save": "saved",
    "restore": "restored",
    "seed": "made from that of another checkout",
    "adopt": "adopted from its project",
    "keep": "moved from its project into a snapshot",
    "disown": "given back to its project",
    "spill": "moved to the SSD",
    "return": "moved back to the RAM disk",
}


def _saving(entry: Entry) -> str:
    count = plural(entry["target_dirs"], "target dir")
    return f"the daemon was told to end, and saves {count} before that"


def _saved(entry: Entry) -> str:
    stored = show_bytes(entry["stored_bytes"])
    return f"snapshot {entry['snapshot']} of {entry['target_dir']} was made: {stored}"


def _task_done(entry: Entry) -> str:
    size, took = show_bytes(entry["size_bytes"]), show_duration(entry["took_s"])
    return f"{entry['target_dir']} was {_DONE[entry['task']]}: {size} in {took}"


def _task_failed(entry: Entry) -> str:
    return f"{entry['target_dir']} could not be {_DONE[entry['task']]}: {entry['reason']}"


def _spilled(entry: Entry) -> str:
    size = show_bytes(entry["size_bytes"])
    return f"{entry['target_dir']} went to the SSD, {entry['to']}, {size}: {entry['why']}"


SENTENCES_OF_TARGETS: Mapping[str, Callable[[Entry], str]] = {
    "build.held_for_room": lambda e: (
        f"{e['build']} starts no further unit for want of room; {e['behind']} goes first"
    ),
    "build.ran_out": lambda e: f"{e['build']} has failed: {e['why']}",
    "build.spilled": lambda e: f"{e['build']} is ended, to go on on the SSD: {e['why']}",
    "disk.paused_units": lambda e: (
        f"{plural(e['units'], 'rustc')} stopped, until what is being deleted has made room"
    ),
    "disk.resumed_units": lambda e: f"{plural(e['units'], 'rustc')} went on: there is room",
    "target.returned": lambda e: (
        f"{e['target_dir']} came back from the SSD, {show_bytes(e['size_bytes'])}"
    ),
    "target.spilled": _spilled,
    "target.evicted": lambda e: (
        f"{e['target_dir']} was evicted, {show_bytes(e['freed_bytes'])}: {e['why']}"
    ),
    "target.evicting": lambda e: (
        f"{e['target_dir']} goes ({show_bytes(e['size_bytes'])}) for {e['for']}: {e['because']}"
    ),
    "target.kept": lambda e: f"{e['target_dir']} was to be evicted, and stays: {e['why']}",
    "target.left": lambda e: f"could not be deleted from the RAM disk: {e['what']}",
    "daemon.saving": _saving,
    "target.saved": _saved,
    "target.swept": lambda e: f"deleted {e['path']}, which a daemon that was killed had half made",
    "target.task_done": _task_done,
    "target.task_failed": _task_failed,
    "target.task_stopped": lambda e: (
        f"{e['target_dir']} was not {_DONE[e['task']]} to the end: {e['reason']}"
    ),
    "target.unlinked": lambda e: f"the link {e['link']} could not be made: {e['why']}",
    "target.unsaved": lambda e: f"snapshot {e['snapshot']} of {e['target_dir']} was deleted",
}
