"""The rustc gate and the linker gate under a real cargo."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.fake_forged import FakeForged, built_shim, go, program
from tests.scenarios.gated_project import LINKED, UNITS, Project, dirty

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo")


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path)
    yield found
    found.daemon.stop()


def test_each_unit_asks_and_reports(project):
    project.daemon.start()
    project.built()
    assert project.output() == "7\n"
    assert sorted(project.units()) == sorted(UNITS)
    for unit in project.daemon.messages("unit"):
        assert (unit["v"], unit["build"], unit["opt"], unit["target"]) == (1, "7", "0", None)
        assert unit["debug"] == "2" or unit["crate"] != "app"
        assert unit["incremental"] is True or unit["crate"] == "build_script_build"
    assert sorted(u["crate"] for u in project.daemon.messages("unit") if u["links"]) == sorted(
        LINKED
    )
    ended = project.daemon.messages("unit_ended")
    assert len(ended) == len(UNITS)
    assert all(end["exit"] == 0 and end["peak_kib"] > 20_000 for end in ended)
    assert all(end["user_s"] + end["system_s"] > 0 and 0 < end["wall_s"] < 60 for end in ended)


def test_each_link_tells_its_inputs_and_its_peak(project):
    project.daemon.start()
    project.built()
    links = project.links()
    assert sorted(link["crate"] for link in links) == sorted(LINKED)
    for link in links:
        assert link["input_bytes"] > 10_000  # at least the crate's own objects
        assert link["inputs"] >= 3
        assert Path(link["output"]).is_absolute()
        assert os.path.basename(link["linker"]) == "cc"
        assert link["linker_kind"] in ("ld", "lld", "apple")
        assert link["target"] is None
    ended = project.daemon.messages("link_ended")
    assert all(end["exit"] == 0 and end["peak_kib"] > 5_000 for end in ended)
    assert len(ended) == len(LINKED)


def test_the_binarys_inputs_are_summed_exactly(project, tmp_path):
    """Against the bytes of the files that the linker itself was given."""
    spy = program(
        tmp_path / "spy" / "cc",
        f"#!{sys.executable} -IS\n"
        "import json, os, subprocess, sys\n"
        "files = {a: os.path.getsize(a) for i, a in enumerate(sys.argv) if i and\n"
        "         os.path.isfile(a) and sys.argv[i - 1] not in ('-o', '-L')}\n"
        f"open({str(tmp_path / 'spied')!r}, 'a').write(json.dumps(files) + '\\n')\n"
        "sys.exit(subprocess.call(['/usr/bin/cc', *sys.argv[1:]]))\n",
    )
    project.daemon.start()
    project.config(f'[build]\nrustflags = ["-Clinker={spy}"]\n')
    project.built()
    spied = [json.loads(line) for line in (tmp_path / "spied").read_text().splitlines()]
    assert sorted(sum(files.values()) for files in spied) == sorted(
        link["input_bytes"] for link in project.links()
    )
    assert {link["linker"] for link in project.links()} == {str(spy)}


def test_fingerprints_stay_fresh_in_both_directions(project):
    project.daemon.start()
    assert dirty(project.built(gated=False).stderr)
    assert dirty(project.built("build", "-v").stderr) == []
    shutil.rmtree(project.root / "target")
    assert dirty(project.built().stderr)
    assert dirty(project.built("build", "-v", gated=False).stderr) == []
    assert dirty(project.built("build", "-v", FORGE_LINKER_DIR="/nonexistent").stderr) == []
    assert len(project.units()) == len(UNITS)


def test_tests_are_units_that_link(project):
    project.daemon.start()
    assert "test result: ok" in project.built("test", "--lib", "-p", "app").stdout
    (test,) = [unit for unit in project.daemon.messages("unit") if unit["kinds"] == ["test"]]
    assert (test["crate"], test["links"]) == ("app", True)


@pytest.mark.skipif(shutil.which("clippy-driver") is None, reason="no clippy")
def test_clippy_passes_the_gate(project):
    project.daemon.start()
    (project.root / "app/src/main.rs").write_text("fn main() { let x = 1; return (); }\n")
    done = project.built("clippy")
    assert "clippy::needless_return" in done.stderr
    assert "build_script_build" in project.units()
    app = next(unit for unit in project.daemon.messages("unit") if unit["crate"] == "app")
    assert (app["links"], app["emit"]) == (False, ["dep-info", "metadata"])


def test_a_compile_error_looks_the_same(project):
    (project.root / "app/src/lib.rs").write_text("pub fn number() -> u32 { oops }\n")
    project.daemon.start()
    gated = project.cargo("build", "-p", "app")
    shutil.rmtree(project.root / "target")
    plain = project.cargo("build", "-p", "app", gated=False)
    assert (gated.returncode, gated.stdout) == (plain.returncode, plain.stdout) == (101, "")
    assert sorted(gated.stderr.splitlines()) == sorted(plain.stderr.splitlines())
    assert 1 in [end["exit"] for end in project.daemon.messages("unit_ended")]


def test_a_rustc_that_is_ended_by_a_signal_ends_its_gate_by_it(project, tmp_path):
    killed = program(
        tmp_path / "rustc",
        '#!/bin/sh\ncase "$*" in *"--crate-name pm"*) kill -9 $$;; esac\nexec rustc "$@"\n',
    )
    project.daemon.start()
    done = project.cargo("build", RUSTC=str(killed))
    assert done.returncode == 101
    assert "signal: 9, SIGKILL" in done.stderr
    assert signal.SIGKILL in [end.get("signal") for end in project.daemon.messages("unit_ended")]


# --- the user's own wrapper ------------------------------------------------------------------


def test_the_users_wrapper_is_chained(project, tmp_path):
    wrapper = program(tmp_path / "sc", f'#!/bin/sh\necho "$@" >> {tmp_path}/wrapped\nexec "$@"\n')
    project.daemon.start()
    project.built(FORGE_RUSTC_WRAPPER=str(wrapper))
    lines = (tmp_path / "wrapped").read_text().splitlines()
    assert sum("--crate-name app" in line for line in lines) == 2
    assert all(line.split()[0].endswith("rustc") for line in lines)
    assert sorted(project.units()) == sorted(UNITS)
    assert len(project.links()) == len(LINKED)


def test_the_users_wrapper_is_found_on_path(project, tmp_path):
    program(tmp_path / "tools" / "mywrap", f'#!/bin/sh\n: >> {tmp_path}/wrapped\nexec "$@"\n')
    path = f"{tmp_path}/tools:{project.plain_env['PATH']}"
    project.built(FORGE_RUSTC_WRAPPER="mywrap", PATH=path)
    assert (tmp_path / "wrapped").exists()


def test_a_wrapper_that_does_not_exist_fails_as_with_cargo(project):
    plain = project.cargo("build", gated=False, RUSTC_WRAPPER="/nonexistent/wrap")
    gated = project.cargo("build", FORGE_RUSTC_WRAPPER="/nonexistent/wrap")
    assert gated.returncode == plain.returncode == 101
    for done in (plain, gated):
        assert "could not execute process `/nonexistent/wrap " in done.stderr
        assert "No such file or directory (os error 2)" in done.stderr


def test_a_workspace_wrapper_keeps_its_place(project, tmp_path):
    wrapper = program(tmp_path / "ws", f'#!/bin/sh\necho "$@" >> {tmp_path}/wrapped\nexec "$@"\n')
    project.daemon.start()
    project.built(RUSTC_WORKSPACE_WRAPPER=str(wrapper))
    assert "--crate-name app" in (tmp_path / "wrapped").read_text()
    assert sorted(project.units()) == sorted(UNITS)


def test_a_gate_without_a_command_runs_the_wrapper_all_the_same(project, tmp_path):
    wrapper = program(tmp_path / "sc", '#!/bin/sh\nexit "4$#"\n')
    env = {**project.plain_env, **project.gates, "FORGE_RUSTC_WRAPPER": str(wrapper)}
    assert subprocess.run([built_shim().rustc_gate], env=env, timeout=20).returncode == 40


def test_a_cargo_inside_a_build_does_not_chain_the_gate_to_itself(project):
    project.daemon.start()
    project.built(FORGE_RUSTC_WRAPPER=str(built_shim().rustc_gate))
    assert sorted(project.units()) == sorted(UNITS)


# --- failing open ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers",
    [
        [b"nonsense\n"],
        [b'{"type":"go'],
        [{"type": "error", "slug": "protocol-mismatch", "message": "version 1 is not known"}],
        [{"type": "wait", "reason": "x", "since_s": 0}],
    ],
    ids=["garbage", "half a line", "another version", "silence"],
)
def test_a_daemon_that_misbehaves_does_not_stop_a_build(project, answers):
    project.daemon.start()
    project.daemon.script["unit"] = lambda unit: answers
    project.daemon.script["link"] = lambda link: answers
    began_at = time.monotonic()
    project.built()
    assert project.output() == "7\n"
    # Only the first gates wait their full patience: the others know that it hangs.
    assert time.monotonic() - began_at < 20
    assert "generated" not in project.built().stderr  # no warning was cached


@pytest.mark.parametrize("gone", ["no socket", "nobody listens", "no build"])
def test_without_a_daemon_a_build_goes_on(project, gone):
    if gone == "nobody listens":
        project.daemon.start().stop()
    project.built(**({"FORGE_BUILD": ""} if gone == "no build" else {}))
    assert project.output() == "7\n"


def test_after_a_hang_a_daemon_that_is_awake_is_asked_again(project):
    project.daemon.start()
    (project.home / "state" / "gate.hung").touch()
    project.built()
    assert sorted(project.units()) == sorted(UNITS)
    assert not (project.home / "state" / "gate.hung").exists()


def test_a_linker_directory_that_cannot_be_made_leaves_links_alone(project):
    project.daemon.start()
    project.built(FORGE_LINKER_DIR="/proc/nowhere")
    assert project.links() == []
    assert len(project.daemon.messages("unit_ended")) == len(UNITS)


def test_probes_ask_nobody(project):
    project.daemon.start()
    gate = built_shim().rustc_gate
    env = {**project.plain_env, **project.gates}
    for argv in (["-vV"], ["--print", "sysroot"], ["-", "--crate-name", "___", "--print=cfg"]):
        direct = subprocess.run(["rustc", *argv], input=b"", capture_output=True, env=env)
        gated = subprocess.run([gate, "rustc", *argv], input=b"", capture_output=True, env=env)
        assert (gated.returncode, gated.stdout) == (direct.returncode, direct.stdout)
    assert project.daemon.heard == []


def test_a_unit_with_200_kib_of_arguments_and_bytes_that_are_not_utf8(project, tmp_path):
    project.daemon.start()
    fake = program(tmp_path / "rustc", f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/got\nexit 3\n')
    argv: list[Any] = [b"--crate-name", b"n\xe9", b"--crate-type", b"lib", b"--emit=link"]
    argv += [b"--cfg=feature" + b"x" * 100] * 2000
    env = {**project.plain_env, **project.gates}
    done = subprocess.run([built_shim().rustc_gate, fake, *argv], env=env)
    assert done.returncode == 3
    assert (tmp_path / "got").read_bytes().splitlines() == argv
    assert project.daemon.wait_for("unit")["crate"] == "n\udce9"
    assert project.daemon.wait_for("unit_ended")["exit"] == 3


# --- all of it -------------------------------------------------------------------------------


def test_a_build_lives_on_when_the_daemon_dies_and_later_units_find_the_new_one(project):
    """Through the launcher, as people use it."""
    project.daemon.start()
    gates = {name: value for name, value in project.gates.items() if name != "FORGE_BUILD"}
    project.daemon.script["begin"] = lambda begin: [go(begin, env={**gates, "FORGE_BUILD": "7"})]
    build = project.root / "app" / "build.rs"
    build.write_text("fn main() { std::thread::sleep(std::time::Duration::from_secs(4)); }\n")
    env = {**project.plain_env, "FORGE_STATE_DIR": str(project.home / "state")}
    process = subprocess.Popen(
        [built_shim().cargo, "build"], cwd=project.root, env=env, stderr=subprocess.PIPE
    )
    project.daemon.wait_for("unit_ended", 2, within_s=60)  # build.rs runs, app is still to come
    project.daemon.stop()
    second = FakeForged(project.home / "state").start()
    try:
        assert second.wait_for("adopt")["build"] == "7"
        assert process.wait(60) == 0
        assert second.wait_for("ended")["exit"] == 0
        assert "app" in [unit["crate"] for unit in second.messages("unit")]
        assert project.output() == "7\n"
        assert process.stderr is not None
        assert b"forge:" not in process.stderr.read()
        process.stderr.close()
    finally:
        second.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS cannot tie a child to its parent")
def test_a_gate_that_is_killed_gives_its_lease_back_and_takes_rustc_along(project, tmp_path):
    project.daemon.start()
    fake = program(tmp_path / "rustc", f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 30\n")
    command: list[Any] = [built_shim().rustc_gate, fake, "--crate-name", "x", "--emit=link"]
    process = subprocess.Popen(command, env={**project.plain_env, **project.gates})
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        time.sleep(0.01)
    process.kill()
    process.wait(10)
    project.daemon.wait_closed("unit", within_s=1.0)
    rustc = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 1
    while Path(f"/proc/{rustc}/cmdline").exists() and Path(f"/proc/{rustc}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


MAKING_BUILD_RS = """
fn main() {
    println!("cargo:rerun-if-changed=Makefile");
    let flags = std::env::var("CARGO_MAKEFLAGS").unwrap();
    let done = std::process::Command::new("make").env("MAKEFLAGS", flags).output().unwrap();
    assert!(done.status.success());
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
}
"""
MAKEFILE = "all: a b c\n%:\n\t@echo start >> log; sleep 1; echo end >> log\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(("tokens", "at_once"), [(0, 1), (3, 3)])
def test_make_in_a_build_script_shares_the_builds_tokens(project, tokens, at_once):
    """GNU make before 4.4 ends at once when it is given the `fifo:` form."""
    project.daemon.start()
    (project.root / "app" / "build.rs").write_text(MAKING_BUILD_RS)
    (project.root / "app" / "Makefile").write_text(MAKEFILE)
    fifo = project.home / "tokens"
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    os.write(descriptor, b"+" * tokens)
    changes = {"env": project.gates, "jobserver": {"path": str(fifo)}}
    project.daemon.script["begin"] = lambda begin: [go(begin, **changes)]
    done = subprocess.run(
        [built_shim().cargo, "build"],
        cwd=project.root,
        env={**project.plain_env, "FORGE_STATE_DIR": str(project.home / "state")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    running = most = 0
    for word in (project.root / "app" / "log").read_text().split():
        running += 1 if word == "start" else -1
        most = max(most, running)
    assert most == at_once
    assert tokens == 0 or os.read(descriptor, 100) == b"+" * tokens  # all came back
    os.close(descriptor)
