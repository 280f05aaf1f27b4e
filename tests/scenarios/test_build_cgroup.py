"""Where the processes of builds run: both launchers, with a fake daemon and with the real one."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from forge.core.build_cgroup import BUILD_OOM_SCORE_ADJ
from tests.scenarios.conftest import PrivateForge, package, wait_until
from tests.scenarios.fake_forged import go, program
from tests.scenarios.launchers import Launcher
from tests.scenarios.test_build_steering import ENDLESS, build_in

pytestmark = [
    pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc to build the shim"),
    pytest.mark.skipif(sys.platform != "linux", reason="cgroups are of Linux"),
]
OFFER = Path("/proc/self/oom_score_adj")


@pytest.fixture(params=["native", "python"])
def launcher(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def faked(launcher: str, tmp_path: Path) -> Iterator[Launcher]:
    found = Launcher(tmp_path, launcher)
    found.daemon.start()
    yield found
    found.daemon.stop()


@pytest.mark.parametrize("name", ["cgroup.procs", "gone/cgroup.procs", None])
def test_a_launcher_enters_what_it_is_told_to_and_cargo_runs_in_any_case(
    faked: Launcher, tmp_path: Path, name: str | None
) -> None:
    procs = tmp_path / name if name else None
    (tmp_path / "cgroup.procs").write_text("")
    offered = tmp_path / "offered"
    program(faked.cargo, f"#!/bin/sh\ncat {OFFER} >{offered}\n")
    offer = min(1000, int(OFFER.read_text()) + 7)
    faked.daemon.script["begin"] = lambda begin: [
        go(begin, cgroup=str(procs) if procs else None, oom_score_adj=offer)
    ]
    assert faked.go("build") == (0, "")
    expected = {"cgroup.procs": True, "gone/cgroup.procs": False, None: None}[name]
    assert faked.daemon.wait_for("started")["entered"] is expected
    assert (tmp_path / "cgroup.procs").read_text() == ("0" if expected else "")
    assert int(offered.read_text()) == offer


def test_what_the_user_offers_of_a_build_is_not_lowered(faked: Launcher, tmp_path: Path) -> None:
    offered = tmp_path / "offered"
    program(faked.cargo, f"#!/bin/sh\ncat {OFFER} >{offered}\n")
    own = int(OFFER.read_text())
    faked.daemon.script["begin"] = lambda begin: [go(begin, oom_score_adj=own - 1)]
    assert faked.go("build") == (0, "")
    assert int(offered.read_text()) == own


@pytest.mark.parametrize(("told", "cargo_has"), [(7, 7), (0, 0), (None, 0), (99, 19)])
def test_a_launcher_steps_back_as_far_as_it_is_told_to(
    faked: Launcher, tmp_path: Path, told: int | None, cargo_has: int
) -> None:
    nice = tmp_path / "nice"
    (tmp_path / "cgroup.procs").write_text("")
    program(faked.cargo, f"#!/bin/sh\nnice >{nice}\n")
    faked.daemon.script["begin"] = lambda begin: [
        go(begin, nice=told, cpu_cgroup=str(tmp_path / "cgroup.procs"))
    ]
    assert faked.go("build") == (0, "")
    assert int(nice.read_text()) == max(os.nice(0), cargo_has)
    assert (tmp_path / "cgroup.procs").read_text() == "0"
    assert faked.daemon.wait_for("started")["entered"] is None, "that is the other cgroup's"


def test_a_cgroup_for_the_cores_that_cannot_be_entered_stops_no_build(
    faked: Launcher, tmp_path: Path
) -> None:
    faked.daemon.script["begin"] = lambda begin: [go(begin, cpu_cgroup=str(tmp_path / "gone/x"))]
    assert faked.go("build") == (0, "")


@pytest.mark.real_cargo
def test_a_real_rustc_runs_in_the_cgroup_and_the_daemon_does_not(
    forge: PrivateForge, tmp_path: Path
) -> None:
    process = forge.start("build", cwd=package(tmp_path / "p", main=ENDLESS))
    wait_until(partial(forge.decisions, "build.started"))
    build = build_in(forge, "running")
    told = forge.status()["cgroup"]
    if told["directory"] is None:
        pytest.skip(f"no cgroup for builds can be had here: {told['failure']}")
    cargo = psutil.Process(build["cargo_pid"])

    def rustc() -> psutil.Process | None:
        for one in cargo.children(recursive=True):
            with contextlib.suppress(psutil.Error):  # cargo asks a few short ones first
                if one.name() == "rustc" and "tiny" in one.cmdline():
                    return one
        return None

    name = os.path.basename(told["directory"])
    trees = 1 if told["version"] == 2 or not forge.status()["cgroup"]["weighs"] else 2
    for one in (wait_until(rustc).pid, cargo.pid):
        assert Path(f"/proc/{one}/cgroup").read_text().count(name) == trees
        assert int(Path(f"/proc/{one}/oom_score_adj").read_text()) == BUILD_OOM_SCORE_ADJ
    daemon = forge.daemon_pid()
    assert name not in Path(f"/proc/{daemon}/cgroup").read_text()
    assert Path(f"/proc/{daemon}/oom_score_adj").read_text() == OFFER.read_text()
    assert build["in_cgroup"] is True
    ceiling = wait_until(lambda: forge.status()["cgroup"]["ceiling_bytes"])
    assert 0 < ceiling < psutil.virtual_memory().total
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)
    assert forge.run("daemon", "stop", cwd=tmp_path).returncode == 0
    wait_until(lambda: not os.path.exists(told["directory"]))


@pytest.mark.real_cargo
def test_without_the_setting_builds_stay_where_they_were_started(
    forge: PrivateForge, tmp_path: Path
) -> None:
    forge.configure(builds="cgroup = false")
    forge.start("build", cwd=package(tmp_path / "p", main=ENDLESS))
    wait_until(partial(forge.decisions, "build.started"))
    build = build_in(forge, "running")
    ours = Path("/proc/self/cgroup").read_text()
    assert Path(f"/proc/{build['cargo_pid']}/cgroup").read_text() == ours
    assert build["in_cgroup"] is None
