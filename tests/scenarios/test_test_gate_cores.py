"""The cores of tests: shared, given back, lent to the cargos that tests run."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from forge.host.shim import current_shim
from tests.scenarios.conftest import (
    PrivateForge,
    forge_lines,
    is_gone,
    wait_until,
)
from tests.scenarios.tested_crates import (
    crate_with_tests,
    forge_with,
    needs_nextest,
)

pytestmark = pytest.mark.real_cargo


@pytest.fixture(scope="module")
def two_cores(forge_cache: Path) -> Iterator[PrivateForge]:
    with forge_with(forge_cache, 2) as made:
        yield made


@pytest.fixture(params=[1, 2])
def few_cores(forge_cache: Path, request: pytest.FixtureRequest) -> Iterator[PrivateForge]:
    with forge_with(forge_cache, request.param) as made:
        yield made


COUNTED = r"""
use std::{fs::OpenOptions, io::Write, thread::sleep, time::Duration};
fn log(mark: &str) {
    let path = std::env::var("COUNT_LOG").unwrap();
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(mark.as_bytes()).unwrap();
}
#[test] fn holds() { log("+"); sleep(Duration::from_millis(700)); log("-"); }
"""


def test_tests_of_four_cargos_never_hold_more_than_all_cores(two_cores, tmp_path):
    log = tmp_path / "log"
    log.touch()
    two_cores.env["COUNT_LOG"] = str(log)
    names = ("a", "b", "c", "d")
    files = {"tests__one": COUNTED, "tests__two": COUNTED}
    roots = [crate_with_tests(tmp_path / name, **files) for name in names]
    for root in roots:
        assert two_cores.run("test", "--no-run", cwd=root).returncode == 0
    running = [two_cores.start("test", cwd=root) for root in roots]
    held = []
    while any(process.poll() is None for process in running):
        status = two_cores.status()
        held.append(status["budget"]["running_cores"])
        assert held[-1] <= status["budget"]["capacity"] == 2
    for process in running:
        assert process.wait() == 0, process.communicate()
    assert max(held) == 2, "two at once is what two cores are for"
    at_once = peak = 0
    for mark in log.read_text():
        at_once += 1 if mark == "+" else -1
        peak = max(peak, at_once)
    assert log.read_text().count("+") == 8
    assert peak == 2


WAITS = r"""
use std::{fs, path::Path, thread::sleep, time::Duration};
#[test] fn waits() {
    fs::write("pid", std::process::id().to_string()).unwrap();
    while !Path::new("go").exists() { sleep(Duration::from_millis(20)); }
}
"""


dies_with_its_gate = pytest.mark.skipif(
    sys.platform == "darwin", reason="macOS does not end a child with its parent"
)


def pid_in(root: Path) -> int:
    return int(wait_until(lambda: (root / "pid").exists() and (root / "pid").read_text()))


def running_tests(forge: PrivateForge) -> list[str]:
    return [name for one in forge.status()["builds"] for name in one["gates"]["tests_running"]]


@pytest.mark.parametrize("victim", ["harness", pytest.param("gate", marks=dies_with_its_gate)])
def test_a_killed_test_gives_its_cores_back(two_cores, tmp_path, victim):
    root = crate_with_tests(tmp_path / "p", tests__waits=WAITS)
    process = two_cores.start("test", "--test", "waits", cwd=root)
    harness = psutil.Process(pid_in(root))
    wait_until(lambda: running_tests(two_cores) == ["waits"])
    assert two_cores.status()["budget"]["running_cores"] == 1
    gate = harness.parent()
    assert gate is not None
    os.kill(harness.pid if victim == "harness" else gate.pid, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 101, out + err
    assert "signal: 9, SIGKILL" in err
    assert is_gone(harness.pid)
    wait_until(lambda: two_cores.status()["budget"]["running_cores"] == 0)


def test_ctrl_c_ends_a_test_and_gives_its_cores_back(two_cores, tmp_path):
    root = crate_with_tests(tmp_path / "p", tests__waits=WAITS)
    process = two_cores.start("test", "--test", "waits", cwd=root)
    harness = pid_in(root)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    wait_until(lambda: is_gone(harness))
    wait_until(lambda: two_cores.status()["budget"]["running_cores"] == 0)


def test_a_test_that_runs_is_counted_by_the_daemon_that_takes_over(few_cores, tmp_path):
    root = crate_with_tests(tmp_path / "p", tests__waits=WAITS)
    process = few_cores.start("test", "--test", "waits", cwd=root)
    pid_in(root)
    wait_until(lambda: running_tests(few_cores) == ["waits"])
    before = few_cores.daemon_pid()
    assert few_cores.run("daemon", "restart", cwd=root).returncode == 0
    assert few_cores.daemon_pid() != before
    wait_until(lambda: running_tests(few_cores) == ["waits"])
    assert few_cores.status()["budget"]["running_cores"] == 1
    (root / "go").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    wait_until(lambda: few_cores.status()["budget"]["running_cores"] == 0)


def test_a_cancelled_build_ends_its_test(two_cores, tmp_path):
    root = crate_with_tests(tmp_path / "p", tests__waits=WAITS)
    process = two_cores.start("test", "--test", "waits", cwd=root)
    harness = pid_in(root)
    (build,) = (one["id"] for one in two_cores.status()["builds"])
    assert two_cores.ask({"type": "cancel_build", "build": build})["type"] == "ok"
    process.communicate(timeout=60)
    assert process.returncode != 0
    wait_until(lambda: is_gone(harness))
    wait_until(lambda: two_cores.status()["budget"]["running_cores"] == 0)


NESTED = r"""
use std::{path::PathBuf, process::Command};
fn build(cargo: String, name: &str) {
    let place = PathBuf::from(std::env::var("INNER").unwrap());
    let target = place.join(name);
    let out = Command::new(&cargo).args(["test", "-j2", "--target-dir"]).arg(&target)
        .current_dir(place.join("inner")).output().unwrap();
    assert!(out.status.success(), "{cargo}: {}", String::from_utf8_lossy(&out.stderr));
}
#[test] fn by_path() { build("cargo".into(), "t1") }
#[test] fn by_variable() { build(std::env::var("CARGO").unwrap(), "t2") }
"""


@pytest.mark.parametrize(
    ("verb", "env"),
    [
        (("test",), {}),
        (
            ("test",),
            {"RUSTC_WRAPPER": "/usr/bin/env"},
        ),  # then the gate is a variable, and inherited
        pytest.param(("nextest", "run"), {}, marks=needs_nextest),
    ],
)
def test_a_test_that_runs_cargo_itself_ends(few_cores, tmp_path, verb, env):
    root = crate_with_tests(tmp_path / "outer", tests__nested=NESTED)
    inner = crate_with_tests(tmp_path / "inner")
    shim = current_shim(Path(few_cores.env["FORGE_CACHE_DIR"]), few_cores.env)
    bin_dir = Path(shim.rustc_gate).parent.parent / "bin"
    path = f"{bin_dir}{os.pathsep}{few_cores.env['PATH']}"
    done = few_cores.run(
        *verb, cwd=root, stdin="", env={**env, "PATH": path, "INNER": str(inner.parent)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not forge_lines(done.stderr)
    assert len(few_cores.decisions("build.granted")) == 2, "the one found on PATH is known"
