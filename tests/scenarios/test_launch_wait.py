"""What both launchers show while they wait in line, and how they leave it."""

import os
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.fake_forged import program
from tests.scenarios.launchers import WAIT, Launcher
from tests.scenarios.terminal import screen
from tests.scenarios.test_shim_signals import Terminal as Shell

pytestmark = pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc to build the shim")


@pytest.fixture(params=["native", "python"])
def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Launcher]:
    found = Launcher(tmp_path, request.param)
    found.daemon.start()
    yield found
    found.daemon.stop()


def test_elsewhere_a_wait_is_a_line_after_a_second_and_no_other_soon(launcher):
    other = {"type": "wait", "reason": "the RAM disk is mounting", "since_s": 2.0}
    launcher.answers(WAIT, 1.2, {**WAIT, "since_s": 1.2}, 0.6, other, 0.6, other, "go")
    assert launcher.go("build") == (0, "forge: waiting for memory (1 s)\n")


def test_the_seconds_are_the_daemons(launcher):
    launcher.answers({**WAIT, "since_s": 199.2}, 1.2, {**WAIT, "since_s": 200.4}, "go")
    assert launcher.go("build") == (0, "forge: waiting for memory (3 min 20 s)\n")


@pytest.mark.parametrize(
    ("answers", "env"),
    [([WAIT, 0.2, "go"], {}), ([WAIT, 1.2, WAIT, 0.2, "go"], {"FORGE_QUIET": "1"})],
)
def test_a_wait_that_is_short_or_quiet_is_not_worth_a_word(launcher, answers, env):
    launcher.answers(*answers)
    assert launcher.go("build", env=env) == (0, "")


LONG = {"type": "wait", "reason": "waiting for " + "x" * 200, "since_s": 0}


def test_on_a_terminal_a_wait_is_one_line_that_fits_and_is_gone_when_cargo_starts(launcher):
    program(launcher.cargo, "#!/bin/sh\necho cargo-runs\n")
    launcher.answers(LONG, 0.8, LONG, 1.5, {**WAIT, "since_s": 2.4}, 0.5, "go")
    terminal = launcher.on_terminal("build", columns=40)
    try:
        shown = terminal.expect(b"\x1b[K")
        assert screen(shown, 40) == ["forge: waiting for " + "x" * 18]
        shown += b"\x1b[K"
        shown += terminal.expect(b"(2 s)\x1b[K") + b"(2 s)\x1b[K"
        assert screen(shown, 40) == ["forge: waiting for memory (2 s)"]
        rest = terminal.expect(b"cargo-runs\r\n")
        assert rest.endswith(b"\r\x1b[K")
        assert b"\n" not in shown + rest
        assert terminal.wait() == 0
        assert launcher.daemon.wait_for("begin")["interactive"] is True
    finally:
        terminal.close()


def test_a_line_is_cut_to_what_a_terminal_has_become(launcher):
    launcher.answers(LONG, 0.8, LONG, 1.5, LONG, 0.5, "go")
    terminal = launcher.on_terminal("build", columns=60)
    try:
        terminal.expect(b"\x1b[K")
        terminal.resize(30)
        assert screen(terminal.expect(b"\x1b[K"), 30) == ["forge: waiting for " + "x" * 8]
        assert terminal.wait() == 0
    finally:
        terminal.close()


def test_a_terminal_that_knows_no_escapes_gets_plain_lines(launcher):
    launcher.env["TERM"] = "dumb"
    launcher.answers(WAIT, 1.2, {**WAIT, "since_s": 1.2}, 0.2, "go")
    terminal = launcher.on_terminal("build")
    try:
        assert terminal.wait() == 0
        assert terminal.text == b"forge: waiting for memory (1 s)\r\n"
    finally:
        terminal.close()


def test_a_word_of_the_daemons_does_not_mix_with_the_line(launcher):
    launcher.answers(WAIT, 0.8, WAIT, {"type": "say", "line": "hello"}, WAIT, 0.3, "go")
    terminal = launcher.on_terminal("build")
    try:
        assert terminal.wait() == 0
        assert screen(terminal.text, 80) == ["forge: hello", ""]
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT), ("", signal.SIGTERM)]
)
def test_a_signal_in_the_line_ends_the_launcher_and_leaves_a_clean_terminal(launcher, key, number):
    launcher.answers(WAIT, 0.8, WAIT, *[1.0, WAIT] * 20)
    terminal = launcher.on_terminal("build")
    try:
        terminal.expect(b"waiting for memory")
        if key:
            terminal.type(key)
        else:
            os.kill(terminal.pid, number)
        assert terminal.wait(5) == -number
        assert screen(b"forge: waiting for memory" + terminal.text, 80) == [""]
        assert launcher.seen == []
        launcher.daemon.wait_closed("begin")
    finally:
        terminal.close()


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="no bash")
def test_the_suspend_key_in_the_line_gives_the_prompt_back_and_fg_goes_on(launcher):
    program(launcher.cargo, "#!/bin/sh\necho cargo-runs\n")
    launcher.answers(WAIT, 0.8, WAIT, *[0.5, WAIT] * 8, "go")
    shell = Shell(launcher)
    try:
        shell.expect(b"prompt> ")
        shell.type(f"TERM=xterm {shlex.join(launcher.command)} build; echo code=$?\n")
        shell.expect(b"\rforge: waiting for memory")
        shell.type("\x1a")
        before = shell.expect(b"Stopped")
        assert screen(before.partition(b"[1]")[0], 80)[0] == ""
        shell.expect(b"prompt> ")
        shell.type("fg; echo then=$?\n")
        shell.expect(b"\rforge: waiting for memory")
        shell.expect(b"\r\x1b[Kcargo-runs")
        shell.expect(b"then=0")
    finally:
        shell.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_anything_is_shown_ends_the_launcher_too(launcher, number):
    launcher.answers(WAIT, *[1.0, WAIT] * 20)
    process = launcher.start("build")
    launcher.daemon.wait_for("begin")
    time.sleep(0.3)
    process.send_signal(number)
    assert process.wait(5) == -number
    process.communicate()
    assert launcher.seen == []


def test_an_end_in_the_line_leaves_a_clean_terminal(launcher):
    launcher.answers(WAIT, 0.8, WAIT, {"type": "end", "line": "b7 was cancelled", "exit": 130})
    terminal = launcher.on_terminal("build")
    try:
        assert terminal.wait() == 130
        assert screen(terminal.text, 80) == ["forge: b7 was cancelled", ""]
    finally:
        terminal.close()
