"""What a person has chosen in `forge top` so far, and what each key makes of it.

Nothing is done here: a key may give a request for the daemon, which somebody else sends. What is
asked before a build is ended names that build, and the answer is about that one, whatever the
selection has become since.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]
Request = dict[str, Any]

FAR = 1_000_000
STEPS = {
    "up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10, "home": -FAR, "end": FAR,
}  # fmt: skip
"""Keys that select another build, and how many further that is."""


@dataclass(slots=True)
class Choice:
    """The selected build (None: all), the build whose end is being asked about, and the rest.

    `note` is a line for the person, `is_over`: quit.
    """

    selected: str | None = None
    asked: str | None = None
    note: str = ""
    is_help: bool = False
    is_over: bool = False

    def sees(self, report: Report) -> None:
        """Take in a new report. A selection is never handed on to another build."""
        if self.selected and build_of(report, self.selected) is None:
            self.note = self.note or f"{self.selected} is over"
            self.selected = None
        if self.asked and build_of(report, self.asked) is None:
            self.asked = None

    def press(self, key: str, report: Report) -> Request | None:
        """Take in a key; return what the daemon is to be asked for, if anything."""
        self.note = ""
        if self.asked:
            return self._answer(key)
        if self.is_help:
            self.is_help = False
            self.is_over = key in ("q", "ctrl-c")
            return None
        if key in STEPS:
            self._move(STEPS[key], builds_of(report))
            return None
        match key:
            case "q" | "ctrl-c":
                self.is_over = True
            case "?":
                self.is_help = True
            case "escape" | "a":
                self.selected = None
            case "h":
                return {"type": "hold", "on": not report.get("held")}
            case "c" | "p":
                return self._about_selected(key, report)
        return None

    def _answer(self, key: str) -> Request | None:
        """Take in the answer to the question; any key but `y` is no."""
        build, self.asked = self.asked, None
        if key in ("y", "Y"):
            return {"type": "cancel_build", "build": build}
        self.note = f"{build} goes on"
        return None

    def _about_selected(self, key: str, report: Report) -> Request | None:
        build = build_of(report, self.selected)
        if build is None:
            self.note = "select a build first, with up and down"
            return None
        if key == "c":
            self.asked = str(build["id"])
            return None
        other = "batch" if build.get("priority") == "interactive" else "interactive"
        return {"type": "set_priority", "build": build["id"], "priority": other}

    def _move(self, by: int, builds: Sequence[Report]) -> None:
        if not builds:
            return
        ids = [str(one.get("id")) for one in builds]
        at = ids.index(self.selected) if self.selected in ids else (len(ids) if by < 0 else -1)
        self.selected = ids[min(len(ids) - 1, max(0, at + by))]


def builds_of(report: Report) -> list[Report]:
    """Return the builds in the order of the view: those at work, then those in line."""
    builds = report.get("builds") or ()
    return sorted(builds, key=lambda one: (one.get("queue") or {}).get("position", 0))


def build_of(report: Report, build_id: str | None) -> Report | None:
    """Return a build by its id."""
    return next((one for one in report.get("builds") or () if one.get("id") == build_id), None)


def project_of(build: Report) -> str:
    """Return the name of a build's project: that of its directory."""
    return os.path.basename(str(build.get("root") or build.get("cwd") or "")) or "-"
