"""`forge shim`."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Forge

PROFILE = "# mine\nalias ll='ls -l'\n"


@pytest.fixture(autouse=True)
def machine(env, place: Path) -> Path:
    """A home, a rustc that "compiles" a script, and a cargo; returns the directory of tools."""
    tools = place / "tools"
    (place / "home").mkdir()
    program(
        tools / "rustc",
        '[ "$1" = -vV ] && { echo "rustc 1.95.0 (fake)"; exit; }\n'
        'for word; do [ "$before" = -o ] && out=$word; before=$word; done\n'
        'echo "#!/bin/sh" > "$out"; echo "echo cargo 1.95.0" >> "$out"; chmod +x "$out"',
    )
    program(tools / "cargo", "echo cargo 1.95.0")
    env["PATH"] = f"{tools}:/usr/bin:/bin"
    env["SHELL"] = "/bin/bash"
    return tools


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def home_of(env) -> dict[str, bytes]:
    home = Path(env["HOME"])
    return {str(p.relative_to(home)): p.read_bytes() for p in home.rglob("*") if p.is_file()}


def test_build_says_path_key_time_and_whether_it_compiled(forge: Forge):
    first, second = forge("shim", "build"), forge("shim", "build")
    assert first.out.startswith("compiled: /")
    assert " s)" in first.out
    assert second.out.startswith("there already: /")
    forced = json.loads(forge("shim", "build", "--force", "--json").out)
    assert set(forced) == {"path", "key", "compiled", "elapsed_s"}
    assert forced["compiled"] is True
    assert forge("shim", "path").out == f"{forced['path']}\n"


def test_path_without_a_shim_says_so_in_one_line(forge: Forge):
    result = forge("shim", "path")
    assert (result.code, result.out, result.err.count("\n")) == (os.EX_UNAVAILABLE, "", 1)
    assert "`forge shim build` compiles it" in result.err


def test_build_without_rustc_says_so(forge: Forge, machine, env):
    (machine / "rustc").unlink()
    env["PATH"] = str(machine)
    assert forge("shim", "build").code == os.EX_UNAVAILABLE
    failure = json.loads(forge("shim", "build", "--json").out)
    assert failure["error"]["slug"] == "shim-unavailable"


def test_check_has_one_line_for_each_thing(forge: Forge):
    forge("shim", "build")
    result = forge("shim", "check")
    assert result.code == 0
    assert len(result.out.splitlines()) == 7
    assert {line.split()[0] for line in result.out.splitlines()} == {"ok"}
    checks = json.loads(forge("shim", "check", "--json").out)["checks"]
    assert {tuple(one) for one in checks} == {("what", "level", "says")}


def test_check_fails_when_something_fails(forge: Forge, env):
    env["RUSTC_WRAPPER"] = "/no/such/wrapper"
    result = forge("shim", "check")
    assert result.code == os.EX_UNAVAILABLE
    assert "failure  RUSTC_WRAPPER: /no/such/wrapper" in result.out
    assert result.err == "forge: 1 failure: RUSTC_WRAPPER\n"
    answer = json.loads(forge("shim", "check", "--json").out)
    assert answer["error"]["slug"] == "check-failed"
    assert len(answer["checks"]) == 7


def test_install_prints_nothing_but_the_line(forge: Forge, env, machine):
    result = forge("shim", "install")
    assert result.out == 'export PATH="$HOME/.local/share/opta-forge/bin:$PATH"\n'
    assert f"does not precede {machine}/cargo on PATH yet" in result.err
    place = f"{env['HOME']}/.local/share/opta-forge/bin"
    env["PATH"] = f"{place}:{env['PATH']}"
    again = forge("shim", "install")
    assert again.out == result.out
    assert "was there already" in again.err
    assert f"{place} precedes {machine}/cargo on PATH already" in again.err


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("/bin/zsh", 'export PATH="$HOME/.local/share/opta-forge/bin:$PATH"'),
        ("/bin/fish", 'set -gx PATH "$HOME/.local/share/opta-forge/bin" $PATH'),
        ("/bin/ksh", 'export PATH="$HOME/.local/share/opta-forge/bin:$PATH"'),
    ],
)
def test_install_with_write_profile_is_undone_by_uninstall(forge: Forge, env, shell, line):
    env["SHELL"] = shell
    Path(env["HOME"], ".profile").write_bytes(PROFILE.encode())
    Path(env["HOME"], ".zshenv").write_bytes(PROFILE.rstrip().encode())
    before = home_of(env)
    result = forge("shim", "install", "--write-profile")
    assert result.code == 0
    (written,) = [name.removeprefix("written: ") for name in result.out.splitlines()]
    assert line in Path(written).read_text().splitlines()
    assert "has it already" in forge("shim", "install", "--write-profile").out
    result = forge("shim", "uninstall")
    assert result.code == 0
    assert written in result.out
    assert home_of(env) == before
    assert not os.path.lexists(f"{env['HOME']}/.local/share/opta-forge")


def test_bash_gets_the_line_in_both_of_its_files(forge: Forge, env):
    result = forge("shim", "install", "--write-profile")
    home = env["HOME"]
    assert result.out == f"written: {home}/.bashrc\nwritten: {home}/.profile\n"
    assert forge("shim", "uninstall").code == 0
    assert home_of(env) == {}


def test_a_dry_run_changes_nothing(forge: Forge, env, place):
    result = forge("shim", "install", "--write-profile", "--dry-run")
    assert "would be written" in result.out
    assert "would be put" in result.err
    assert home_of(env) == {}
    assert not (place / "cache").exists()
    forge("shim", "install", "--write-profile")
    before = home_of(env)
    assert "would be removed" in forge("shim", "uninstall", "--dry-run").out
    assert home_of(env) == before


def test_install_as_json(forge: Forge, env, machine, place):
    answer = json.loads(forge("shim", "install", "--dir", f"{place}/bin", "--json").out)
    assert answer == {
        "dir": f"{place}/bin", "changed": True, "line": f'export PATH="{place}/bin:$PATH"',
        "shell": "bash", "dry_run": False, "is_first": False, "first_cargo": f"{machine}/cargo",
        "real_cargo": f"{machine}/cargo", "profiles": [],
    }  # fmt: skip


def test_a_real_cargo_is_never_replaced(forge: Forge, machine):
    before = (machine / "cargo").read_bytes()
    result = forge("shim", "install", "--dir", str(machine))
    assert result.code == os.EX_CANTCREAT
    assert f"{machine}/cargo is not Forge's" in result.err
    assert (machine / "cargo").read_bytes() == before
    assert "nothing of Forge's" in forge("shim", "uninstall", "--dir", str(machine)).out


def test_a_block_without_an_end_stops_uninstall_before_anything_is_taken_away(forge: Forge, env):
    forge("shim", "install", "--write-profile")
    file = Path(env["HOME"], ".bashrc")
    file.write_text(file.read_text().replace("# <<< opta-forge <<<\n", ""))
    before = home_of(env)
    result = forge("shim", "uninstall")
    assert result.code == os.EX_DATAERR
    assert f"{file}:1: " in result.err
    assert home_of(env) == before


def test_without_another_cargo_install_says_so(forge: Forge, env, machine):
    (machine / "cargo").unlink()
    env["PATH"] = f"{machine}:/bin"
    if shutil.which("cargo", path="/bin"):
        pytest.skip("there is a cargo in /bin")
    assert "there is no other cargo" in forge("shim", "install").err
