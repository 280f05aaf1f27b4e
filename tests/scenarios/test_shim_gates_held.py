"""Gates and a daemon that is replaced, that ends them, or that talks nonsense."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.scenarios.conftest import is_gone, wait_until
from tests.scenarios.fake_forged import FakeForged
from tests.scenarios.gated_project import Project
from tests.scenarios.one_gate import HELD, STUBBORN, WAIT, Gate

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo")

link_only = pytest.mark.parametrize("what", ["link"])
both = pytest.mark.parametrize("what", ["unit", "link"])


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
