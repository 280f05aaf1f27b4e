import os
import sys
import time
from pathlib import Path

import pytest

from forge.errors import DeadlineExceeded
from forge.host.commands import run_command

HOLDS_STDOUT = """
import os, sys, time
print("done", flush=True)
if os.fork() == 0:
    os.setsid()
    time.sleep(3)
    os._exit(0)
"""


def shell(script: str, deadline_s: float = 10.0) -> tuple[int, str, str]:
    result = run_command(["sh", "-c", script], deadline_s=deadline_s)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("script", "exit_code", "stdout", "stderr"),
    [
        ("echo out; echo err >&2; exit 3", 3, "out\n", "err\n"),
        ("true", 0, "", ""),
        ("cat", 0, "", ""),  # stdin is empty, not ours
        ("echo $LC_ALL", 0, "C\n", ""),
        ("printf '\\377'", 0, "\ufffd", ""),
        ("kill -9 $$", -9, "", ""),
    ],
)
def test_a_command_gives_its_exit_code_and_both_streams(script, exit_code, stdout, stderr):
    assert shell(script) == (exit_code, stdout, stderr)


def test_output_far_beyond_a_pipe_is_read_whole():
    assert len(shell("head -c 3000000 /dev/zero | tr '\\0' x")[1]) == 3_000_000


def test_arguments_never_meet_a_shell():
    assert run_command(["echo", "$HOME; *"], deadline_s=5).stdout == "$HOME; *\n"


def test_a_child_that_keeps_stdout_open_does_not_keep_us_waiting():
    started = time.monotonic()
    result = run_command([sys.executable, "-c", HOLDS_STDOUT], deadline_s=10)
    assert result.stdout == "done\n"
    assert time.monotonic() - started < 2.5


def test_at_the_deadline_the_command_and_its_children_end(tmp_path: Path):
    # the leader ignores SIGTERM, and so does its child
    script = f"trap '' TERM; sh -c 'echo $$ > {tmp_path}/child; sleep 60' & echo busy >&2; wait"
    with pytest.raises(DeadlineExceeded, match=r"`sh -c .*` did not end within 0\.5 s") as caught:
        shell(script, deadline_s=0.5)
    assert caught.value.hint == "its last words: busy"
    assert not is_running(int((tmp_path / "child").read_text()))


def test_what_a_command_leaves_behind_lives_on_when_it_ends_well(tmp_path: Path):
    result = run_command(["sh", "-c", "sleep 20 >/dev/null 2>&1 & echo $!"], deadline_s=5)
    left_behind = int(result.stdout)
    assert is_running(left_behind)
    os.kill(left_behind, 9)


def test_a_missing_program_is_the_error_of_the_os():
    with pytest.raises(FileNotFoundError):
        run_command(["no-such-program-of-forge"], deadline_s=5)


def test_a_program_that_is_not_executable_is_the_error_of_the_os(tmp_path: Path):
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    with pytest.raises(PermissionError):
        run_command([str(tmp_path / "tool")], deadline_s=5)


def test_the_path_of_the_given_environment_finds_the_program(tmp_path: Path):
    tool = tmp_path / "tool-of-forge"
    tool.write_text("#!/bin/sh\necho found $WHAT\n")
    tool.chmod(0o755)
    result = run_command(["tool-of-forge"], deadline_s=5, env={"PATH": str(tmp_path), "WHAT": "it"})
    assert result.stdout == "found it\n"
    assert result.elapsed_s < 5


def is_running(pid: int) -> bool:
    """Say whether it runs; a zombie whose parent has not looked yet has ended."""
    for _ in range(20):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.01)
    return True
