"""Looks at the tools that builds run: cargo, rustc, make, the linkers; on macOS hdiutil too."""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence

from forge.client.cargo_path import find_cargo
from forge.core.checkup import Row, Verdict
from forge.errors import ForgeError
from forge.host.commands import run_command

DEADLINE_S = 20.0
LINKERS = ("mold", "ld.lld", "ld64.lld", "wild")
"""Faster linkers that people install beside the system's."""


def tool_rows(env: Mapping[str, str]) -> list[Row]:
    """Look at each tool, and ask it for its version."""
    rows = [_cargo_row(env), _rustc_row(env), linker_row(env), _make_row(env)]
    if env.get("FORGE_PLATFORM", sys.platform) == "darwin":
        there = shutil.which("hdiutil", path=env.get("PATH"))
        finding = there or "not on PATH, so there can be no RAM disk"
        verdict = Verdict.OK if there else Verdict.FAIL
        rows.append(Row("hdiutil", verdict, finding, None if there else "add /usr/bin to PATH"))
    return rows


def _cargo_row(env: Mapping[str, str]) -> Row:
    try:
        cargo = find_cargo(env)
    except ForgeError as error:
        return Row("cargo", Verdict.FAIL, error.message, error.hint)
    version = first_line([cargo, "--version"], env)
    if version is None:
        return Row("cargo", Verdict.FAIL, f"{cargo} does not run", "`cargo --version` says why")
    return Row("cargo", Verdict.OK, f"{version} at {cargo}")


def _rustc_row(env: Mapping[str, str]) -> Row:
    rustc = _named(env, "RUSTC", "rustc")
    version = first_line([rustc, "--version"], env) if rustc else None
    if version is None:
        return Row("rustc", Verdict.FAIL, "there is none that runs", "install Rust with rustup")
    return Row("rustc", Verdict.OK, f"{version} at {rustc}")


def _make_row(env: Mapping[str, str]) -> Row:
    make = shutil.which("make", path=env.get("PATH"))
    version = first_line([make, "--version"], env) if make else None
    if version is None:
        finding = "there is none: crates that build C code with it will fail"
        return Row("make", Verdict.WARN, finding, "install make")
    is_macs = version.startswith("GNU Make 3.81")
    return Row("make", Verdict.OK, f"{version}, old and enough" if is_macs else version)


def linker_row(env: Mapping[str, str]) -> Row:
    """Say which linker rustc takes here, and which faster ones there are.

    What a project's configuration says is not looked at.
    """
    others = [
        version for name in LINKERS if (version := first_line([name, "--version"], env)) is not None
    ]
    also = f"; installed as well: {', '.join(others)}" if others else ""
    rustc = _named(env, "RUSTC", "rustc")
    words = _link_words(rustc, env) if rustc else None
    if words is None:
        finding = f"rustc cannot link a program{also}"
        return Row("linker", Verdict.FAIL, finding, "install a C compiler, such as gcc or clang")
    driver, flavour, directory = linker_of(words)
    if flavour is None:
        named = first_line([driver, "-Wl,--version"], env) or "its own default"
    else:
        program = os.path.join(directory, f"ld.{flavour}") if directory else f"ld.{flavour}"
        named = first_line([program, "--version"], env) or flavour
        named += ", which rustc brings along" if directory else ""
    return Row("linker", Verdict.OK, f"{driver} with {named}{also}")


def linker_of(command: str) -> tuple[str, str | None, str | None]:
    """Read the command line by which rustc links.

    Return the program that it starts, the linker that it names to that, and the directory of its
    own in which that is; None where it names none. The line begins with what is done to the
    environment, as a shell would read it.
    """
    words = shlex.split(command)
    driver = next(
        word
        for before, word in zip(["", *words], [*words, "cc"], strict=True)
        if "=" not in word and word not in ("env", "-u") and before != "-u"
    )
    flavours = [word.removeprefix("-fuse-ld=") for word in words if word.startswith("-fuse-ld=")]
    own = [word[2:] for word in words if word.startswith("-B") and word.endswith("gcc-ld")]
    return driver, flavours[-1] if flavours else None, own[-1] if own else None


def _link_words(rustc: str, env: Mapping[str, str]) -> str | None:
    """Let rustc link an empty program; return the command line that it took."""
    with tempfile.TemporaryDirectory(prefix="forge-doctor-") as place:
        source = os.path.join(place, "a.rs")
        with open(source, "w", encoding="ascii") as file:
            file.write("fn main() {}")
        asked = [rustc, "--print=link-args", "-o", os.path.join(place, "a"), source]
        try:
            done = run_command(asked, deadline_s=DEADLINE_S, env=env)
        except (OSError, ForgeError):
            return None
    return done.stdout if done.exit_code == 0 else None


def first_line(command: Sequence[str], env: Mapping[str, str]) -> str | None:
    """Return the first line that a tool says; None when it is not there or does not end well."""
    try:
        done = run_command(command, deadline_s=DEADLINE_S, env=env)
    except (OSError, ForgeError):
        return None
    lines = done.stdout.splitlines() if done.exit_code == 0 else []
    return lines[0].strip() if lines else None


def _named(env: Mapping[str, str], variable: str, name: str) -> str | None:
    return env.get(variable) or shutil.which(name, path=env.get("PATH"))
