"""A project whose cargo passes the gates, and gates before tools that are scripts."""

import re
import subprocess
from pathlib import Path
from typing import Any

from tests.scenarios.fake_forged import FakeForged, bare_env, built_shim, program

FILES = {
    "Cargo.toml": '[workspace]\nmembers = ["app", "pm"]\nresolver = "2"\n',
    "app/Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n'
    'build = "build.rs"\n[dependencies]\npm = { path = "../pm" }\n',
    "app/build.rs": 'fn main() { println!("cargo:rerun-if-changed=build.rs"); }\n',
    "app/src/lib.rs": "pub fn number() -> u32 { pm::seven!() }\n"
    "#[cfg(test)]\nmod tests { #[test] fn t() { assert_eq!(super::number(), 7); } }\n",
    "app/src/main.rs": 'fn main() { println!("{}", app::number()); }\n',
    "pm/Cargo.toml": '[package]\nname = "pm"\nversion = "0.1.0"\nedition = "2021"\n'
    "[lib]\nproc-macro = true\n",
    "pm/src/lib.rs": "use proc_macro::TokenStream;\n"
    '#[proc_macro] pub fn seven(_: TokenStream) -> TokenStream { "7".parse().unwrap() }\n',
}
UNITS = ["build_script_build", "pm", "app", "app"]
LINKED = ["build_script_build", "pm", "app"]


class Project:
    """A workspace whose builds pass the gates."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "project"
        for name, text in FILES.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.daemon = FakeForged(home / "state")
        self.plain_env = bare_env(home)
        self.plain_env["CARGO_HOME"] = str(home / "cargo-home")
        self.plain_env["CARGO_TERM_COLOR"] = "never"
        self.gates = {
            "RUSTC_WRAPPER": str(built_shim().rustc_gate),
            "FORGE_BUILD": "7",
            "FORGE_SOCKET": str(self.daemon.socket_path),
            "FORGE_LINKER_DIR": str(home / "linkers"),
        }

    def cargo(self, *argv: str, gated: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        full = {**self.plain_env, **(self.gates if gated else {}), **env}
        return subprocess.run(
            ["cargo", *argv], cwd=self.root, env=full, capture_output=True, text=True, timeout=120
        )

    def built(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        done = self.cargo(*(argv or ("build",)), **options)
        assert done.returncode == 0, done.stderr
        assert "forge" not in done.stderr  # cargo would keep it as a compiler's warning
        return done

    def output(self) -> str:
        binary = self.root / "target" / "debug" / "app"
        return subprocess.run([binary], capture_output=True, text=True, check=True).stdout

    def units(self) -> list[str]:
        return [unit["crate"] for unit in self.daemon.messages("unit")]

    def links(self) -> list[dict[str, Any]]:
        return self.daemon.messages("link")

    def config(self, text: str) -> None:
        (self.root / ".cargo").mkdir(exist_ok=True)
        (self.root / ".cargo" / "config.toml").write_text(text)


def gated_link(
    project: Project, tmp_path: Path, script: str
) -> tuple[list[str | Path], dict[str, str]]:
    """Return command and environment of a linker gate before a linker that is a script."""
    real = program(tmp_path / "real" / "cc", script)
    link = project.home / "linkers" / "0" / "cc"
    link.parent.mkdir(parents=True)
    link.symlink_to(built_shim().path)
    env = {**project.plain_env, **project.gates, "FORGE_LINKER": str(real)}
    return [link, "-o", str(tmp_path / "out")], env


def gated_rustc(
    project: Project, tmp_path: Path, script: str
) -> tuple[list[str | Path], dict[str, str]]:
    """Return command and environment of a rustc gate before a rustc that is a script."""
    rustc = program(tmp_path / "real" / "rustc", script)
    command: list[str | Path] = [built_shim().rustc_gate, rustc, "--crate-name", "x", "--emit=link"]
    return command, {**project.plain_env, **project.gates}


def dirty(stderr: str) -> list[str]:
    return re.findall(r"^\s+(?:Compiling|Dirty) (\S+)", stderr, re.MULTILINE)
