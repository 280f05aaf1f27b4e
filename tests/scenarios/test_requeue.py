"""Builds that begin anew: both launchers, with a fake daemon and a cargo that is a script.

With the real ones: test_requeue_real.py.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.fake_forged import go, program
from tests.scenarios.launchers import WAIT, Launcher

pytestmark = pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc to build the shim")

SECOND_ENDS = """#!/bin/sh
note() {{ echo "$1" >&2; echo "$CARGO_MAKEFLAGS" >> "$SEEN"; }}
if [ -e "$SEEN" ] && [ "$(wc -l < "$SEEN")" -gt 0 ]; then note second; exit {code}; fi
{trap}
note first
while kill -0 $PPID 2>/dev/null; do sleep 0.05; done
"""
FAILS = '#!/bin/sh\necho "$$" >> "$SEEN"\necho failed >&2\nexit {code}\n'
REQUEUE = {"type": "requeue", "line": "memory is short", "again": "b7/1/0"}
ENDED = {"type": "end", "line": "b7 was cancelled", "exit": 130}


@pytest.fixture(params=["native", "python"])
def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Launcher]:
    found = Launcher(tmp_path, request.param)
    found.daemon.script["begin"] = lambda begin: [go(begin, requeues=True)]
    found.daemon.start()
    yield found
    found.daemon.stop()


def runs(launcher) -> int:
    """Count the cargos that have started."""
    if not launcher.seen_file.exists():
        return 0
    return len(launcher.seen_file.read_text().splitlines())


def running(launcher, *, code: int = 0, trap: str = "", **options) -> "subprocess.Popen[bytes]":
    """Start a build whose first cargo goes on for ever, and whose second one ends at once."""
    program(launcher.cargo, SECOND_ENDS.format(code=code, trap=trap))
    process: subprocess.Popen[bytes] = launcher.start("build", **options)
    launcher.daemon.wait_for("started")
    await_runs(launcher, 1)
    return process


def await_runs(launcher, count: int) -> None:
    deadline = time.monotonic() + 20
    while runs(launcher) < count:
        assert time.monotonic() < deadline, "cargo does not start"
        time.sleep(0.02)


def end(process) -> tuple[int, list[str]]:
    try:
        said = process.communicate(timeout=30)[1].decode()
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, said.splitlines()


@pytest.mark.parametrize("code", [0, 3])
def test_a_build_that_is_ended_for_memory_begins_anew_and_ends_as_its_second_cargo(launcher, code):
    process = running(launcher, code=code)
    launcher.daemon.send("begin", REQUEUE)
    assert end(process) == (code, ["first", "forge: memory is short", "second"])
    first, second = launcher.daemon.messages("begin")
    assert (first["requeues"], first.get("again")) == (True, None)
    assert second["again"] == "b7/1/0"
    assert {**second, "again": None} == {**first, "again": None}
    assert [one.get("signal") for one in launcher.daemon.messages("ended")] == [15, None]
    assert len({number for number, _ in launcher.daemon.heard}) == 2


def test_what_the_second_cargo_gets_is_what_the_second_go_says(launcher, tmp_path):
    def answer(begin):
        env = {} if begin.get("again") else {"CARGO_MAKEFLAGS": "of the first"}
        return [go(begin, env=env, requeues=True)]

    launcher.daemon.script["begin"] = answer
    process = running(launcher)
    launcher.daemon.send("begin", REQUEUE)
    assert end(process)[0] == 0
    assert launcher.seen_file.read_text() == "of the first\n\n"


def test_what_begins_anew_enters_the_cgroup_once_more(launcher, tmp_path):
    procs = tmp_path / "cgroup.procs"
    procs.write_text("")

    def answer(begin):
        return [go(begin, requeues=True, cgroup=str(procs), oom_score_adj=1)]

    launcher.daemon.script["begin"] = answer
    process = running(launcher)
    procs.write_text("")
    launcher.daemon.send("begin", REQUEUE)
    assert end(process)[0] == 0
    assert [one["entered"] for one in launcher.daemon.messages("started")] == [True, True]
    assert procs.read_text() == "0"


def test_it_may_be_ended_more_than_once(launcher):
    process = running(launcher)
    program(launcher.cargo, SECOND_ENDS.format(code=0, trap="").replace("-gt 0", "-gt 1"))
    launcher.daemon.send("begin", REQUEUE)
    await_runs(launcher, 2)
    launcher.daemon.send("begin", {**REQUEUE, "again": "b7/2/0"})
    assert end(process)[0] == 0
    begun = launcher.daemon.messages("begin")
    assert [one.get("again") for one in begun] == [None, "b7/1/0", "b7/2/0"]


def test_a_cargo_that_ends_well_all_the_same_is_not_run_again(launcher):
    process = running(launcher, trap="trap 'exit 0' TERM")
    launcher.daemon.send("begin", REQUEUE)
    assert end(process) == (0, ["first", "forge: memory is short"])
    assert len(launcher.daemon.messages("begin")) == 1


def test_a_cargo_that_others_end_before_the_word_is_read_is_run_again(launcher):
    process = running(launcher)
    os.kill(process.pid, signal.SIGSTOP)
    launcher.daemon.send("begin", REQUEUE)
    os.kill(launcher.daemon.messages("started")[0]["pid"], signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    assert end(process) == (0, ["first", "forge: memory is short", "second"])


def test_what_is_cancelled_while_it_ends_does_not_go_on(launcher):
    process = running(launcher, trap="trap 'sleep 1; exit 1' TERM")
    launcher.daemon.send("begin", REQUEUE)
    launcher.daemon.send("begin", ENDED)
    code, said = end(process)
    assert (code, said) == (1, ["first", "forge: memory is short", "forge: b7 was cancelled"])
    assert len(launcher.daemon.messages("begin")) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 1)])
def test_a_person_who_ends_it_meanwhile_has_ended_it(launcher, number, code):
    process = running(launcher, trap="trap 'sleep 1; exit 1' TERM")
    launcher.daemon.send("begin", REQUEUE)
    time.sleep(0.3)
    os.kill(process.pid, number)
    assert end(process)[0] == code
    assert runs(launcher) == 1


def test_ctrl_c_ends_a_build_that_waits_to_go_on(launcher):
    process = running(launcher)
    waits = [WAIT, 1.0] * 20
    launcher.daemon.script["begin"] = lambda begin: waits
    launcher.daemon.send("begin", REQUEUE)
    launcher.daemon.wait_for("begin", 2)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    assert end(process)[0] == -signal.SIGINT
    assert runs(launcher) == 1


def test_a_build_that_may_not_go_on_ends_as_the_daemon_says(launcher):
    process = running(launcher)
    launcher.daemon.script["begin"] = lambda begin: [{**ENDED, "exit": 75}]
    launcher.daemon.send("begin", REQUEUE)
    assert end(process)[0] == 75
    assert runs(launcher) == 1


def test_without_a_daemon_by_then_cargo_runs_again_without_forge(launcher):
    process = running(launcher, code=3, trap="trap 'sleep 1; exit 1' TERM")
    launcher.daemon.send("begin", REQUEUE)
    time.sleep(0.3)
    launcher.daemon.stop()
    code, said = end(process)
    assert (code, said[-1]) == (3, "second")
    assert said[-2].endswith("; cargo runs without Forge")
    assert runs(launcher) == 2


@pytest.mark.parametrize("again", [7, None])
def test_a_requeue_that_makes_no_sense_ends_the_build(launcher, again):
    process = running(launcher)
    launcher.daemon.send("begin", {**REQUEUE, "again": again})
    assert end(process)[0] == -signal.SIGTERM
    assert runs(launcher) == 1


def test_a_daemon_that_did_not_promise_it_cannot_have_a_build_begun_anew(launcher):
    launcher.daemon.script["begin"] = lambda begin: [go(begin)]
    process = running(launcher, trap="trap 'exit 4' TERM")
    launcher.daemon.send("begin", REQUEUE)
    launcher.daemon.send("begin", ENDED)
    assert end(process) == (4, ["first", "forge: b7 was cancelled"])
    assert runs(launcher) == 1


# --- a build that has failed -----------------------------------------------------------------


def fail(launcher, *answers, code: int = 101) -> tuple[int, list[str]]:
    program(launcher.cargo, FAILS.format(code=code))
    launcher.daemon.script["ended"] = lambda ended: list(answers)
    return end(launcher.start("build"))


def test_what_becomes_of_a_build_that_failed_is_said_behind_cargos_output(launcher):
    over = {"type": "over", "line": "the linker of a was killed for memory"}
    assert fail(launcher, 0.3, over) == (101, ["failed", f"forge: {over['line']}"])
    assert runs(launcher) == 1


def test_a_build_that_only_failed_says_nothing(launcher):
    assert fail(launcher, {"type": "over", "line": None}) == (101, ["failed"])


def test_a_build_of_which_memory_killed_a_part_runs_once_more(launcher):
    answers = [[REQUEUE], [{"type": "over", "line": None}]]
    program(launcher.cargo, FAILS.format(code=101))
    launcher.daemon.script["ended"] = lambda ended: answers.pop(0)
    code, said = end(launcher.start("build"))
    assert (code, said) == (101, ["failed", "forge: memory is short", "failed"])
    assert launcher.daemon.messages("begin")[1]["again"] == "b7/1/0"


@pytest.mark.parametrize("answers", [[], [b"garbage\n"], [{"type": "explode"}]], ids=str)
def test_a_daemon_that_does_not_say_breaks_nothing(launcher, answers):
    assert fail(launcher, *answers) == (101, ["failed"])


@pytest.mark.parametrize(("requeues", "code"), [(False, 101), (True, 1), (True, 0)])
def test_nobody_waits_for_an_answer_that_does_not_come(launcher, requeues, code):
    launcher.daemon.script["begin"] = lambda begin: [go(begin, requeues=requeues)]
    unheard = {"type": "over", "line": "not waited for"}
    assert fail(launcher, 0.5, unheard, code=code) == (code, ["failed"])
