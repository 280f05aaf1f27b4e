"""What tests say and how they end behind the test gate: cargo, rustdoc, nextest, runners."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import (
    PrivateForge,
    cargo,
    freshness,
)
from tests.scenarios.tested_crates import (
    crate_with_tests,
    forge_with,
    host,
    last_end,
    needs_nextest,
    runner_variable,
)

pytestmark = pytest.mark.real_cargo


@pytest.fixture(scope="module")
def two_cores(forge_cache: Path) -> Iterator[PrivateForge]:
    with forge_with(forge_cache, 2) as made:
        yield made


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
    done = two_cores.run("test", cwd=crate_with_tests(tmp_path / "p"))
    assert done.returncode == 0, done.stderr
    assert last_end(two_cores)["tests"] == 3 + 2, "lib, bin, tests/tells.rs, two doctests"


def test_listing_and_building_tests_asks_for_no_core(two_cores, tmp_path):
    root = crate_with_tests(tmp_path / "p")
    assert two_cores.run("test", "--no-run", cwd=root).returncode == 0
    assert two_cores.run("test", "--lib", "--", "--list", cwd=root).returncode == 0
    assert last_end(two_cores)["tests"] == 0


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
    ("config", "option", "variable"),
    [
        ("[target.{}]\nrunner = './runner.sh word'\n", None, None),
        ("[target.{}]\nrunner = ['./runner.sh', 'word']\n", None, None),
        ("", "target.{}.runner=['./runner.sh', 'word']", None),
        ("[target.{}]\nrunner = 'nonsense'\n", "target.{}.runner='./runner.sh word'", None),
        ("", None, "./runner.sh word"),
        ("[target.{}]\nrunner = 'nonsense'\n", None, "./runner.sh  word"),
        # Not gated: rustc would have to say which of these tables holds.
        ("[target.'cfg(all())']\nrunner = './runner.sh word'\n#{}", None, None),
    ],
)
def test_the_users_runner_runs_behind_the_gate(two_cores, tmp_path, config, option, variable):
    root = with_runner(crate_with_tests(tmp_path / "p"))
    triple = host(two_cores)
    (root / ".cargo/config.toml").write_text(config.format(triple))
    options = ["--config", option.format(triple)] if option else []
    log = tmp_path / "log"
    env = {"RUNNER_LOG": str(log), runner_variable(triple): variable}
    done = two_cores.run(*options, "test", "--", "--show-output", cwd=root, env=env)
    assert done.returncode == 0, done.stderr
    assert (f"{runner_variable(triple)} is {variable}" in done.stdout) is bool(variable)
    calls = log.read_text().splitlines()
    assert len(calls) == 5
    assert all(re.match(r"runner: word /\S+/(tiny-|tells-|rust_out)", call) for call in calls), (
        calls
    )
    assert last_end(two_cores)["tests"] == (0 if "cfg" in config else 5)


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


@needs_nextest
@pytest.mark.parametrize(
    ("config", "variable"),
    [
        ("", None),
        ("[target.{}]\nrunner = ['./runner.sh', 'word']\n", None),
        ("", "./runner.sh  word"),
    ],
)
def test_nextest_runs_each_test_through_the_gate(two_cores, tmp_path, config, variable):
    root = with_runner(crate_with_tests(tmp_path / "p"))
    (root / ".cargo/config.toml").write_text(config.format(host(two_cores)))
    log = tmp_path / "log"
    log.touch()
    name = runner_variable(host(two_cores))
    env = {"RUNNER_LOG": str(log), name: variable}
    done = two_cores.run("nextest", "run", "--no-capture", cwd=root, stdin="", env=env)
    assert done.returncode == 0, done.stderr
    assert "2 tests run: 2 passed" in done.stderr
    shown = re.findall(r"^(\w+_RUNNER) is (.*)$", done.stdout, re.MULTILINE)
    assert [one for one in shown if "NEXTEST" not in one[0]] == (
        [(name, variable)] * bool(variable)
    )
    assert last_end(two_cores)["tests"] == 2, "listing is not counted"
    assert bool(log.read_text()) is bool(config or variable)


@needs_nextest
def test_a_test_that_fails_under_nextest_fails(two_cores, tmp_path):
    root = crate_with_tests(tmp_path / "p", tests__bad="#[test] fn bad() { panic!() }\n")
    plain = cargo("nextest", "run", cwd=root, env={"CARGO_TARGET_DIR": str(tmp_path / "t")})
    done = two_cores.run("nextest", "run", cwd=root)
    assert done.returncode == plain.returncode != 0


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
