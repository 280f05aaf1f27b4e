"""`forge disk`."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_disk, a_status


def done(line: str, **changes):
    return {"type": "disk", "disk": a_disk(**changes), "line": line}


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        (["mount"], {"verb": "mount"}),
        (["unmount"], {"verb": "unmount", "force": False}),
        (["unmount", "--force"], {"verb": "unmount", "force": True}),
        (["resize", "1.5GiB"], {"verb": "resize", "size_mib": 1536}),
        (["recreate", "--force"], {"verb": "recreate", "force": True}),
    ],
)
def test_each_command_asks_the_daemon_and_prints_its_line(
    forge: Forge, daemon: StartDaemon, argv, asked
):
    fake = daemon(disk=[done("the RAM disk is as you like it")])
    result = forge("disk", *argv)
    assert (result.code, result.out, result.err) == (0, "the RAM disk is as you like it\n", "")
    assert fake.requests == [{"client": "0.1.0", "v": 1, "type": "disk", **asked}]


def test_json_is_the_disk_as_in_the_status(forge: Forge, daemon: StartDaemon):
    daemon(disk=[done("mounted")], status=[a_status()])
    assert json.loads(forge("disk", "mount", "--json").out) == a_disk()
    assert json.loads(forge("disk", "status", "--json").out) == a_disk()


def test_waiting_is_said_on_stderr(forge: Forge, daemon: StartDaemon):
    wait = {"type": "wait", "reason": "the RAM disk is mounting", "since_s": 1.2}
    daemon(disk=[wait, {**wait, "since_s": 2.2}, done("it is mounted")])
    result = forge("disk", "mount")
    assert result.out == "it is mounted\n"
    assert result.err == "forge: waiting: the RAM disk is mounting (1 s)\n"  # rare lines: no tty


@pytest.mark.parametrize(
    ("slug", "code"),
    [
        ("disk-busy", os.EX_TEMPFAIL),
        ("disk-taken", os.EX_CANTCREAT),
        ("resize-refused", os.EX_DATAERR),
        ("disk-unavailable", os.EX_UNAVAILABLE),
        ("a-slug-of-the-future", os.EX_UNAVAILABLE),
    ],
)
def test_a_refusal_is_one_line_with_the_exit_code_of_its_reason(
    forge: Forge, daemon: StartDaemon, slug, code
):
    error = {"type": "error", "slug": slug, "message": "used by 1 build: b3", "hint": "wait"}
    daemon(disk=[error])
    result = forge("disk", "unmount", "--json")
    assert result.code == code
    assert result.err == "forge: used by 1 build: b3 (wait)\n"
    assert json.loads(result.out)["error"] == {
        "slug": slug,
        "message": "used by 1 build: b3",
        "hint": "wait",
    }


def test_status_shows_kind_use_and_caveats(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status(disk=a_disk(caveats=["its pages can be swapped out"]))])
    result = forge("disk", "status")
    assert "mounted, tmpfs, 4.0 GiB at /mnt/OptaBuilds" in result.out
    assert "note: its pages can be swapped out" in result.out


def test_on_a_terminal_waiting_is_one_line_that_goes_away(env, daemon: StartDaemon):
    def later():
        time.sleep(0.6)
        return {"type": "wait", "reason": "the RAM disk is mounting", "since_s": 0.6}

    daemon(disk=[later, done("it is mounted")])
    ours, theirs = os.openpty()
    result = subprocess.run(
        [sys.executable, "-m", "forge.cli.main", "disk", "mount"],
        env=env, stdout=subprocess.PIPE, stderr=theirs, check=True,
    )  # fmt: skip
    os.close(theirs)
    assert result.stdout == b"it is mounted\n"
    assert os.read(ours, 1000) == (
        b"\r\x1b[2Kforge: waiting: the RAM disk is mounting (1 s)\r\x1b[2K"
    )
    os.close(ours)
