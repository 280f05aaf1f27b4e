"""Gates and a daemon that is replaced, that ends them, or that talks nonsense."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scenarios.conftest import is_gone, wait_until
from tests.scenarios.fake_forged import FakeForged
from tests.scenarios.gated_project import Project, gated_link, gated_rustc

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo")

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
link_only = pytest.mark.parametrize("what", ["link"])
both = pytest.mark.parametrize("what", ["unit", "link"])


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
        self.daemon.script[self.what] = lambda message: [WAIT]
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


@pytest.fixture
def gate(tmp_path, what):
    made = Gate(Project(tmp_path), tmp_path, what)
    made.daemon.start()
    yield made
    made.take_apart()


# --- waiting ---------------------------------------------------------------------------------


@both
def test_what_waits_asks_the_new_daemon_and_waits_there(gate):
    gate.start_waiting()
    gate.daemon.stop()
    time.sleep(1.0)  # nobody listens meanwhile
    second = gate.replaced()
    second.script[gate.what] = lambda message: [WAIT, 0.3, {"type": "go"}]
    asked = second.wait_for(gate.what)
    assert asked == gate.daemon.messages(gate.what)[0]
    assert asked["running"] is False
    assert gate.log() == []
    gate.let_go()
    assert gate.end() == 4
    assert second.wait_for(f"{gate.what}_ended")["exit"] == 4


@both
def test_what_waits_goes_on_when_no_new_daemon_comes(gate):
    gate.start_waiting()
    gate.daemon.stop()
    gate.let_go()
    assert gate.end() == 4
    assert gate.log() == ["start", "end"]


@both
def test_daemons_that_die_of_a_request_do_not_hold_it_up_for_ever(gate):
    def die(message):
        gate.daemon.hang_up(gate.what)
        return []

    gate.daemon.script[gate.what] = die
    gate.start()
    gate.let_go()
    assert gate.end() == 4
    assert len(gate.daemon.messages(gate.what)) > 1


@link_only
def test_links_that_wait_in_vain_run_one_at_a_time_without_a_daemon(gate):
    gate.start_waiting()
    other = gate.another()
    gate.daemon.wait_for("link", 2)
    gate.daemon.stop()
    wait_until(lambda: gate.log() == ["start"])
    time.sleep(1.0)
    assert gate.log() == ["start"], "two links run at once"
    gate.let_go()
    assert {gate.end(), other.end()} == {4}
    assert gate.log() == ["start", "end"] * 2


@both
def test_what_waits_and_is_to_end_never_runs(gate):
    gate.start_waiting()
    gate.daemon.send(gate.what, {"type": "end"})
    assert gate.end() == -signal.SIGTERM
    assert gate.log() == []


@both
def test_a_hang_that_is_over_does_not_let_through_what_has_to_wait(gate):
    (gate.project.home / "state" / "gate.hung").touch()
    gate.daemon.script[gate.what] = lambda message: [WAIT, 1.0, WAIT, 1.0, {"type": "go"}]
    gate.start()
    time.sleep(1.5)
    assert gate.log() == []
    gate.let_go()
    assert gate.end() == 4
    assert not (gate.project.home / "state" / "gate.hung").exists()


# --- running ---------------------------------------------------------------------------------


@both
def test_what_runs_is_told_to_the_new_daemon(gate):
    gate.start_running()
    second = gate.replaced()
    told = second.wait_for(gate.what)
    assert told == gate.daemon.messages(gate.what)[0] | {"running": True}
    gate.let_go()
    assert gate.end() == 4
    assert second.wait_for(f"{gate.what}_ended")["exit"] == 4
    assert gate.log() == ["start", "end"]


@both
def test_each_new_daemon_is_told(gate):
    gate.start_running()
    for _ in range(3):
        gate.daemon = gate.project.daemon = gate.replaced()
        assert gate.daemon.wait_for(gate.what)["running"] is True
    gate.let_go()
    assert gate.end() == 4
    gate.daemon.wait_for(f"{gate.what}_ended")


@both
def test_a_new_daemon_that_refuses_is_left_alone(gate):
    gate.start_running()
    gate.daemon.stop()
    second = FakeForged(gate.project.home / "state")
    no = {"type": "error", "slug": "protocol-mismatch", "message": "version 1 is not known"}
    second.script[gate.what] = lambda message: [no]
    gate.others.append(second.start())
    second.wait_for(gate.what)
    second.wait_closed(gate.what)
    time.sleep(2.5)
    assert len(second.messages(gate.what)) == 1
    gate.let_go()
    assert gate.end() == 4
    assert second.messages(f"{gate.what}_ended") == []


@both
def test_without_a_new_daemon_what_runs_runs_to_its_end(gate):
    gate.start_running()
    gate.daemon.stop()
    time.sleep(1.5)
    gate.let_go()
    assert gate.end() == 4


@both
@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\n",
        b"\0\xff\n",
        b'{"type":"explode"}\n',
        b'{"type":"error","slug":"x","message":"y"}\n',
        b'{"type":"go"}\n' * 100,
        b"x" * 2_000_000,  # no line of the protocol: the connection is given up
    ],
    ids=["garbage", "bytes", "unknown", "error", "go", "endless"],
)
def test_nothing_that_is_said_harms_what_runs(gate, said):
    gate.daemon.script[gate.what] = lambda message: [{"type": "go"}, said]
    gate.start_running()
    time.sleep(0.3)
    gate.let_go()
    assert gate.end() == 4


@pytest.mark.parametrize("what", ["unit"])
def test_a_rustc_that_closes_all_its_descriptors_keeps_its_lease(gate):
    closing = HELD.replace("cd {place}", "cd {place}\nexec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-")
    gate.start_running(closing.replace("exit 4", "exec 0>&- 1>&- 2>&-; exit 4"))
    time.sleep(0.3)
    assert gate.daemon.closed == {}
    gate.let_go()
    assert gate.end() == 4
    assert gate.daemon.wait_for("unit_ended")["exit"] == 4


# --- ending ----------------------------------------------------------------------------------


@both
def test_what_runs_ends_when_it_is_told_to(gate):
    gate.start_running()
    gate.daemon.send(gate.what, {"type": "end"})
    assert gate.end() == -signal.SIGTERM
    assert gate.daemon.wait_for(f"{gate.what}_ended")["signal"] == signal.SIGTERM
    assert gate.log() == ["start"]


@both
def test_what_does_not_want_to_end_is_killed(gate):
    gate.start_running(STUBBORN)
    gate.daemon.send(gate.what, {"type": "end"})
    gate.daemon.send(gate.what, {"type": "end"})  # a second word changes nothing
    assert gate.end() == -signal.SIGKILL
    assert gate.daemon.wait_for(f"{gate.what}_ended")["signal"] == signal.SIGKILL
    child = int((gate.place / "child").read_text())
    if gate.what == "link":
        wait_until(lambda: is_gone(child))  # a linker's whole group ends
    else:
        os.kill(child, signal.SIGKILL)


@both
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_stopped_ends_as_well(gate):
    gate.start_running()
    assert gate.process is not None
    children = Path(f"/proc/{gate.process.pid}/task/{gate.process.pid}/children").read_text()
    os.kill(int(children.split()[0]), signal.SIGSTOP)
    gate.daemon.send(gate.what, {"type": "end"})
    assert gate.end() == -signal.SIGTERM


@both
def test_the_new_daemon_can_end_what_it_did_not_start(gate):
    gate.start_running()
    second = gate.replaced()
    second.wait_for(gate.what)
    second.send(gate.what, {"type": "end"})
    assert gate.end() == -signal.SIGTERM


# --- links that are cancelled ----------------------------------------------------------------


@link_only
def test_a_link_is_cancelled_as_often_as_it_must(gate):
    gate.start_running()
    for turn in range(1, 4):
        gate.daemon.send("link", {"type": "cancel"})
        gate.daemon.wait_for("cancelled", turn)
        assert gate.log() == ["start"] * turn
        gate.daemon.send("link", {"type": "go"})
        gate.wait_started(turn + 1)
    gate.let_go()
    assert gate.end() == 4
    assert len(gate.daemon.messages("link_ended")) == 1


@link_only
@pytest.mark.parametrize("trap", ["exit 1", "exit 143"])
def test_a_linker_that_tells_its_end_by_a_code_is_run_again(gate, trap):
    gate.start_running(HELD.replace("cd {place}", f"trap '{trap}' TERM\ncd {{place}}"))
    gate.daemon.send("link", {"type": "cancel"})
    gate.daemon.wait_for("cancelled")
    gate.daemon.send("link", {"type": "go"})
    gate.let_go()
    assert gate.end() == 4
    assert gate.log() == ["start", "start", "end"]


@link_only
def test_a_link_that_has_ended_well_is_not_run_again(gate):
    gate.start_running(HELD.replace("cd {place}", "trap 'exit 0' TERM\ncd {place}"))
    gate.daemon.send("link", {"type": "cancel"})
    assert gate.end() == 0
    assert gate.daemon.wait_for("link_ended")["exit"] == 0
    assert gate.log() == ["start"]


@link_only
def test_the_new_daemon_can_cancel_a_link(gate):
    gate.start_running()
    second = gate.replaced()
    second.wait_for("link")
    second.send("link", {"type": "cancel"})
    second.wait_for("cancelled")
    second.send("link", {"type": "go"})
    gate.let_go()
    assert gate.end() == 4
    assert gate.log() == ["start", "start", "end"]


@link_only
def test_a_cancelled_link_asks_the_new_daemon_before_it_runs_again(gate):
    gate.start_running()
    gate.daemon.send("link", {"type": "cancel"})
    gate.daemon.wait_for("cancelled")
    gate.daemon.stop()
    gate.let_go()
    second = FakeForged(gate.project.home / "state")
    second.script["link"] = lambda link: [WAIT]
    gate.others.append(second.start())
    assert second.wait_for("link")["running"] is False
    time.sleep(0.3)
    assert gate.log() == ["start"]
    second.send("link", {"type": "go"})
    assert gate.end() == 4
    assert gate.log() == ["start", "start", "end"]


@link_only
@pytest.mark.parametrize("words", [["cancel", "end"], ["end", "cancel"]])
def test_a_link_that_is_to_end_is_not_run_again(gate, words):
    gate.start_running(STUBBORN)
    for word in words:
        gate.daemon.send("link", {"type": word})
    assert gate.end() == -signal.SIGKILL
    assert gate.daemon.wait_for("link_ended")["signal"] == signal.SIGKILL
    assert gate.daemon.messages("cancelled") == []


@link_only
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_cancelled_link_that_waits_is_ended_by_signals(gate, sig):
    gate.start_running()
    gate.daemon.send("link", {"type": "cancel"})
    gate.daemon.wait_for("cancelled")
    gate.daemon.send("link", WAIT)
    assert gate.process is not None
    gate.process.send_signal(sig)
    assert gate.end() == -sig
    assert gate.log() == ["start"]


@link_only
def test_a_cancelled_link_that_waits_ends_when_it_is_told_to(gate):
    gate.start_running()
    gate.daemon.send("link", {"type": "cancel"})
    gate.daemon.wait_for("cancelled")
    gate.daemon.send("link", {"type": "end"})
    assert gate.end() == -signal.SIGTERM
    assert gate.log() == ["start"]
