"""What a build sees and does is what it sees and does under plain cargo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.conftest import PrivateForge, cargo, forge_lines, may_mount, package

pytestmark = pytest.mark.real_cargo
ECHO = 'fn main() { println!("{:?}", std::env::args().skip(1).collect::<Vec<_>>()); }\n'
SHOW_ENV = """
fn main() {
    let mut names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    names.sort();
    for name in names { println!("{}", name.to_string_lossy()); }
}
"""


@pytest.mark.parametrize(
    "argv",
    [
        ("xtask", "dist", "-j", "8", "--help"),
        ("xtask", "--target-dir", "out", "--manifest-path", "x"),
        ("run", "-q", "foo", "-j4", "--release"),
        ("run", "-q", "-j1", "--", "-j4"),
        ("two", "end"),
    ],
)
def test_the_words_of_a_program_are_its_own(lasting_forge: PrivateForge, tmp_path: Path, argv):
    root = package(tmp_path / "p", main=ECHO)
    (root / ".cargo").mkdir()
    (root / ".cargo/config.toml").write_text(
        '[alias]\nxtask = "run -q --"\ntwo = ["xtask", "--fast"]\n'
    )
    plain = cargo(*argv, cwd=root)
    ours = lasting_forge.run(*argv, cwd=root)
    assert ours.returncode == plain.returncode == 0, ours.stderr
    assert ours.stdout == plain.stdout
    assert lasting_forge.target_dir(root).is_dir(), "and it was built on the disk"


def test_what_cargo_run_starts_inherits_no_wrapper(lasting_forge: PrivateForge, tmp_path: Path):
    root = package(tmp_path / "p", main=SHOW_ENV)
    plain = set(cargo("run", "-q", cwd=root).stdout.split())
    ours = set(lasting_forge.run("run", "-q", cwd=root).stdout.split())
    more = {name for name in ours - plain if not name.startswith("FORGE_")}
    assert more <= {"CARGO_MAKEFLAGS"}, "cargo itself hands an outer jobserver on"


NESTED = """
fn main() {
    let cargo = std::env::var("CARGO").unwrap();
    let done = std::process::Command::new(cargo)
        .args(["build", "-q", "--manifest-path", "inner/Cargo.toml"]).status().unwrap();
    assert!(done.success());
}
"""


@pytest.mark.parametrize("argv", [("build",), ("test",), ("clippy",), ("nextest", "run")])
def test_a_build_script_that_runs_cargo_elsewhere_waits_for_nobody(
    lasting_forge: PrivateForge, tmp_path: Path, argv
):
    root = package(
        tmp_path / "p", build=NESTED, manifest="[workspace]\nexclude = ['inner']\n",
        main="fn main() {}\n#[test]\nfn one() {}\n",
    )  # fmt: skip
    package(root / "inner", manifest="[workspace]\n")
    done = lasting_forge.run(*argv, cwd=root)
    assert done.returncode == 0, done.stderr
    assert (root / "inner/target/debug").is_dir(), "where plain cargo puts it"


def test_a_wrapper_given_by_a_relative_path_is_found(lasting_forge: PrivateForge, tmp_path: Path):
    root = package(tmp_path / "ws", manifest='[workspace]\nmembers = ["m"]\n')
    member = package(root / "m")
    (member / "Cargo.toml").write_text(
        (member / "Cargo.toml").read_text().replace('"tiny"', '"other"')
    )
    (member / "w.sh").write_text('#!/bin/sh\nexec "$@"\n')
    (member / "w.sh").chmod(0o755)
    done = lasting_forge.run("build", cwd=member, env={"RUSTC_WRAPPER": "./w.sh"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("native", ["0", "1"])
def test_a_command_line_over_the_limit_of_a_message_still_runs(
    lasting_forge: PrivateForge, tmp_path: Path, native: str
):
    root = package(tmp_path / "p")
    words = ["x" * 100_000] * 11
    done = lasting_forge.run("run", "-q", "--", *words, cwd=root, env={"FORGE_NATIVE": native})
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr[-300:]
    assert len(forge_lines(done.stderr)) == 1


@pytest.mark.privileged
@pytest.mark.skipif(not may_mount(), reason="fills a small tmpfs, which needs root")
def test_a_full_disk_under_the_state_directory_costs_no_build_its_ram_disk(
    forge: PrivateForge, tmp_path: Path
):
    root = package(tmp_path / "p")
    state = forge.state_dir
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "x", state], check=True)
    try:
        assert forge.run("build", cwd=root).returncode == 0
        filler = os.open(state / "filler", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError):
            while True:
                os.write(filler, bytes(4096))
        os.close(filler)
        other = package(tmp_path / "other")
        done = forge.run("build", cwd=other)
        assert done.returncode == 0, done.stderr
        assert (forge.target_dir(other) / "debug" / "tiny").exists(), done.stderr
    finally:
        forge._end_daemon(forge.daemon_pid())
        subprocess.run(["umount", "-l", state], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_cargo_has_no_descriptor_of_ours_but_the_jobservers(lasting_forge, tmp_path: Path):
    root = package(
        tmp_path / "p",
        main='fn main() { for e in std::fs::read_dir("/proc/self/fd").unwrap() {\n'
        ' let e = e.unwrap(); println!("{:?}", std::fs::read_link(e.path()).ok()); } }\n',
    )
    shown = lasting_forge.run("run", "-q", cwd=root).stdout
    assert "socket" not in shown
    assert ".jobs" in shown
    assert "forged" not in shown
