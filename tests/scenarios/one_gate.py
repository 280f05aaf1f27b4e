"""One gate at work before a tool that is a script, between daemons that come and go."""

import subprocess
from pathlib import Path

from tests.scenarios.conftest import wait_until
from tests.scenarios.fake_forged import FakeForged
from tests.scenarios.gated_project import Project, gated_link, gated_rustc

WAIT = {"type": "wait", "reason": "cores", "since_s": 0}
HELD = """#!/bin/sh
exec 2>/dev/null
cd {place}
echo start >> log
while ! [ -e let-go ]; do sleep 0.02; done
echo end >> log
exit 4
"""
STUBBORN = """#!/bin/sh
exec 2>/dev/null
trap '' TERM
cd {place}
sleep 77 & echo $! > child.new; mv child.new child
echo start >> log
while ! [ -e let-go ]; do sleep 0.02; done
"""


class Gate:
    """One gate at work before a tool that runs until it is let go, and then ends with 4."""

    def __init__(self, project: Project, place: Path, what: str) -> None:
        self.project = project
        self.daemon = project.daemon
        self.place = place
        self.what = what
        self.others: list[FakeForged] = []
        self.process: subprocess.Popen[str] | None = None
        self.command: list[str | Path] = []
        self.env: dict[str, str] = {}

    def start(self, script: str = HELD) -> "Gate":
        gated = gated_rustc if self.what == "unit" else gated_link
        self.command, self.env = gated(self.project, self.place, script.format(place=self.place))
        return self._start()

    def another(self) -> "Gate":
        """Start one more like this one, before the same tool."""
        other = Gate(self.project, self.place, self.what)
        other.command, other.env = self.command, self.env
        return other._start()

    def _start(self) -> "Gate":
        self.process = subprocess.Popen(
            self.command, env=self.env, stderr=subprocess.PIPE, text=True
        )
        return self

    def start_waiting(self, script: str = HELD) -> "Gate":
        """Start it before a daemon that lets it wait."""
        self.daemon.script[self.what] = lambda message: [WAIT, 1.0] * 20
        self.start(script)
        self.daemon.wait_for(self.what)
        return self

    def start_running(self, script: str = HELD) -> "Gate":
        """Start it and wait until its tool runs."""
        self.start(script)
        self.wait_started(1)
        return self

    def wait_started(self, count: int) -> None:
        """Wait until its tool was started so many times, and has not ended once."""
        wait_until(lambda: self.log() == ["start"] * count)

    def replaced(self) -> FakeForged:
        """Let the daemon die, and another one take its place."""
        self.project.daemon.stop()
        self.others.append(FakeForged(self.project.home / "state").start())
        return self.others[-1]

    def log(self) -> list[str]:
        path = self.place / "log"
        return path.read_text().split() if path.exists() else []

    def let_go(self) -> None:
        (self.place / "let-go").touch()

    def end(self) -> int:
        """Return how it has ended, having said nothing."""
        assert self.process is not None
        _, said = self.process.communicate(timeout=20)
        assert said == "", "cargo would keep it as a warning"
        return self.process.returncode

    def take_apart(self) -> None:
        self.let_go()
        for daemon in (self.daemon, *self.others):
            daemon.stop()
        if self.process:
            self.process.kill()
            self.process.communicate(timeout=20)
