"""What `forge doctor` looks at on the host, with a simulated macOS and with real files."""

import os
import stat
import time
from pathlib import Path

import pytest

from forge.client import checks_host, remedies
from forge.core.checkup import Row, Verdict
from tests.macos.fixtures import simulated_mac  # noqa: F401  # a fixture

DISK = {"disk": {"phase": "mounted", "mount_point": "/Volumes/OptaBuilds"}}


@pytest.fixture
def env(tmp_path):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "FORGE_STATE_DIR": str(tmp_path / "state"),
        "FORGE_CACHE_DIR": str(tmp_path / "cache"),
        "FORGE_CONFIG": str(tmp_path / "forge.toml"),
        "FORGE_PLATFORM": "linux",
    }


def rows_of(env, status=None) -> dict[str, Row]:
    return {row.name: row for row in checks_host.host_rows(env, status)}


def test_this_machine_has_a_row_for_each_thing_and_nothing_is_made(env, tmp_path):
    rows = rows_of(env)
    assert {"open files", "clock", "installation", "services", "build keys", "PATH"} <= set(rows)
    assert rows["open files"].verdict is not Verdict.UNKNOWN
    assert {one.name for one in tmp_path.iterdir()} <= {".rustup"}  # rustup's own doing


def test_a_clock_that_was_set_back_is_seen_by_our_own_log(env, tmp_path):
    log = tmp_path / "state" / "forged.log"
    log.parent.mkdir()
    log.touch()
    os.utime(log, (time.time() + 7200, time.time() + 7200))
    assert rows_of(env)["clock"].verdict is Verdict.WARN


def test_services_that_are_down_are_named(env, tmp_path):
    (tmp_path / "forge.toml").write_text('[services.x]\nruns = "process"\ncommand = ["true"]\n')
    assert "x is down" in rows_of(env)["services"].finding


def test_a_wrong_configuration_is_a_failure_and_no_traceback(env, tmp_path):
    (tmp_path / "forge.toml").write_text('[services.x]\nruns = "docker"\n')
    assert rows_of(env)["services"].verdict is Verdict.FAIL


@pytest.fixture
def mac(simulated_mac, env):  # noqa: F811
    return simulated_mac, {**env, **simulated_mac.env, "HOME": env["HOME"]}


def test_a_healthy_mac_is_healthy(mac):
    world, mac_env = mac
    mac_env = {**mac_env, "FORGE_STATE_DIR": f"{mac_env['HOME']}/state"}
    world.fault("tmutil.isexcluded", says="[Excluded]    /Volumes/OptaBuilds\n", exit_code=0)
    rows = rows_of(mac_env, DISK)
    assert {rows[name].verdict for name in ("power", "Spotlight", "Time Machine")} == {Verdict.OK}


@pytest.mark.parametrize(("fault", "says", "name", "verdict"), [
    ("pmset", " sleep 1\n", "power", Verdict.WARN),
    ("mdutil", "/V:\n\tIndexing enabled.\n", "Spotlight", Verdict.WARN),
    ("tmutil.isexcluded", "[Included]    /V\n", "Time Machine", Verdict.WARN),
])  # fmt: skip
def test_each_thing_broken_on_a_mac_is_told(mac, fault, says, name, verdict):
    world, mac_env = mac
    world.fault(fault, says=says, exit_code=0)
    row = rows_of(mac_env, DISK)[name]
    assert row.verdict is verdict
    assert row.hint


@pytest.mark.parametrize("fault", ["pmset", "mdutil", "tmutil.isexcluded"])
def test_a_tool_that_fails_leaves_its_row_unknown(mac, fault):
    world, mac_env = mac
    world.fault(fault, fails="nope")
    names = {"pmset": "power", "mdutil": "Spotlight", "tmutil.isexcluded": "Time Machine"}
    assert rows_of(mac_env, DISK)[names[fault]].verdict is Verdict.UNKNOWN


def test_what_is_safe_is_mended(mac):
    _, mac_env = mac
    state = Path(mac_env["FORGE_STATE_DIR"])
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    rows = [
        Row("state directory", Verdict.WARN, "", "", fix="state directory"),
        Row("Time Machine", Verdict.WARN, "", "", fix="time machine"),
        Row("power", Verdict.WARN, "", "sudo"),  # needs root: left to the person
    ]
    told = remedies.mend(rows, mac_env, DISK)
    assert told == ["state directory: mended", "Time Machine: mended"]
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert rows_of(mac_env, DISK)["Time Machine"].verdict is Verdict.OK


def test_what_cannot_be_mended_is_said(env):
    rows = [Row("state directory", Verdict.WARN, "", "", fix="state directory")]
    (told,) = remedies.mend(rows, env, None)  # there is none
    assert "could not be mended" in told
