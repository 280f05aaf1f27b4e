"""Links at their gate: waiting, being cancelled, and linkers of all kinds."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.fake_forged import built_shim, program
from tests.scenarios.gated_project import Project, dirty, gated_link

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo")


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path)
    yield found
    found.daemon.stop()


# --- waiting ---------------------------------------------------------------------------------


def test_units_wait_until_they_may_go(project):
    project.daemon.start()
    opened = threading.Event()
    wait = {"type": "wait", "reason": "the gate is shut", "since_s": 0}

    def shut(unit):
        while not opened.is_set():
            project.daemon.send("unit", wait)
            opened.wait(0.5)
        return [{"type": "go"}]

    project.daemon.script["unit"] = shut
    threading.Timer(3.0, opened.set).start()
    began_at = time.monotonic()
    project.built("check", "-p", "pm")
    assert time.monotonic() - began_at > 3.0


def test_a_link_is_cancelled_and_run_again(project, tmp_path):
    project.daemon.start()
    command, env = gated_link(
        project,
        tmp_path,
        f"#!/bin/sh\necho start >> {tmp_path}/log\n"
        f"[ -e {tmp_path}/second ] || sleep 30\necho end >> {tmp_path}/log\nexit 4\n",
    )
    process = subprocess.Popen(command, env=env)
    project.daemon.wait_for("link")
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    (tmp_path / "second").touch()
    project.daemon.send("link", {"type": "cancel"})
    cancelled = project.daemon.wait_for("cancelled")
    assert cancelled["peak_kib"] > 0
    time.sleep(0.3)
    assert (tmp_path / "log").read_text() == "start\n"  # nothing runs before it may
    project.daemon.send("link", {"type": "wait", "reason": "memory", "since_s": 0})
    project.daemon.send("link", {"type": "go"})
    assert process.wait(10) == 4
    assert (tmp_path / "log").read_text() == "start\nstart\nend\n"
    assert project.daemon.wait_for("link_ended")["exit"] == 4


def test_a_linker_that_does_not_listen_is_ended_with_its_children(project, tmp_path):
    project.daemon.start()
    command, env = gated_link(
        project,
        tmp_path,
        f"#!/bin/sh\ntrap '' TERM\n[ -e {tmp_path}/second ] && exit 0\n"
        f"sleep 77 & echo $! > {tmp_path}/child.new; mv {tmp_path}/child.new {tmp_path}/child\n"
        "wait; sleep 77\n",
    )
    process = subprocess.Popen(command, env=env)
    while not (tmp_path / "child").exists():
        time.sleep(0.01)
    (tmp_path / "second").touch()
    project.daemon.send("link", {"type": "cancel"})
    project.daemon.wait_for("cancelled")
    child = int((tmp_path / "child").read_text())
    for _ in range(200):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if sys.platform == "linux" and " Z " in Path(f"/proc/{child}/stat").read_text():
            break
        time.sleep(0.01)
    else:
        raise AssertionError("the linker's child lives on")
    project.daemon.send("link", {"type": "go"})
    assert process.wait(10) == 0


def test_a_daemon_that_dies_while_a_cancelled_link_waits_does_not_keep_it(project, tmp_path):
    project.daemon.start()
    command, env = gated_link(
        project,
        tmp_path,
        f"#!/bin/sh\n[ -e {tmp_path}/second ] && exit 5\ntouch {tmp_path}/first\nexec sleep 30\n",
    )
    process = subprocess.Popen(command, env=env)
    while not (tmp_path / "first").exists():
        time.sleep(0.01)
    (tmp_path / "second").touch()
    project.daemon.send("link", {"type": "cancel"})
    project.daemon.wait_for("cancelled")
    project.daemon.stop()
    assert process.wait(10) == 5


def test_a_real_link_survives_being_cancelled(project):
    project.daemon.start()
    cancelled: list[Any] = []

    def cancel_the_first_of_app(link):
        if link["crate"] == "app" and not cancelled:
            cancelled.append(link)
            return [{"type": "go"}, 0.01, {"type": "cancel"}, 0.2, {"type": "go"}]
        return [{"type": "go"}]

    project.daemon.script["link"] = cancel_the_first_of_app
    project.built()
    assert cancelled
    assert project.output() == "7\n"
    assert dirty(project.built("build", "-v", gated=False).stderr) == []


def test_the_interrupt_reaches_a_linker_in_its_own_group(project, tmp_path):
    project.daemon.start()
    command, env = gated_link(project, tmp_path, f"#!/bin/sh\n: > {tmp_path}/up\nexec sleep 30\n")
    process = subprocess.Popen(command, env=env)
    while not (tmp_path / "up").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT
    assert project.daemon.wait_for("link_ended")["signal"] == signal.SIGINT


def test_without_a_daemon_links_run_one_at_a_time(project, tmp_path):
    (project.home / "state").mkdir()
    command, env = gated_link(
        project,
        tmp_path,
        f"#!/bin/sh\necho start >> {tmp_path}/log\nsleep 0.2\necho end >> {tmp_path}/log\n",
    )
    processes = [subprocess.Popen(command, env=env) for _ in range(4)]
    assert [process.wait(20) for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text().split() == ["start", "end"] * 4


def test_a_linker_that_does_not_exist_is_named(project, tmp_path):
    project.daemon.start()
    project.config('[build]\nrustflags = ["-Clinker=/nonexistent/ld.x"]\n')
    done = project.cargo("build")
    assert done.returncode == 101
    assert "/nonexistent/ld.x: No such file or directory" in done.stderr


# --- other linkers ---------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("mold") is None, reason="no mold")
def test_molds_memory_is_seen(project):
    project.daemon.start()
    project.config('[build]\nrustflags = ["-Clink-arg=-fuse-ld=mold"]\n')
    project.built()
    assert project.output() == "7\n"
    assert {link["linker_kind"] for link in project.links()} == {"mold"}
    # The parent that leaves early has a few MiB; the link of a binary maps all of std.
    assert max(end["peak_kib"] for end in project.daemon.messages("link_ended")) > 30_000


@pytest.mark.skipif(sys.platform != "linux", reason="mold is Linux's")
@pytest.mark.parametrize(
    ("name", "argv", "kind", "added"),
    [
        ("mold", [], "mold", ["--no-fork"]),
        ("mold-wrapper", [], "other", []),  # who knows what it makes of the option
        ("cc", ["-fuse-ld=mold"], "mold", ["-Wl,--no-fork"]),
        ("cc", ["-fuse-ld=my-mold"], "other", []),
        ("ld", ["-fuse-ld=mold"], "ld", []),
    ],
)
def test_only_mold_is_told_not_to_fork(project, tmp_path, name, argv, kind, added):
    project.daemon.start()
    command, env = gated_link(project, tmp_path, "")
    real = program(tmp_path / "real" / name, f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/got\n')
    env["FORGE_LINKER"] = str(real)
    assert subprocess.run([*command, *argv], env=env, timeout=20).returncode == 0
    assert (tmp_path / "got").read_text().splitlines()[2:] == [*argv, *added]
    assert project.daemon.wait_for("link")["linker_kind"] == kind


@pytest.mark.parametrize(
    ("options", "gated"),
    [
        (["-Clinker-flavor=gcc"], True),
        (["-Clinker-flavor=ld"], False),  # rustc would run ld, not cc
        (["-Clinker-flavor=ld", "-Clinker=/x/my-ld"], True),
        (["--target", "hexagon-unknown-linux-musl"], False),
    ],
)
def test_a_link_of_which_the_linker_is_not_known_is_left_alone(project, tmp_path, options, gated):
    fake = program(tmp_path / "rustc", f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/got\n')
    argv = ["--crate-name", "x", "--crate-type", "bin", "--emit=link", *options]
    env = {**project.plain_env, **project.gates}
    assert subprocess.run([built_shim().rustc_gate, fake, *argv], env=env).returncode == 0
    added = (tmp_path / "got").read_text().splitlines()[len(argv) :]
    assert [word.startswith(f"-Clinker={project.home}/linkers/") for word in added] == [
        True
    ] * gated


@pytest.mark.skipif(sys.platform != "linux", reason="rust-lld as ld is Linux's")
def test_gnu_ld_and_lld_are_told_apart(project):
    project.daemon.start()
    project.config('[build]\nrustflags = ["-Clink-arg=-fuse-ld=bfd"]\n')
    project.built()
    assert {link["linker_kind"] for link in project.links()} == {"ld"}
