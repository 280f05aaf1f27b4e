"""Crates with tests, and a Forge with few cores to run them."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forge.host.shim import current_shim
from tests.scenarios.conftest import PrivateForge, open_forge, package, wait_until

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


@contextlib.contextmanager
def forge_with(cache: Path, cores: int) -> Iterator[PrivateForge]:
    """Open a private Forge that plans with so many cores; it is taken apart afterwards."""
    made = open_forge(cache)
    made.configure(builds="at_once = 8")
    with Path(made.env["FORGE_CONFIG"]).open("a") as file:
        file.write(f"[host]\ncores = {cores}\n")
    try:
        yield made
    finally:
        made.take_apart()


def host(forge: PrivateForge) -> str:
    return current_shim(Path(forge.env["FORGE_CACHE_DIR"]), forge.env).host


def runner_variable(triple: str) -> str:
    return f"CARGO_TARGET_{triple.upper().replace('-', '_')}_RUNNER"


def last_end(forge: PrivateForge) -> dict[str, Any]:
    """Return what was logged of the end of the build that began last; it is told after it."""
    build = forge.decisions("build.granted")[-1]["build"]

    def ended() -> list[dict[str, Any]]:
        return [one for one in forge.decisions("build.ended") if one["build"] == build]

    return dict(wait_until(ended)[-1])


needs_nextest = pytest.mark.skipif(
    shutil.which("cargo-nextest") is None, reason="there is no cargo-nextest"
)
