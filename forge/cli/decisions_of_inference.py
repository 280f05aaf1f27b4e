"""What was decided about inference servers, as sentences for people."""

from collections.abc import Callable, Mapping
from typing import Any

from forge.core.units import plural, show_bytes, show_duration

Entry = Mapping[str, Any]


def _changed(entry: Entry) -> str:
    said = f"the server at {entry['url']} is {entry['state']}; it was {entry['was']}"
    if entry["state"] == entry["was"]:
        said = f"the server at {entry['url']} is {entry['state']}, with another model"
    if entry["model"] and entry["state"] != "absent":
        said += f" ({entry['model']})"
    if "missing" in entry:
        missing, expected = show_bytes(entry["missing"]), show_bytes(entry["expected"])
        said += f": {missing} of {expected} not in memory, {show_bytes(entry['read_back'])} re-read"
    return said + (f": {entry['reason']}" if entry["reason"] else "")


def _cores(entry: Entry) -> str:
    if not entry["kept"]:
        return f"builds have {plural(entry['was'], 'core')} back from inference"
    return f"{plural(entry['kept'], 'core')} kept free for inference; {entry['was']} before"


def _protected(entry: Entry) -> str:
    done = ", ".join(entry["done"]) or "nothing"
    refused = f"; not done: {', '.join(entry['refused'])}" if entry["refused"] else ""
    return f"{entry['server']} is protected: {done}{refused}"


SENTENCES_OF_INFERENCE: Mapping[str, Callable[[Entry], str]] = {
    "cgroup.unweighed": lambda e: f"the cores of builds could not be weighed: {e['reason']}",
    "cgroup.weighed": lambda e: f"builds weigh {e['weight']} on the cores, where 100 is usual",
    "inference.answers": lambda e: (
        f"the server at {e['url']} answers again, after {show_duration(e['after_s'])}"
    ),
    "inference.changed": _changed,
    "inference.kept_cores": _cores,
    "inference.protected": _protected,
    "inference.slow": lambda e: (
        f"the server at {e['url']} does not answer in time; it is taken to be {e['state']}"
    ),
    "inference.unseen": lambda e: f"inference servers cannot be looked at: {e['reason']}",
}
