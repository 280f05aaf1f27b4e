"""What a gate runs is stopped at the daemon's word, and never stays so without a daemon."""

import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.scenarios.conftest import wait_until
from tests.scenarios.gated_project import Project
from tests.scenarios.one_gate import Gate

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo")

PAUSE, RESUME = {"type": "pause"}, {"type": "resume"}
COUNTER = """#!/bin/sh
exec 2>/dev/null
cd {place}
echo $$ > pid.new; mv pid.new pid
echo start >> log
while ! [ -e let-go ]; do sleep 0.02; done
echo end >> log
exit 4
"""


@pytest.fixture(params=["unit", "link"])
def gate(tmp_path, request):
    made = Gate(Project(tmp_path), tmp_path, request.param)
    made.daemon.start()
    yield made
    made.take_apart()


def tool(gate) -> psutil.Process:
    return psutil.Process(int(Path(gate.place / "pid").read_text()))


def is_stopped(gate) -> bool:
    return tool(gate).status() == psutil.STATUS_STOPPED


def paused(gate):
    gate.start_running(COUNTER)
    gate.daemon.send(gate.what, PAUSE)
    wait_until(lambda: is_stopped(gate))


def test_what_runs_is_stopped_and_goes_on_where_it_was(gate):
    paused(gate)
    gate.let_go()
    time.sleep(0.5)
    assert gate.log() == ["start"]
    gate.daemon.send(gate.what, RESUME)
    assert gate.end() == 4
    assert gate.log() == ["start", "end"]
    assert gate.daemon.wait_for(f"{gate.what}_ended")["exit"] == 4


def test_a_daemon_that_goes_away_leaves_nothing_stopped(gate):
    paused(gate)
    gate.daemon.stop()
    wait_until(lambda: not is_stopped(gate))
    gate.let_go()
    assert gate.end() == 4


def test_what_is_stopped_can_be_ended(gate):
    paused(gate)
    gate.daemon.send(gate.what, {"type": "end"})
    assert gate.end() == -signal.SIGTERM


def test_a_word_that_comes_twice_or_for_nothing_does_no_harm(gate):
    gate.start_running(COUNTER)
    for word in (RESUME, PAUSE, PAUSE, RESUME, RESUME):
        gate.daemon.send(gate.what, word)
    gate.let_go()
    assert gate.end() == 4
