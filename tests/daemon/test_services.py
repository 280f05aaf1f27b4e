"""The daemon starts services again that died: real processes, killed for real."""

import os
import signal
import sys
import time

import pytest

from forge.client.services import Services
from tests.daemon.harness import RealDaemon

CODE = "import time; print('up', flush=True); time.sleep(600)"
CONFIG = """
[disk]
kind = "none"
[services.engine]
runs = "process"
command = [{python!r}, "-c", {code!r}]
{more}
"""


def nothing(*_news: object) -> None:
    pass


@pytest.fixture
def watched():
    """Start a daemon that watches one service; everything ends with the test."""
    made: list[tuple[RealDaemon, Services]] = []

    def make(code: str = CODE, more: str = "") -> tuple[RealDaemon, Services]:
        daemon = RealDaemon(CONFIG.format(python=sys.executable, code=code, more=more))
        daemon.start()
        made.append((daemon, Services(daemon.env)))
        return made[-1]

    yield make
    for daemon, services in made:
        services.stop((), nothing)
        daemon.close()


def health(daemon: RealDaemon) -> str:
    told = daemon.status()["services"]
    return str(told[0]["health"]) if told else "none"


def killed(services: Services) -> int:
    found = services.look(services.declared["engine"]).found
    assert found
    os.kill(found.pid, signal.SIGKILL)
    return found.pid


def test_one_that_dies_comes_back_and_it_is_told_why(watched):
    daemon, services = watched()
    services.start((), nothing)
    daemon.wait_for(lambda: health(daemon) == "well", "the service is seen")
    old = killed(services)

    def new():
        found = services.look(services.declared["engine"]).found
        return found and found.pid != old

    daemon.wait_for(new, "the service runs again", 30)
    news = [one["what"] for one in daemon.decisions() if one["decision"] == "service.news"]
    assert any(what.startswith("died") and "up" in what for what in news)  # its last words
    daemon.wait_for(lambda: health(daemon) == "well", "it is well again")
    (told,) = daemon.status()["services"]
    assert (told["deaths"], "up" in told["reason"]) == (1, True)
    error = services.look(services.declared["engine"]).last_error
    assert error
    assert error.what.startswith("died: ")  # told to whoever asks, be a daemon there or not


def test_one_that_a_person_has_stopped_stays_down(watched):
    daemon, services = watched()
    services.start((), nothing)
    daemon.wait_for(lambda: health(daemon) == "well", "the service is seen")
    services.stop((), nothing)
    daemon.wait_for(lambda: health(daemon) == "none", "it is down")
    time.sleep(3)
    assert services.look(services.declared["engine"]).state == "down"


@pytest.mark.parametrize("how", ["watch off", "restart = false"])
def test_one_that_is_left_to_others_is_told_of_and_left_dead(watched, how):
    daemon, services = watched(more=how if how.startswith("restart") else "")
    if how == "watch off":
        services.watch(False)
    services.start((), nothing)
    daemon.wait_for(lambda: health(daemon) == "well", "the service is seen")
    killed(services)
    daemon.wait_for(lambda: health(daemon) == "died", "its death is told")
    time.sleep(3)
    assert services.look(services.declared["engine"]).state == "down"
