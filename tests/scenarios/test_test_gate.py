"""Tests behind the test gate: real cargo, rustdoc and nextest, and a daemon with two cores."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from forge.host.shim import current_shim
from tests.scenarios.conftest import (
    PrivateForge,
    cargo,
    forge_lines,
    freshness,
    is_gone,
    open_forge,
    package,
    wait_until,
)

pytestmark = pytest.mark.real_cargo

LIB = """
/// ```
/// assert_eq!(tiny::two(), 2);
/// ```
///
/// ```
/// assert!(tiny::two() > 1);
/// ```
pub fn two() -> u32 { 2 }
#[test] fn of_the_library() { assert_eq!(two(), 2) }
"""
INTEGRATION = r"""
use std::io::Read;
#[test] fn tells() {
    let mut words = std::env::args();
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    println!("called as {}", words.next().unwrap().rsplit('/').next().unwrap());
    println!("with {:?}, given {input:?}", words.collect::<Vec<_>>());
    println!("in {:?}", std::env::current_dir());
    let mut names = std::env::vars().collect::<Vec<_>>();
    names.sort();
    for (name, value) in names.iter().filter(|(name, _)| name.contains("RUNNER")) {
        println!("{name} is {value}");
    }
    eprintln!("to stderr");
    assert_eq!(tiny::two(), 2);
}
"""
FILES = {"src/lib.rs": LIB, "tests/tells.rs": INTEGRATION}


def crate_with_tests(root: Path, **files: str) -> Path:
    """Write a package with tests; a name's double underscore stands for a slash."""
    package(root, manifest='[lib]\npath = "src/lib.rs"\n[workspace]\n')
    (root / "tests").mkdir()
    given = {name.replace("__", "/") + ".rs": text for name, text in files.items()}
    for name, text in {**FILES, **given}.items():
        (root / name).write_text(text)
    return root


def forge_with(cache: Path, cores: int) -> PrivateForge:
    made = open_forge(cache)
    made.configure(builds="at_once = 8")
    with Path(made.env["FORGE_CONFIG"]).open("a") as file:
        file.write(f"[host]\ncores = {cores}\n")
    return made


@pytest.fixture(scope="module")
def two_cores(forge_cache: Path) -> Iterator[PrivateForge]:
    made = forge_with(forge_cache, 2)
    try:
        yield made
    finally:
        made.take_apart()


@pytest.fixture(params=[1, 2])
def few_cores(forge_cache: Path, request: pytest.FixtureRequest) -> Iterator[PrivateForge]:
    made = forge_with(forge_cache, request.param)
    try:
        yield made
    finally:
        made.take_apart()


def host(forge: PrivateForge) -> str:
    return current_shim(Path(forge.env["FORGE_CACHE_DIR"]), forge.env).host


def last_end(forge: PrivateForge, count: int) -> dict[str, Any]:
    """Return what was logged of the build that ended last; `count` had ended before."""

    def ended() -> list[dict[str, Any]]:
        return forge.decisions("build.ended")[count:]

    return dict(wait_until(ended)[-1])


def said(text: str) -> list[str]:
    """Return lines without what differs from run to run: times, threads, directories, order."""
    text = re.sub(r"finished in [0-9.]+s", "", text)
    text = re.sub(r"all doctests ran in .*|thread 'bad' \([0-9]+\)", "", text)
    text = re.sub(r"`\S*test-gate 0 ", "`", text)
    text = re.sub(r"[^\s(`]*/deps/", "deps/", text)
    lines = text.splitlines()
    return sorted(one for one in lines if "Finished" not in one and "Compiling" not in one)


BAD = "#[test] fn bad() {{ {} }}\n"


@pytest.mark.parametrize(
    ("argv", "bad", "code"),
    [
        (("test", "--", "--nocapture", "--test-threads=1"), "", 0),
        (("test", "--no-fail-fast"), 'println!("out"); panic!("no")', 101),
        (("test",), "std::process::abort()", 101),
        (("test",), "std::process::exit(7)", 7),
        (("test", "--", "--no-such-option"), "", 101),
        (("test", "--", "--list"), "", 0),
        (("test", "--", "--exact", "of_the_library"), "", 0),
        (("bench",), "", 0),
    ],
)
def test_tests_say_and_end_as_with_plain_cargo(two_cores, tmp_path, argv, bad, code):
    root = crate_with_tests(tmp_path / "p", tests__bad=BAD.format(bad))
    plain = cargo(*argv, cwd=root, stdin="hello", env={"CARGO_TARGET_DIR": str(tmp_path / "t")})
    ours = two_cores.run(*argv, cwd=root, stdin="hello")
    assert (ours.returncode, plain.returncode) == (code, code)
    assert said(ours.stdout) == said(plain.stdout)
    assert said(ours.stderr) == said(plain.stderr)


def test_unit_tests_integration_tests_and_doctests_pass_the_gate(two_cores, tmp_path):
    count = len(two_cores.decisions("build.ended"))
    done = two_cores.run("test", cwd=crate_with_tests(tmp_path / "p"))
    assert done.returncode == 0, done.stderr
    assert last_end(two_cores, count)["tests"] == 3 + 2, "lib, bin, tests/tells.rs, two doctests"


def test_listing_and_building_tests_asks_for_no_core(two_cores, tmp_path):
    root = crate_with_tests(tmp_path / "p")
    count = len(two_cores.decisions("build.ended"))
    assert two_cores.run("test", "--no-run", cwd=root).returncode == 0
    assert two_cores.run("test", "--lib", "--", "--list", cwd=root).returncode == 0
    assert last_end(two_cores, count + 1)["tests"] == 0


RUNNER = """#!/bin/sh
echo "runner: $*" >> "$RUNNER_LOG"
while [ "$1" = word ]; do shift; done
exec "$@"
"""


def with_runner(root: Path) -> Path:
    (root / "runner.sh").write_text(RUNNER)
    (root / "runner.sh").chmod(0o755)
    (root / ".cargo").mkdir()
    return root


@pytest.mark.parametrize(
    ("config", "option"),
    [
        ("[target.{}]\nrunner = './runner.sh word'\n", None),
        ("[target.{}]\nrunner = ['./runner.sh', 'word']\n", None),
        ("", "target.{}.runner=['./runner.sh', 'word']"),
        ("[target.{}]\nrunner = 'nonsense'\n", "target.{}.runner='./runner.sh word'"),
        # Not gated: rustc would have to say which of these tables holds.
        ("[target.'cfg(all())']\nrunner = './runner.sh word'\n#{}", None),
    ],
)
def test_the_users_runner_runs_behind_the_gate(two_cores, tmp_path, config, option):
    root = with_runner(crate_with_tests(tmp_path / "p"))
    triple = host(two_cores)
    (root / ".cargo/config.toml").write_text(config.format(triple))
    options = ["--config", option.format(triple)] if option else []
    log = tmp_path / "log"
    count = len(two_cores.decisions("build.ended"))
    done = two_cores.run(*options, "test", cwd=root, env={"RUNNER_LOG": str(log)})
    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()
    assert len(calls) == 5
    assert all(re.match(r"runner: word /\S+/(tiny-|tells-|rust_out)", call) for call in calls), (
        calls
    )
    assert last_end(two_cores, count)["tests"] == (0 if "cfg" in config else 5)


@pytest.mark.parametrize("runner", ["./no-such-runner", "no-such-runner"])
def test_a_runner_that_does_not_exist_fails_as_with_plain_cargo(two_cores, tmp_path, runner):
    root = crate_with_tests(tmp_path / "p")
    (root / ".cargo").mkdir()
    (root / ".cargo/config.toml").write_text(f"[target.{host(two_cores)}]\nrunner = '{runner}'\n")
    plain = cargo("test", "--lib", cwd=root, env={"CARGO_TARGET_DIR": str(tmp_path / "t")})
    done = two_cores.run("test", "--lib", cwd=root)
    assert done.returncode == plain.returncode == 101
    for text in (plain.stderr, done.stderr):
        assert re.search(rf"could not execute process `\S*{runner} .*` \(never executed\)", text)
        assert "No such file or directory (os error 2)" in text


needs_nextest = pytest.mark.skipif(
    shutil.which("cargo-nextest") is None, reason="there is no cargo-nextest"
)


@needs_nextest
@pytest.mark.parametrize("config", ["", "[target.{}]\nrunner = ['./runner.sh', 'word']\n"])
def test_nextest_runs_each_test_through_the_gate(two_cores, tmp_path, config):
    root = with_runner(crate_with_tests(tmp_path / "p"))
    (root / ".cargo/config.toml").write_text(config.format(host(two_cores)))
    log = tmp_path / "log"
    log.touch()
    count = len(two_cores.decisions("build.ended"))
    done = two_cores.run(
        "nextest", "run", "--no-capture", cwd=root, stdin="", env={"RUNNER_LOG": str(log)}
    )
    assert done.returncode == 0, done.stderr
    assert "2 tests run: 2 passed" in done.stderr
    assert "RUNNER is" not in done.stdout, "the gate's variable went into the test"
    assert last_end(two_cores, count)["tests"] == 2, "listing is not counted"
    assert bool(log.read_text()) is bool(config)


@needs_nextest
def test_a_test_that_fails_under_nextest_fails(two_cores, tmp_path):
    root = crate_with_tests(tmp_path / "p", tests__bad="#[test] fn bad() { panic!() }\n")
    plain = cargo("nextest", "run", cwd=root, env={"CARGO_TARGET_DIR": str(tmp_path / "t")})
    done = two_cores.run("nextest", "run", cwd=root)
    assert done.returncode == plain.returncode != 0


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


def test_plain_cargo_and_forge_take_turns_and_all_stays_fresh(two_cores, tmp_path):
    root = crate_with_tests(tmp_path / "p")
    plain_env = {"CARGO_TARGET_DIR": str(two_cores.target_dir(root))}
    argv = ("test", "--message-format=json", "--lib", "--tests")
    assert two_cores.run(*argv, cwd=root).returncode == 0
    for _ in range(2):
        for done in (cargo(*argv, cwd=root, env=plain_env), two_cores.run(*argv, cwd=root)):
            assert done.returncode == 0
            assert all(freshness(done.stdout).values())


def test_a_disabled_forge_gates_no_test(two_cores, tmp_path):
    root = crate_with_tests(tmp_path / "p")
    done = two_cores.run("test", "-v", "--lib", cwd=root, env={"FORGE_DISABLE": "1"})
    assert done.returncode == 0
    assert "test-gate" not in done.stderr
    gated = two_cores.run("test", "-v", "--lib", cwd=root)
    assert "test-gate" in gated.stderr


WAITS = r"""
use std::{fs, path::Path, thread::sleep, time::Duration};
#[test] fn waits() {
    fs::write("pid", std::process::id().to_string()).unwrap();
    while !Path::new("go").exists() { sleep(Duration::from_millis(20)); }
}
"""


def pid_in(root: Path) -> int:
    return int(wait_until(lambda: (root / "pid").exists() and (root / "pid").read_text()))


def running_tests(forge: PrivateForge) -> list[str]:
    return [name for one in forge.status()["builds"] for name in one["gates"]["tests_running"]]


@pytest.mark.parametrize("victim", ["harness", "gate"])
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
