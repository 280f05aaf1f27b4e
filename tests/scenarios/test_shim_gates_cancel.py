"""Links that are cancelled: when they run again, and when they do not."""

import shutil
import signal
import time

import pytest

from tests.scenarios.fake_forged import FakeForged
from tests.scenarios.gated_project import Project
from tests.scenarios.one_gate import HELD, STUBBORN, WAIT, Gate

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo")


@pytest.fixture
def gate(tmp_path):
    made = Gate(Project(tmp_path), tmp_path, "link")
    made.daemon.start()
    yield made
    made.take_apart()


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
    gate.daemon.wait_for("link_ended", 1)
    assert len(gate.daemon.messages("link_ended")) == 1


def test_what_a_cancelled_link_had_written_gives_its_memory_back(gate):
    gate.start_running(HELD.replace("cd {place}", "cd {place}\nhead -c 1000000 /dev/zero > out"))
    assert (gate.place / "out").stat().st_size == 1_000_000
    gate.daemon.send("link", {"type": "cancel"})
    gate.daemon.wait_for("cancelled")
    assert not (gate.place / "out").exists()
    gate.daemon.send("link", {"type": "go"})
    gate.wait_started(2)
    gate.let_go()
    assert gate.end() == 4
    assert (gate.place / "out").exists(), "what a link has written to its end is cargo's"


def test_what_a_cancelled_link_had_not_touched_yet_stays(gate):
    (gate.place / "out").write_text("of an earlier build")
    gate.start_running()
    gate.daemon.send("link", {"type": "cancel"})
    gate.daemon.wait_for("cancelled")
    assert (gate.place / "out").read_text() == "of an earlier build"
    gate.daemon.send("link", {"type": "go"})
    gate.let_go()
    assert gate.end() == 4


@pytest.mark.parametrize("trap", ["exit 1", "exit 143"])
def test_a_linker_that_tells_its_end_by_a_code_is_run_again(gate, trap):
    gate.start_running(HELD.replace("cd {place}", f"trap '{trap}' TERM\ncd {{place}}"))
    gate.daemon.send("link", {"type": "cancel"})
    gate.daemon.wait_for("cancelled")
    gate.daemon.send("link", {"type": "go"})
    gate.let_go()
    assert gate.end() == 4
    assert gate.log() == ["start", "start", "end"]


def test_a_link_that_has_ended_well_is_not_run_again(gate):
    gate.start_running(HELD.replace("cd {place}", "trap 'exit 0' TERM\ncd {place}"))
    gate.daemon.send("link", {"type": "cancel"})
    assert gate.end() == 0
    assert gate.daemon.wait_for("link_ended")["exit"] == 0
    assert gate.log() == ["start"]


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


@pytest.mark.parametrize("words", [["cancel", "end"], ["end", "cancel"]])
def test_a_link_that_is_to_end_is_not_run_again(gate, words):
    gate.start_running(STUBBORN)
    for word in words:
        gate.daemon.send("link", {"type": word})
    assert gate.end() == -signal.SIGKILL
    assert gate.daemon.wait_for("link_ended")["signal"] == signal.SIGKILL
    assert gate.daemon.messages("cancelled") == []


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


def test_a_cancelled_link_that_waits_ends_when_it_is_told_to(gate):
    gate.start_running()
    gate.daemon.send("link", {"type": "cancel"})
    gate.daemon.wait_for("cancelled")
    gate.daemon.send("link", {"type": "end"})
    assert gate.end() == -signal.SIGTERM
    assert gate.log() == ["start"]
