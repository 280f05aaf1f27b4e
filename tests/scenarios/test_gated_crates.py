"""Real crates through the gates: C code, wrappers, linkers, and test suites that run cargo."""

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from forge.host.shim import current_shim
from tests.scenarios.conftest import (
    PrivateForge,
    cargo,
    changed,
    clean_env,
    forge_lines,
    freshness,
    package,
    registry_source,
    wait_until,
)

pytestmark = pytest.mark.real_cargo
PATIENCE_S = 400


@pytest.fixture
def wrapped(lasting_forge: PrivateForge):
    """Run programs with the `cargo` wrapper first in PATH."""
    shim = current_shim(Path(lasting_forge.env["FORGE_CACHE_DIR"]), lasting_forge.env)
    lasting_forge.run(
        "daemon", "start", cwd=lasting_forge.home
    )  # the wrapper knows how from then on
    bin_dir = Path(shim.rustc_gate).parent.parent / "bin"

    def run(*argv: str, cwd: Path, env: dict[str, str | None] | None = None):
        path = f"{bin_dir}{os.pathsep}{lasting_forge.env['PATH']}"
        return subprocess.run(
            argv, cwd=cwd, env=changed({**lasting_forge.env, "PATH": path}, env),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip

    return run


def needs(program: str):
    return pytest.mark.skipif(not shutil.which(program), reason=f"there is no {program}")


def gates_of(forge: PrivateForge) -> dict[str, Any]:
    """Return what the gates saw of the gated build that began last; its end is told after it."""
    build = [one for one in forge.decisions("build.granted") if one["gated"]][-1]["build"]

    def ended() -> list[dict[str, Any]]:
        return [one for one in forge.decisions("build.ended") if one["build"] == build]

    (end,) = wait_until(ended)
    return dict(end)


C_BUILD = textwrap.dedent(
    """
    fn main() {
        cc::Build::new().file("c/one.c").file("c/two.c").compile("withcc");
        let made = cmake::Config::new("c").build();
        println!("cargo:rustc-link-search=native={}/lib", made.display());
        println!("cargo:rustc-link-lib=static=withcmake");
        let flags = std::env::var("CARGO_MAKEFLAGS").unwrap();
        assert!(!flags.contains("fifo:"), "{flags}");
        println!("cargo:warning=jobs {}", std::env::var("NUM_JOBS").unwrap());
    }
    """
)
C_MAIN = textwrap.dedent(
    """
    extern "C" { fn one() -> i32; fn two() -> i32; fn three() -> i32; }
    fn main() { println!("{}", unsafe { one() + two() + three() }); }
    """
)
C_FILES = {
    "one.c": "int one(void) { return 1; }\n",
    "two.c": "int two(void) { return 2; }\n",
    "three.c": "int three(void) { return 3; }\n",
    "CMakeLists.txt": "cmake_minimum_required(VERSION 3.10)\nproject(withcmake C)\n"
    "add_library(withcmake STATIC three.c)\n"
    "install(TARGETS withcmake DESTINATION lib)\n",
}


@needs("cmake")
@pytest.mark.parametrize("generator", ["Unix Makefiles", "Ninja"])
def test_c_code_built_by_cc_and_cmake_shares_the_tokens(lasting_forge, tmp_path, generator):
    if generator == "Ninja" and not shutil.which("ninja"):
        pytest.skip("there is no ninja")
    root = package(
        tmp_path / "withc", main=C_MAIN, build=C_BUILD,
        manifest='[build-dependencies]\ncc = { version = "1", features = ["parallel"] }\n'
        'cmake = "0.1"\n',
    )  # fmt: skip
    for name, text in C_FILES.items():
        (root / "c").mkdir(exist_ok=True)
        (root / "c" / name).write_text(text)
    env = {"CMAKE_GENERATOR": generator}
    run = lasting_forge.run("run", "-j2", cwd=root, env=env)
    assert (run.returncode, run.stdout) == (0, "6\n"), run.stderr
    assert "jobs 2" in run.stderr, "the number that was asked for still reaches build scripts"
    for complaint in ("jobserver unavailable", "ignoring the `-j`", "failed to connect"):
        assert complaint not in run.stderr
    assert gates_of(lasting_forge)["links"] >= 2
    assert not lasting_forge.run("build", cwd=root, env=env).stderr.count("Compiling")


@needs("make")
@pytest.mark.parametrize("syntax", ["make", "3.81"])
def test_inside_make_the_jobserver_of_make_stays_in_charge(
    lasting_forge, tmp_path, syntax, wrapped
):
    root = package(tmp_path / "inmake")
    (root / "Makefile").write_text("all:\n\t+cargo build -q\n")
    if syntax == "make":
        made = wrapped("make", "-j2", cwd=root)
    else:  # what make 3.81 hands down: the older option alone
        ends = os.pipe()
        os.write(ends[1], b"+")
        for end in ends:
            os.set_inheritable(end, True)
        flags = f" --jobserver-fds={ends[0]},{ends[1]} -j"
        made = subprocess.run(
            [*lasting_forge.cli, "build", "-q"], cwd=root, pass_fds=ends,
            env={**lasting_forge.env, "MAKEFLAGS": flags}, capture_output=True, text=True,
        )  # fmt: skip
        os.close(ends[0])
        os.close(ends[1])
    assert made.returncode == 0, made.stderr
    assert "jobserver" not in made.stderr
    assert lasting_forge.decisions("build.granted")[-1]["tokens"] is None


def test_plain_cargo_forge_wrapper_and_editor_take_turns_and_all_stays_fresh(
    lasting_forge, workspace, wrapped
):
    target_dir = str(lasting_forge.target_dir(workspace))
    plain = {"CARGO_TARGET_DIR": target_dir}
    arguments = ("build", "--workspace", "--message-format=json")
    check = ("check", "--workspace", "--message-format=json")
    ways = {
        "plain cargo": lambda *a: cargo(*a, cwd=workspace, env=plain),
        "forge": lambda *a: lasting_forge.run(*a, cwd=workspace),
        "the wrapper": lambda *a: wrapped("cargo", *a, cwd=workspace),
    }
    for what in (arguments, check):
        assert lasting_forge.run(*what, cwd=workspace).returncode == 0
    for first in ways:
        for second in ways:
            for what in (arguments, check):
                ways[first](*what)
                done = ways[second](*what)
                fresh = freshness(done.stdout)
                assert fresh, done.stderr
                assert all(fresh.values()), f"{second} after {first}: {fresh}"


def test_metadata_through_the_wrapper_names_the_redirected_directory(
    lasting_forge, workspace, wrapped
):
    shown = wrapped("cargo", "metadata", "--no-deps", "--format-version", "1", cwd=workspace)
    assert f'"target_directory":"{lasting_forge.target_dir(workspace)}"' in shown.stdout


def test_clippy_doc_and_doctests_work_and_clippy_passes_the_gate(lasting_forge, workspace):
    for argv in (["clippy", "--workspace"], ["doc", "--no-deps"], ["test", "--workspace"]):
        done = lasting_forge.run(*argv, cwd=workspace)
        assert done.returncode == 0, done.stderr
        assert not forge_lines(done.stderr)
        if argv[0] == "clippy":
            assert gates_of(lasting_forge)["units"] > 0
    assert not (workspace / "target").exists()


@needs("cargo-nextest")
def test_nextest_builds_on_the_disk_and_through_the_gates(lasting_forge, workspace):
    done = lasting_forge.run("nextest", "run", "--workspace", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert not (workspace / "target").exists()
    assert gates_of(lasting_forge)["units"] > 0


def test_miri_answers_as_it_does_to_plain_cargo(lasting_forge, workspace):
    plain = cargo("miri", "test", cwd=workspace)
    ours = lasting_forge.run("miri", "test", cwd=workspace)
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)


@needs("sccache")
def test_sccache_stays_the_users_wrapper_behind_the_gate(lasting_forge, tmp_path, workspace):
    env = {
        "SCCACHE_DIR": str(tmp_path / "sccache"),
        "SCCACHE_SERVER_PORT": "42263",
        "CARGO_INCREMENTAL": "0",
    }
    server = {**clean_env(), **env}
    subprocess.run(["sccache", "--start-server"], env=server, check=True, capture_output=True)
    try:
        (workspace / ".cargo").mkdir(exist_ok=True)
        (workspace / ".cargo/config.toml").write_text('[build]\nrustc-wrapper = "sccache"\n')
        for _ in range(2):
            done = lasting_forge.run("build", "--workspace", cwd=workspace, env=env)
            assert done.returncode == 0, done.stderr
            lasting_forge.run("clean", cwd=workspace)
        shown = subprocess.run(
            ["sccache", "--show-stats"], env=server, check=True, capture_output=True, text=True
        ).stdout
        hits = re.search(r"Cache hits\s+(\d+)", shown)
        assert hits
        assert int(hits[1]) > 0, shown
        assert gates_of(lasting_forge)["units"] > 0
    finally:
        subprocess.run(["sccache", "--stop-server"], env=server, check=False, capture_output=True)


@pytest.mark.parametrize(
    ("linker", "flags"),
    [
        pytest.param("cc", ["-Clink-arg=-fuse-ld=mold"], marks=needs("mold"), id="mold"),
        pytest.param("cc", ["-Clink-arg=-fuse-ld=lld"], marks=needs("ld.lld"), id="lld"),
        pytest.param("cc", ["-Clink-arg=-fuse-ld=bfd"], marks=needs("ld.bfd"), id="GNU ld"),
        pytest.param("cc", ["-Clinker-plugin-lto", "-Copt-level=1"], id="linker-plugin-lto"),
        pytest.param("clang", [], marks=needs("clang"), id="clang"),
    ],
)
def test_a_linker_of_the_projects_own_passes_the_gate(lasting_forge, workspace, linker, flags):
    host = re.search(r"host: (\S+)", cargo("-vV", cwd=workspace).stdout)
    assert host
    (workspace / ".cargo").mkdir(exist_ok=True)
    (workspace / ".cargo/config.toml").write_text(
        f'[target.{host[1]}]\nlinker = "{linker}"\nrustflags = {flags}\n'
    )
    done = lasting_forge.run("build", "--workspace", cwd=workspace)
    assert done.returncode == 0, done.stderr
    seen = gates_of(lasting_forge)
    assert seen["links"] >= 2
    assert seen["link_peak_kib"] > 10_000, "mold is asked not to fork, or its peak is lost"
    again = cargo(
        "build", "--workspace", "--message-format=json", cwd=workspace,
        env={"CARGO_TARGET_DIR": str(lasting_forge.target_dir(workspace))},
    )  # fmt: skip
    assert all(freshness(again.stdout).values())


def outcomes(text: str) -> list[str]:
    """Return `test NAME ... ok` lines, sorted, and nothing that differs between two runs."""
    return sorted(re.findall(r"^test (\S+ \.\.\. \w+)$", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["trybuild", "cargo_metadata"])
def test_the_suite_of_a_crate_that_runs_cargo_ends_as_with_plain_cargo(tmp_path, wrapped, name):
    source = registry_source(name, tmp_path)
    plain = cargo("test", "--no-fail-fast", cwd=source, env={"CARGO_TARGET_DIR": None})
    ours = wrapped("cargo", "test", "--no-fail-fast", cwd=source)
    assert outcomes(ours.stdout), ours.stderr
    assert outcomes(ours.stdout) == outcomes(plain.stdout)
    assert ours.returncode == plain.returncode
    assert not forge_lines(ours.stderr)


def test_a_crate_that_is_tested_with_trybuild_passes(tmp_path, wrapped):
    root = package(
        tmp_path / "tried", manifest='[dev-dependencies]\ntrybuild = "1"\n[[bin]]\nname = "tiny"\n'
        'path = "src/main.rs"\n[lib]\npath = "src/lib.rs"\n',
    )  # fmt: skip
    (root / "src/lib.rs").write_text("pub fn one() -> i32 { 1 }\n")
    (root / "tests/ui").mkdir(parents=True)
    (root / "tests/ui/good.rs").write_text("fn main() { assert_eq!(tiny::one(), 1); }\n")
    (root / "tests/ui/bad.rs").write_text('fn main() { let _: i32 = "no"; }\n')
    (root / "tests/try.rs").write_text(
        "#[test]\nfn ui() {\n    let t = trybuild::TestCases::new();\n"
        '    t.pass("tests/ui/good.rs");\n    t.compile_fail("tests/ui/bad.rs");\n}\n'
    )
    done = wrapped("cargo", "test", cwd=root, env={"TRYBUILD": "overwrite"})
    assert done.returncode == 0, done.stdout + done.stderr
