"""Builds that wait for others, give up, and are cancelled: real cargo, the real daemon."""

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.scenarios.conftest import (
    HeldPackage,
    PrivateForge,
    forge_lines,
    is_gone,
    package,
    wait_until,
)
from tests.scenarios.terminal import Terminal, screen

pytestmark = pytest.mark.real_cargo

ENDLESS = """#![allow(long_running_const_eval)]
const ENDLESS: u64 = { let mut n = 1u64; while n != 0 { n = n % 1000 + 1; } n };
fn main() { println!("{ENDLESS}"); }
"""


@pytest.fixture(params=["native", "python"])
def launcher(request: pytest.FixtureRequest) -> str:
    """Both launchers obey alike."""
    return str(request.param)


def build_in(forge: PrivateForge, phase: str) -> dict[str, Any]:
    """Return the build that is in a phase, waiting for it."""

    def found() -> dict[str, Any] | None:
        builds = [one for one in forge.status()["builds"] if one["phase"] == phase]
        return builds[0] if builds else None

    build: dict[str, Any] = wait_until(found)
    return build


def cancel(forge: PrivateForge, build: dict[str, Any]) -> None:
    forge.ask({"type": "cancel_build", "build": build["id"]})


def hold_target_dir(forge: PrivateForge, held: HeldPackage) -> dict[str, Any]:
    """Start a build that goes on until it is let go; return what the status says of it."""
    forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    return build_in(forge, "running")


def test_a_build_that_is_not_to_wait_gives_up_at_once_and_says_for_whom(
    forge: PrivateForge, held: HeldPackage
) -> None:
    first = hold_target_dir(forge, held)
    for argv, env in (
        (["build", "--forge-wait-timeout=0"], {}),
        (["build"], {"FORGE_WAIT_TIMEOUT": "0", "FORGE_QUIET": "1"}),
    ):
        done = forge.run(*argv, cwd=held.root, env=env)
        assert done.returncode == 75
        assert done.stderr == (
            f"forge: gave up at once: waiting for {first['id']} (`cargo build`), which builds in"
            " the same target dir\n"
        )
    held.let_go()
    wait_until(lambda: forge.status()["builds"] == [])
    done = forge.run("--forge-wait-timeout", "0", "build", cwd=held.root)
    assert (done.returncode, forge_lines(done.stderr)) == (0, [])


def test_a_build_gives_up_after_as_long_as_it_was_told(
    forge: PrivateForge, held: HeldPackage
) -> None:
    hold_target_dir(forge, held)
    began_at = time.monotonic()
    done = forge.run("build", "--forge-wait-timeout", "2s", cwd=held.root)
    assert done.returncode == 75
    assert time.monotonic() - began_at >= 2
    assert "forge: gave up after 2.0 s: waiting for " in done.stderr
    assert "Compiling" not in done.stderr


def test_a_build_that_waits_says_for_whom_and_goes_on(
    forge: PrivateForge, held: HeldPackage
) -> None:
    first = hold_target_dir(forge, held)
    second = forge.start("build", cwd=held.root)
    build_in(forge, "waiting for the target dir")
    time.sleep(2.5)
    held.let_go()
    stderr = second.communicate(timeout=60)[1]
    assert second.returncode == 0, stderr
    (line,) = forge_lines(stderr)
    said = f"forge: waiting for {first['id']} (`cargo build`), which builds in the same target dir"
    assert line.startswith(f"{said} (")


def test_a_build_is_cancelled_in_the_line(forge: PrivateForge, held: HeldPackage) -> None:
    hold_target_dir(forge, held)
    second = forge.start("build", cwd=held.root)
    waiting = build_in(forge, "waiting for the target dir")
    cancel(forge, waiting)
    stderr = second.communicate(timeout=30)[1]
    assert second.returncode == 130
    assert forge_lines(stderr)[-1] == f"forge: {waiting['id']} was cancelled by `forge cancel`"
    assert "Compiling" not in stderr


def test_a_build_is_cancelled_with_its_rustc(forge: PrivateForge, tmp_path: Path) -> None:
    root = package(tmp_path / "p", main=ENDLESS)
    forge.run("metadata", "--no-deps", "--format-version=1", cwd=root)  # the daemon is there
    process = forge.start("build", cwd=root)
    build = build_in(forge, "running")

    def is_at_work(one: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):  # a rustc that was asked for its version
            return bool(one.name() == "rustc" and one.cpu_times().user > 0.3)
        return False

    def compilers() -> list[psutil.Process]:
        tree = psutil.Process(build["cargo_pid"]).children(recursive=True)
        return [one for one in tree if is_at_work(one)]

    (rustc,) = wait_until(compilers)
    cancel(forge, build)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == -signal.SIGTERM
    assert forge_lines(stderr) == [f"forge: {build['id']} was cancelled by `forge cancel`"]
    assert is_gone(build["cargo_pid"])
    wait_until(lambda: is_gone(rustc.pid), 10)
    wait_until(lambda: forge.status()["builds"] == [], 10)


@pytest.mark.parametrize(("argv", "priority"), [([], "batch"), (["interactive"], "interactive")])
def test_a_build_is_as_urgent_as_its_option_says(
    forge: PrivateForge, held: HeldPackage, argv: list[str], priority: str
) -> None:
    options = [f"--forge-priority={one}" for one in argv]
    forge.start("build", *options, cwd=held.root)
    wait_until(held.has_begun)
    assert build_in(forge, "running")["priority"] == priority


def test_a_wrong_option_is_refused_and_a_wrong_variable_is_not(
    forge: PrivateForge, tmp_path: Path
) -> None:
    root = package(tmp_path / "p")
    wrong = forge.run("build", "--forge-priority", "high", cwd=root)
    assert (wrong.returncode, wrong.stdout) == (64, "")
    assert wrong.stderr == (
        "forge: `high` is no priority (`--forge-priority` takes `interactive` or `batch`)\n"
    )
    done = forge.run("build", cwd=root, env={"FORGE_WAIT_TIMEOUT": "ever"})
    assert done.returncode == 0
    (line,) = forge_lines(done.stderr)
    assert line.startswith("forge: FORGE_WAIT_TIMEOUT is ignored: `ever` is no duration (")


def test_on_a_terminal_the_wait_is_one_line_until_ctrl_c(
    forge: PrivateForge, held: HeldPackage
) -> None:
    first = hold_target_dir(forge, held)
    terminal = Terminal([*forge.cli, "build"], cwd=held.root, env=forge.env, columns=60)
    try:
        shown = terminal.expect(b"\x1b[K")
        said = f"forge: waiting for {first['id']} (`cargo build`), which builds in the same"
        assert screen(shown, 60) == [said[:57]]
        shown += b"\x1b[K" + terminal.expect(b"\x1b[K") + b"\x1b[K"
        assert b"\n" not in shown
        assert build_in(forge, "waiting for the target dir")["priority"] == "interactive"
        terminal.type("\x03")
        assert terminal.wait(10) == -signal.SIGINT
        assert screen(shown + terminal.text, 60) == [""]
        wait_until(lambda: [one["id"] for one in forge.status()["builds"]] == [first["id"]], 10)
    finally:
        terminal.close()
