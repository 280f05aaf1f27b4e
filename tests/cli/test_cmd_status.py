"""`forge status`."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_build, a_report, a_status, a_target_dir


def test_status_shows_what_the_daemon_reports(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status(builds=[a_build()], target_dirs=[a_target_dir()])])
    result = forge("status")
    assert (result.code, result.err) == (0, "")
    for words in (
        "mounted, tmpfs",
        "25% used",
        "/src/ripgrep",
        "running",
        "5 MiB",
        "1 min 1 s ago",
    ):
        assert words in result.out


def test_status_as_json_is_the_daemons_own_object(forge: Forge, daemon: StartDaemon):
    fake = daemon(status=[a_status()])
    result = forge("status", "--json")
    assert json.loads(result.out) == a_report()
    assert fake.requests == [{"client": "0.1.0", "type": "status", "v": 1}]


def test_status_starts_no_daemon(forge: Forge, place):
    result = forge("status")
    assert result.code == os.EX_UNAVAILABLE
    assert "start it with `forge daemon start`" in result.err
    assert not (place / "state").exists()


def test_status_as_json_without_a_daemon_has_a_null_pid_and_the_reason(forge: Forge, place):
    result = forge("status", "--json")
    assert result.code == os.EX_UNAVAILABLE
    answer = json.loads(result.out)
    assert answer["pid"] is None
    assert answer["socket"] == str(place / "state" / "forged.sock")
    assert answer["error"]["slug"] == "daemon-unreachable"


def test_a_daemon_that_hangs_is_not_waited_for_for_ever(forge: Forge, daemon: StartDaemon):
    daemon(status=[])
    result = forge("status")
    assert result.code == os.EX_UNAVAILABLE
    assert "did not answer within 2 s" in result.err


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"\xff\xfe nonsense\n", "garbage"),
        ({"type": "ok", "line": "fine"}, "the daemon answers `ok` to `status`"),
        ({"type": "status"}, "no object"),
    ],
)
def test_a_daemon_that_talks_garbage_is_told_apart(forge: Forge, daemon: StartDaemon, reply, says):
    daemon(status=[reply])
    result = forge("status")
    assert result.code == os.EX_PROTOCOL
    assert says in result.err


def test_watching_shows_it_again_until_ctrl_c(env, daemon: StartDaemon):
    daemon(status=[a_status()])
    argv = [sys.executable, "-m", "forge.cli.main", "status", "--watch"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        seen = 0
        for line in process.stdout:
            seen += line.startswith("RAM disk")
            if seen == 2:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


@pytest.mark.parametrize(("state", "model_mib", "shown"), [
    ("absent", 0, False),  # a machine without a model is not told that it has none
    ("absent", 512, True),
    ("idle", 0, True),
])  # fmt: skip
def test_inference_is_shown_where_there_is_a_server_or_a_model_is_planned(
    forge: Forge, daemon: StartDaemon, state, model_mib, shown
):
    status = a_status(
        inference={"servers": [{"state": state, "url": "http://127.0.0.1:8080"}]},
        memory_map={"total_mib": 4096, "rows": [{"key": "model", "tenant": "AI engine",
                    "size_mib": model_mib, "kind": "wired"}]},
    )  # fmt: skip
    daemon(status=[status])
    assert ("inference" in forge("status").out) is shown
