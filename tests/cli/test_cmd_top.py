"""`forge top`, as people use it: on a terminal, with a daemon that comes and goes."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from forge.cli.top_screen import LEAVE
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_build, a_status
from tests.cli.terminal import Terminal
from tests.daemon.harness import RealDaemon

BUILDS = [a_build(id="b7", priority="batch"), a_build(id="b8", root="/src/tokio")]
OK = {"type": "ok", "line": "as you wish"}
DONE = {"type": "ok", "line": "so be it"}

Top = Callable[..., Terminal]


@pytest.fixture
def top(env) -> Iterator[Top]:
    opened: list[Terminal] = []

    def start(**size: int) -> Terminal:
        opened.append(Terminal(env, "top", **size))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def assert_sane(terminal: Terminal) -> None:
    assert terminal.modes() == terminal.before
    assert terminal.ends_with(LEAVE)


def test_it_shows_what_the_daemon_reports_and_asks_again_on_one_connection(
    top: Top, daemon: StartDaemon
):
    fake = daemon(status=[a_status(builds=BUILDS)])
    terminal = top()
    assert "tokio" in terminal.expect("b7")
    fake.replies["status"] = [a_status(builds=[])]
    terminal.expect("no build runs")
    terminal.press(b"q")
    assert terminal.end() == 0
    assert_sane(terminal)
    assert [one for one in fake.requests if "v" in one] == fake.requests[:1], "one connection"


def test_keys_in_pieces_select_and_change_a_build(top: Top, daemon: StartDaemon):
    fake = daemon(status=[a_status(builds=BUILDS)], set_priority=[OK], cancel_build=[DONE])
    terminal = top()
    terminal.expect("b8")
    terminal.press(b"\x1b", b"[", b"B")
    terminal.expect("> b7")
    terminal.press(b"p")
    terminal.expect("as you wish")
    terminal.press(b"jc")
    terminal.expect("cancel b8 (`cargo test` in tokio)? y/n")
    terminal.press(b"y")
    terminal.expect("so be it")
    asked = [one for one in fake.requests if one["type"] != "status"]
    assert asked == [
        {"type": "set_priority", "build": "b7", "priority": "interactive"},
        {"type": "cancel_build", "build": "b8"},
    ]
    terminal.press(b"?")
    terminal.expect("any key goes back")
    terminal.press(b"x\x1b")
    terminal.expect("  b8    tokio")  # a lone Escape: none is selected any more


def test_what_the_daemon_refuses_is_said(top: Top, daemon: StartDaemon):
    refusal = {"type": "error", "slug": "no-such-build", "message": "there is none", "hint": "x"}
    daemon(status=[a_status(builds=BUILDS)], hold=[refusal])
    terminal = top()
    terminal.expect("b8")
    terminal.press(b"h")
    terminal.expect("there is none (x)")


def test_another_size_is_another_picture(top: Top, daemon: StartDaemon):
    daemon(status=[a_status(builds=BUILDS)])
    terminal = top(columns=120, lines=30)
    assert "waits for" in terminal.expect("b8")
    terminal.sent = b""
    terminal.resize(40, 10)
    assert "waits for" not in terminal.expect("b8")
    assert len(terminal.screen().splitlines()) == 10


def test_without_a_daemon_it_says_so_and_starts_none(top: Top, place):
    terminal = top()
    terminal.expect("no daemon answers; trying again")
    terminal.press(b"q")
    assert terminal.end() == 0
    assert not (place / "state" / "forged.log").exists()


def test_a_daemon_that_goes_away_leaves_its_picture_and_may_come_back(
    top: Top, daemon: StartDaemon
):
    fake = daemon(status=[a_status(builds=BUILDS)])
    terminal = top()
    terminal.expect("tokio")
    fake.replies["status"] = [b"\xff nonsense\n"]
    fake.path.unlink()
    assert "tokio" in terminal.expect("no daemon answers; this is the last picture")
    terminal.press(b"h")  # what cannot be asked for is said, and asked of nobody
    terminal.expect("\nno daemon answers")
    again = daemon(status=[a_status(builds=[])])
    assert "last picture" not in terminal.expect("no build runs")
    assert {one["type"] for one in again.requests} == {"status"}


def test_a_daemon_that_hangs_is_no_daemon(top: Top, daemon: StartDaemon):
    fake = daemon(status=[a_status(builds=BUILDS)])
    terminal = top()
    terminal.expect("tokio")
    fake.replies["status"] = []
    terminal.expect("trying again: it has not answered")
    fake.replies["status"] = [a_status(builds=[])]
    terminal.expect("no build runs")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGHUP, -signal.SIGHUP),
        (signal.SIGINT, 130),
    ],
)
def test_a_signal_ends_it_and_the_terminal_is_as_before(
    top: Top, daemon: StartDaemon, number, code
):
    daemon(status=[a_status(builds=BUILDS)])
    terminal = top()
    terminal.expect("b8")
    assert terminal.modes() != terminal.before
    terminal.process.send_signal(number)
    assert terminal.end() == code
    assert_sane(terminal)


def test_ctrl_c_is_typed_like_any_key_and_ends_it(top: Top, daemon: StartDaemon):
    daemon(status=[a_status(builds=BUILDS)])
    terminal = top()
    terminal.expect("b8")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    assert_sane(terminal)


def test_while_it_is_stopped_the_terminal_is_as_before(top: Top, daemon: StartDaemon):
    daemon(status=[a_status(builds=BUILDS)])
    terminal = top()
    terminal.expect("b8")
    terminal.press(b"\x1a")
    _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert_sane(terminal)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.sent = b""
    terminal.expect("b8")
    terminal.press(b"q")
    assert terminal.end() == 0


def test_a_failure_gives_the_terminal_back_and_is_said(top: Top, daemon: StartDaemon):
    daemon(status=[{"type": "status", "status": {"builds": 7}}])  # no daemon of ours says that
    terminal = top()
    assert terminal.end() == 1
    assert terminal.modes() == terminal.before
    assert terminal.ends_with("'int' object is not iterable")
    left = terminal.sent.index(LEAVE.encode())
    assert terminal.sent.index(b"Traceback") > left


def test_no_colour_is_sent_where_none_is_wanted(env, daemon: StartDaemon):
    daemon(status=[a_status(builds=BUILDS)])
    seen = []
    for more in ({}, {"NO_COLOR": "1"}):
        terminal = Terminal({**env, **more}, "top")
        try:
            terminal.expect("b8")
            seen.append(b"\x1b[32m" in terminal.sent)
        finally:
            terminal.close()
    assert seen == [True, False]


def test_without_a_terminal_it_says_what_programs_take(forge: Forge):
    result = forge("top")
    assert result.code == os.EX_USAGE
    assert "`forge status --json` is for programs" in result.err


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_move_its_cursor_is_told_of_watch(env, term):
    terminal = Terminal({**env, "TERM": term}, "top")
    try:
        assert terminal.end() == os.EX_USAGE
        assert b"`forge status --watch`" in terminal.sent
        assert b"\x1b" not in terminal.sent
    finally:
        terminal.close()


def test_with_a_real_daemon_the_machine_is_held_and_goes_on(top: Top):
    real = RealDaemon('[disk]\nkind = "none"\n')
    try:
        real.start()
        terminal = Terminal(real.env | {"TERM": "xterm"}, "top")
        try:
            assert "RAM disk off" in terminal.expect("no build runs")
            terminal.press(b"h")
            terminal.expect("held for 0s: nothing starts")
            assert real.status()["held"] is True
            terminal.press(b"h")
            terminal.expect("builds go on")
            assert real.status()["held"] is False
            terminal.press(b"q")
            assert terminal.end() == 0
        finally:
            terminal.close()
    finally:
        real.close()
