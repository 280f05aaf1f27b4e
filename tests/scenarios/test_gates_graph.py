"""What the daemon learns of a real build: which unit waits for which."""

import sqlite3
from pathlib import Path

import pytest

from tests.scenarios.conftest import PrivateForge, package, wait_until

pytestmark = pytest.mark.real_cargo

SCRIPT_S = 1.5
SLEEPING = f"""
fn main() {{
    println!("cargo:rerun-if-changed=build.rs");
    std::thread::sleep(std::time::Duration::from_secs_f32({SCRIPT_S}));
}}
"""
MACRO = """
use proc_macro::TokenStream;

#[proc_macro]
pub fn nothing(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
"""


def member(root: Path, name: str, lib: str, manifest: str = "", build: str | None = None) -> None:
    (root / name / "src").mkdir(parents=True)
    (root / name / "src/lib.rs").write_text(lib)
    (root / name / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{manifest}'
    )
    if build:
        (root / name / "build.rs").write_text(build)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A binary that uses a cdylib with a build script, by way of a library, and a macro."""
    needs = '[dependencies]\nnative-lib = { path = "native-lib" }\nmac = { path = "mac" }\n'
    root = package(
        tmp_path / "tree", manifest=needs, main="fn main() { mac::nothing!(); tiny::two(); }\n"
    )
    (root / "src/lib.rs").write_text("pub fn two() -> i32 { native_lib::one() + 1 }\n")
    cdylib = '[lib]\ncrate-type = ["rlib", "cdylib"]\n'
    member(root, "native-lib", "pub fn one() -> i32 { 1 }\n", cdylib, SLEEPING)
    member(root, "mac", MACRO, "[lib]\nproc-macro = true\n")
    return root


def critical_path(forge: PrivateForge, build: str) -> list[str]:
    explained = forge.ask({"type": "explain", "build": build})
    return [one["name"] for one in explained["build"]["critical_path"]]


def ranks(forge: PrivateForge, root: Path) -> dict[str, float]:
    """Return the longest chain that begins with each crate's unit, as it was learned."""
    with sqlite3.connect(f"file:{forge.state_dir / 'forge.db'}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT key, rank_s FROM learned WHERE root = ? AND key LIKE 'unit %'", [str(root)]
        ).fetchall()
    database.close()
    return {" ".join(key.split()[1:3]): rank_s for key, rank_s in rows}


def test_a_chain_runs_from_the_build_script_to_the_binary(forge, tree):
    assert forge.run("build", cwd=tree).returncode == 0
    (end,) = wait_until(lambda: forge.decisions("build.ended"))
    assert (end["units"], end["links"]) == (5, 4)
    path = critical_path(forge, end["build"])
    assert path == ["build_script_build", "native_lib", "tiny", "tiny"]
    rank_s = wait_until(lambda: ranks(forge, tree.resolve()))
    chain = ["build_script_build bin", "native_lib rlib+cdylib", "tiny lib", "tiny bin"]
    assert [rank_s[name] for name in chain] == sorted((rank_s[n] for n in chain), reverse=True)
    assert rank_s["build_script_build bin"] > rank_s["native_lib rlib+cdylib"] + SCRIPT_S * 0.9
    assert rank_s["mac proc-macro"] > rank_s["tiny bin"]


def test_a_build_script_that_is_not_compiled_again_is_on_no_chain(forge, tree):
    assert forge.run("build", cwd=tree).returncode == 0
    (tree / "native-lib/src/lib.rs").write_text("pub fn one() -> i32 { 11 }\n")
    assert forge.run("build", cwd=tree).returncode == 0
    ends = wait_until(lambda: forge.decisions("build.ended")[1:])
    assert critical_path(forge, ends[0]["build"]) == ["native_lib", "tiny", "tiny"]
