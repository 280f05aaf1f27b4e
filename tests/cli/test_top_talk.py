"""The conversation of `forge top` with the daemon, on a clock of ours."""

import select
from collections.abc import Iterator

import pytest

from forge.cli.top_talk import Talk
from tests.cli.conftest import StartDaemon
from tests.cli.fakes import a_status

OK = {"type": "ok", "line": "done"}


@pytest.fixture
def talk(env) -> Iterator[Talk]:
    one = Talk(env)
    yield one
    one.close()


def heard(talk: Talk, now_s: float) -> list[str]:
    """The types of the replies that come within the patience of a test."""
    ready, _, _ = select.select(talk.descriptors(), [], [], 10)
    return [reply["type"] for reply in talk.read(now_s)] if ready else []


def kinds(fake) -> list[str]:
    return [request["type"] for request in fake.requests]


def test_the_status_is_asked_for_once_a_second(talk: Talk, daemon: StartDaemon):
    fake = daemon(status=[a_status()])
    for now_s in (0.0, 0.5, 1.0, 1.9, 2.0):
        talk.tick(now_s)
        if now_s in (0.0, 1.0, 2.0):
            assert heard(talk, now_s) == ["status"]
    assert kinds(fake) == ["status"] * 3
    assert talk.due_in_s(2.25) == 0.75


def test_after_a_request_the_status_is_asked_for_at_once(talk: Talk, daemon: StartDaemon):
    fake = daemon(status=[a_status()], hold=[OK])
    talk.tick(0.0)
    heard(talk, 0.0)
    assert talk.request({"type": "hold", "on": True}, 0.1) == ""
    assert heard(talk, 0.2) == ["ok"]
    assert talk.due_in_s(0.2) == 0.0
    talk.tick(0.2)
    assert heard(talk, 0.2) == ["status"]
    assert kinds(fake) == ["status", "hold", "status"]


def test_a_daemon_that_is_slow_is_not_asked_twice(talk: Talk, daemon: StartDaemon):
    fake = daemon(status=[])
    talk.tick(0.0)
    talk.tick(1.0)
    talk.tick(2.0)
    assert talk.problem == ""
    talk.tick(3.0)  # silent for more than 2 s: another connection may do better
    assert talk.problem == "it has not answered for 2 s"
    assert talk.request({"type": "hold", "on": True}, 3.1) == "no daemon answers"
    fake.replies["status"] = [a_status()]
    talk.tick(4.0)
    talk.tick(6.5)
    assert heard(talk, 6.5) == ["status"]
    assert talk.problem == ""
    assert "hold" not in kinds(fake)


def test_a_daemon_that_is_gone_is_looked_for_each_second(talk: Talk, daemon: StartDaemon, place):
    talk.tick(0.0)
    assert "no daemon answers on" in talk.problem
    assert talk.descriptors() == []
    assert talk.read(0.5) == []
    daemon(status=[a_status()])
    talk.tick(0.9)
    assert talk.descriptors() == []
    talk.tick(1.0)
    assert heard(talk, 1.0) == ["status"]
    assert talk.problem == ""


@pytest.mark.parametrize(
    ("sent", "problem"),
    [(b"garbage\n", "the daemon talks garbage"), (b'{"type":"wait"}\n', "")],
)
def test_what_is_no_reply_counts_as_none(talk: Talk, daemon: StartDaemon, sent, problem):
    daemon(status=[sent])
    talk.tick(0.0)
    assert heard(talk, 0.0) == []
    assert talk.problem.startswith(problem)


def test_a_connection_that_ends_is_noticed(talk: Talk, daemon: StartDaemon):
    fake = daemon(status=[a_status()], stop=[OK])
    talk.tick(0.0)
    heard(talk, 0.0)
    fake.hang_up()
    assert heard(talk, 0.5) == []
    assert talk.problem == "it has closed the connection"
    assert talk.descriptors() == []
