"""`forge VERB --on HOST`: the same as at home, through a real sshd."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.scenarios.conftest import cargo, freshness, package
from tests.scenarios.remote_pair import Pair, git, pair

__all__ = ["pair"]

ECHO = """
use std::io::Read;
fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    print!("{}", text.to_uppercase());
    eprintln!("{:?}", std::env::args().skip(1).collect::<Vec<_>>());
    std::process::exit(3);
}
"""


def test_a_build_comes_back_and_is_warm_the_second_time(pair: Pair, workspace: Path):
    first = pair.run("build", "--on", "studio", cwd=workspace)
    assert first.returncode == 0, first.stderr
    assert "Compiling" in first.stderr
    assert first.stdout == ""
    program = workspace / "target" / "debug" / "hello"
    assert subprocess.run([program], capture_output=True).returncode == 0
    came = program.stat()
    second = pair.run("build", "--on", "studio", cwd=workspace)
    assert second.returncode == 0
    assert "Compiling" not in second.stderr
    assert "came back" not in second.stderr
    assert program.stat() == came
    program.unlink()
    third = pair.run("build", "--on", "studio", cwd=workspace)
    assert "1 final came back" in third.stderr
    assert program.stat().st_mtime_ns == came.st_mtime_ns
    assert program.stat().st_mode == came.st_mode


def test_run_has_stdin_its_arguments_and_the_exit_code(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "echo", main=ECHO)
    done = pair.run(
        "run", "-q", "--on", "studio", "--", "a b", "$(c)", cwd=project, stdin="é\nz" * 5
    )
    assert done.returncode == 3
    assert done.stdout == ("é\nz" * 5).upper()
    assert done.stderr == '["a b", "$(c)"]\n'


def test_tests_run_there_and_their_failure_is_the_exit_code(pair: Pair, tmp_path: Path):
    project = package(
        tmp_path / "failing", main='fn main() {}\n#[test]\nfn no() { panic!("so") }\n'
    )
    done = pair.run("test", "--on", "studio", cwd=project)
    plain = cargo("test", cwd=project)
    assert done.returncode == plain.returncode == 101
    assert "panicked at src/main.rs:3:11" in done.stdout


def test_paths_in_messages_are_our_own(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "my project", main="fn main() { let x = 1; }\n")
    done = pair.run("build", "--on", "studio", "--message-format=json", cwd=project)
    assert done.returncode == 0, done.stderr
    assert str(pair.host.home) not in done.stdout + done.stderr
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    (artifact,) = (one for one in messages if one["reason"] == "compiler-artifact")
    assert artifact["manifest_path"] == str(project / "Cargo.toml")
    assert artifact["executable"] == str(project / "target" / "debug" / "tiny")
    assert artifact["package_id"].startswith(f"path+file://{tmp_path}/my%20project#")
    assert os.access(artifact["executable"], os.X_OK)
    assert f"({project})" in done.stderr


def test_only_what_changed_is_compiled_whatever_the_clocks_say(pair: Pair, workspace: Path):
    build = ("build", "--on", "studio", "--message-format=json")
    assert pair.run(*build, cwd=workspace).returncode == 0
    source = workspace / "shout" / "src" / "lib.rs"
    source.write_text(source.read_text() + "// other\n")
    an_hour_ago = time.time() - 3600
    os.utime(source, (an_hour_ago, an_hour_ago))  # saved by a client whose clock is behind
    changed = freshness(pair.run(*build, cwd=workspace).stdout)
    assert {name.split()[1] for name, fresh in changed.items() if not fresh} == {"shout", "hello"}
    os.utime(source, (time.time() + 3600, time.time() + 3600))
    pair.run(*build, cwd=workspace)
    assert all(freshness(pair.run(*build, cwd=workspace).stdout).values())


def test_a_file_that_is_gone_is_gone_there(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "gone", main="mod more;\nfn main() { more::f() }\n")
    (project / "src" / "more.rs").write_text("pub fn f() {}\n")
    assert pair.run("check", "--on", "studio", cwd=project).returncode == 0
    (project / "src" / "more.rs").unlink()
    done = pair.run("check", "--on", "studio", cwd=project)
    assert done.returncode == 101
    assert "file not found for module `more`" in done.stderr


def test_the_lock_file_comes_back(pair: Pair, workspace: Path):
    assert not (workspace / "Cargo.lock").exists()
    assert pair.run("check", "--on", "studio", cwd=workspace).returncode == 0
    assert 'name = "shout"' in (workspace / "Cargo.lock").read_text()


def test_path_dependencies_beside_the_workspace_come_along(pair: Pair, tmp_path: Path):
    library = package(tmp_path / "libs" / "deep")
    (library / "src" / "lib.rs").write_text("pub fn f() { let x = 1; }\n")
    (library / "Cargo.toml").write_text(
        (library / "Cargo.toml").read_text().replace('"tiny"', '"deep"')
    )
    (tmp_path / "libs" / "unrelated").write_text("x")
    project = package(
        tmp_path / "app" / "inner",
        main="fn main() { deep::f() }\n",
        manifest='[dependencies]\ndeep = { path = "../../libs/deep" }\n',
    )
    done = pair.run("build", "--on", "studio", cwd=project / "src")
    assert done.returncode == 0, done.stderr
    assert f"({library})" in done.stderr
    assert (project / "target" / "debug" / "tiny").exists()


def test_secrets_and_what_git_ignores_stay(pair: Pair, tmp_path: Path):
    reads = 'fn main() { for one in ["a.txt", ".env", "gen.txt", "key.pem"] {\n'
    reads += 'println!("{one} {}", std::path::Path::new(one).exists()) } }\n'
    project = package(tmp_path / "private", main=reads)
    git("init", "-q", cwd=project)
    (project / ".gitignore").write_text("gen.txt\n/target\n")
    for name in ("a.txt", ".env", "gen.txt", "key.pem"):
        (project / name).write_text("x")
    done = pair.run("run", "-q", "--on", "studio", cwd=project)
    assert done.stdout == "a.txt true\n.env false\ngen.txt false\nkey.pem false\n"
    assert "2 files stay here as secrets: `.env`, `key.pem`" in done.stderr
    (project / ".forgeignore").write_text("a.txt\n!key.pem\n")
    done = pair.run("run", "-q", "--on", "studio", cwd=project)
    assert done.stdout == "a.txt false\n.env false\ngen.txt false\nkey.pem true\n"


def test_an_option_that_a_key_does_not_have_is_refused_and_nothing_runs(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "refused")
    done = pair.run("build", "--config", "a.b=1", "--on", "studio", cwd=project)
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr == "forge: option `--config` is not for remote builds\n"


@pytest.mark.parametrize("named", ["FORGE_ON", "remote.on", "remote.projects"])
def test_the_host_is_named_by_whoever_is_nearest(pair: Pair, tmp_path: Path, named: str):
    project = package(tmp_path / "named")
    table = {
        "FORGE_ON": "",
        "remote.on": '[remote]\non = "studio"\n',
        "remote.projects": f'[remote]\non = "nobody"\nprojects = {{"{tmp_path}" = "studio"}}\n',
    }[named]
    pair.client.configure(more=table)
    env = {"FORGE_ON": "studio" if named == "FORGE_ON" else None}
    done = pair.run("check", cwd=project, env=env)
    pair.client.configure()
    assert done.returncode == 0, done.stderr
    assert not (project / "target").exists()


def test_a_job_goes_on_without_us_and_can_be_followed(pair: Pair, tmp_path: Path):
    project = package(
        tmp_path / "job", main='fn main() { println!("done"); std::process::exit(7) }\n'
    )
    left = pair.run("run", "--on", "studio", "--detach", cwd=project)
    assert left.returncode == 0, left.stderr
    job = left.stdout.strip()
    done = pair.run("attach", job, "--on", "studio", cwd=project)
    assert done.returncode == 7
    assert "done" in done.stdout
    listed = json.loads(
        pair.run("attach", "--list", "--json", "--on", "studio", cwd=project).stdout
    )
    assert [one["code"] for one in listed if one["job"] == job] == [7]


def test_the_host_can_be_looked_at(pair: Pair, workspace: Path):
    found = json.loads(pair.run("remote", "doctor", "studio", "--json", cwd=workspace).stdout)
    assert {one["level"] for one in found["checks"]} <= {"ok", "warning"}
    assert found["host"]["key"] == "laptop"
    pinged = json.loads(pair.run("remote", "ping", "studio", "--json", cwd=workspace).stdout)
    assert len(pinged["round_trips_ms"]) == 5
    dry = json.loads(pair.run("remote", "doctor", "--dry-run", "--json", cwd=workspace).stdout)
    assert "hello/src/main.rs" in dry["files"]


def test_the_cargo_wrapper_goes_where_forge_goes(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "wrapped")
    wrapper = tmp_path / "bin"
    installed = pair.run("shim", "install", "--dir", str(wrapper), cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr

    def wrapped(*argv: str, on: str | None) -> "subprocess.CompletedProcess[str]":
        env = pair.env | ({} if on is None else {"FORGE_ON": on})
        return subprocess.run(
            [wrapper / "cargo", *argv], cwd=project, env=env, capture_output=True, text=True
        )

    assert wrapped("check", on="studio").returncode == 0
    assert wrapped("check", "--on=studio", on=None).returncode == 0
    refused = wrapped("check", on="nobody.invalid")
    assert refused.returncode == 69
    assert "no connection to `nobody.invalid`" in refused.stderr
    assert not (project / "target").exists()
    assert wrapped("--version", on="nobody.invalid").returncode == 0
    pair.client.configure(more='[remote]\non = "studio"\n')
    by_file = wrapped("run", "-q", "--", on=None)
    pair.client.configure()
    assert (by_file.returncode, by_file.stdout) == (0, "hello\n")
    assert not pair.client.decisions("build.started"), "none of them was built here"
