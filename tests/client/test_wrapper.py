"""The shim compiled, checked, and installed as `cargo` in PATH."""

import os
import shutil
from pathlib import Path

import pytest

from forge.client.cargo_path import WRAPPER_MARK, find_cargo
from forge.client.profile_block import UserFileUnwritable
from forge.client.wrapper import (
    CargoInTheWay,
    build,
    check,
    default_dir,
    install,
    is_installed,
    order,
    shim_path,
    uninstall,
)
from forge.errors import ShimUnavailable

needs_rustc = pytest.mark.skipif(not shutil.which("rustc"), reason="no rustc here")


def program(path: Path, text: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def env(tmp_path):
    """A machine with a rustc that "compiles" a script, and a cargo."""
    tools = tmp_path / "tools"
    program(
        tools / "rustc",
        f'[ "$1" = -vV ] && {{ echo "rustc 1.95.0 (fake)"; exit; }}\n'
        f'for word; do [ "$before" = -o ] && out=$word; before=$word; done\n'
        f'echo "#!/bin/sh" > "$out"; echo "echo cargo 1.95.0 of $$" >> "$out"; chmod +x "$out"\n'
        f"echo x >> {tmp_path}/compiled",
    )
    program(tools / "cargo", "echo cargo 1.95.0")
    return {
        "HOME": str(tmp_path / "home"),
        "FORGE_CACHE_DIR": str(tmp_path / "cache"),
        "PATH": f"{tools}:/usr/bin:/bin",
    }


def levels(env):
    return {finding.what: finding.level for finding in check(env)}


def says(env, what):
    return next(finding.says for finding in check(env) if finding.what == what)


def times_compiled(tmp_path):
    file = tmp_path / "compiled"
    return len(file.read_text()) // 2 if file.exists() else 0


def test_the_shim_is_compiled_once_and_its_path_is_known(env, tmp_path):
    with pytest.raises(ShimUnavailable, match="no shim is compiled yet"):
        shim_path(env)
    first, second = build(env), build(env)
    assert (first.compiled, second.compiled) == (True, False)
    assert first.path == second.path == shim_path(env)
    assert times_compiled(tmp_path) == 1


def test_force_compiles_again_and_the_path_is_never_without_a_program(env, tmp_path):
    assert build(env, force=True).compiled
    before = Path(shim_path(env)).read_text()
    built = build(env, force=True)
    assert built.compiled
    assert Path(built.path).read_text() != before  # another program, under the same name
    assert times_compiled(tmp_path) == 2
    assert [name for name in os.listdir(env["FORGE_CACHE_DIR"]) if name.startswith(".")] == []


def test_a_cache_that_cannot_be_written_is_named(env, tmp_path):
    (tmp_path / "cache").write_text("a file")
    for force in (False, True):
        with pytest.raises(ShimUnavailable, match="cache"):
            build(env, force=force)
    assert levels(env)["cache"] == "failure"


def test_install_makes_a_cargo_that_nobody_takes_for_the_real_one(env, tmp_path):
    place = default_dir(env)
    assert install(place, env)
    assert sorted(os.listdir(place)) == [WRAPPER_MARK, "cargo"]
    assert os.access(f"{place}/cargo", os.X_OK)
    assert not install(place, env)
    real = f"{tmp_path}/tools/cargo"
    assert order(env, place).first == real
    env["PATH"] = f":relative:{place}:{place}:{env['PATH']}"
    assert find_cargo(env) == real
    now = order(env, place)
    assert (now.first, now.real, now.wrapper_is_first) == (f"{place}/cargo", real, True)


def test_uninstall_takes_away_all_that_install_made(env, tmp_path):
    place = default_dir(env)
    install(place, env)
    there = sorted(os.listdir(place))
    assert uninstall(place, env, dry_run=True)
    assert sorted(os.listdir(place)) == there
    gone = uninstall(place, env)
    assert set(gone) >= {f"{place}/cargo", place}
    assert not os.path.lexists(os.path.dirname(place))
    assert uninstall(place, env) == []


def test_two_directories_can_have_the_wrapper(env, tmp_path):
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert install(one, env)
    assert install(two, env)
    uninstall(one, env)
    assert not os.path.exists(one)
    assert is_installed(two, env)


def test_a_cargo_that_is_not_forges_is_neither_replaced_nor_removed(env, tmp_path):
    place = str(tmp_path / "tools")
    before = Path(place, "cargo").read_text()
    with pytest.raises(CargoInTheWay, match="tools/cargo is not Forge's"):
        install(place, env)
    assert uninstall(place, env) == []
    assert Path(place, "cargo").read_text() == before
    os.symlink("rustup", tmp_path / "cargo")
    with pytest.raises(CargoInTheWay, match="it leads to rustup"):
        install(str(tmp_path), env)


def test_a_real_cargo_that_took_the_wrappers_place_stays(env):
    place = default_dir(env)
    install(place, env)
    os.unlink(f"{place}/cargo")
    program(Path(place, "cargo"))
    assert uninstall(place, env) == [f"{place}/{WRAPPER_MARK}"]
    assert os.listdir(place) == ["cargo"]


def test_other_files_in_the_directory_stay(env, tmp_path):
    place = tmp_path / "bin"
    program(place / "mine")
    install(str(place), env)
    uninstall(str(place), env)
    assert os.listdir(place) == ["mine"]


def test_a_deleted_cache_lets_shells_fall_through_and_install_mends_it(env, tmp_path):
    place = default_dir(env)
    install(place, env)
    env["PATH"] = f"{place}:{env['PATH']}"
    shutil.rmtree(env["FORGE_CACHE_DIR"])
    assert shutil.which("cargo", path=env["PATH"]) == f"{tmp_path}/tools/cargo"
    assert levels(env)["wrapper"] == "warning"
    assert install(place, env)
    assert levels(env)["wrapper"] == "ok"


def test_another_cache_directory_takes_over_the_link(env, tmp_path):
    place = default_dir(env)
    install(place, env)
    env["FORGE_CACHE_DIR"] = str(tmp_path / "cache2")
    assert install(place, env)
    assert os.readlink(f"{place}/cargo") == f"{tmp_path}/cache2/gates/bin/cargo"


def test_without_rustc_nothing_is_installed(env, tmp_path):
    (tmp_path / "tools" / "rustc").unlink()
    env["PATH"] = str(tmp_path / "tools")
    with pytest.raises(ShimUnavailable):
        install(default_dir(env), env)
    assert not os.path.lexists(default_dir(env))


def test_a_directory_that_cannot_be_written_is_named(env, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserFileUnwritable, match="file"):
        install(str(tmp_path / "file" / "bin"), env)


def test_check_is_content_when_all_is_well(env):
    assert levels(env) == {
        "rustc": "ok", "source": "ok", "shim": "warning", "wrapper": "ok", "PATH": "ok",
        "RUSTC_WRAPPER": "ok", "cache": "ok",
    }  # fmt: skip
    build(env)
    assert levels(env)["shim"] == "ok"
    assert "runs cargo 1.95.0" in says(env, "shim")


def test_check_says_which_cargo_comes_first(env, tmp_path):
    place = default_dir(env)
    install(place, env)
    assert levels(env)["PATH"] == "warning"
    assert "not first" in says(env, "PATH")
    env["PATH"] = f"{place}:{env['PATH']}"
    assert levels(env)["PATH"] == "ok"
    assert says(env, "PATH") == f"`cargo` is {place}/cargo, the real one is {tmp_path}/tools/cargo"
    (tmp_path / "tools" / "cargo").unlink()
    env["PATH"] = f"{place}:{tmp_path}/tools"
    assert levels(env)["PATH"] == "failure"


def test_check_finds_a_shim_of_another_toolchain_and_one_that_does_not_run(env, tmp_path):
    path = Path(build(env).path)
    path.write_text("#!/bin/sh\nexit 9\n")
    assert levels(env)["shim"] == "failure"
    rustc = tmp_path / "tools" / "rustc"
    rustc.write_text(rustc.read_text().replace("1.95.0 (fake)", "1.96.0 (fake)"))
    assert levels(env)["shim"] == "warning"
    assert "another source or toolchain" in says(env, "shim")


def test_check_finds_no_rustc_and_a_broken_one(env, tmp_path):
    program(tmp_path / "tools" / "rustc", "echo broken >&2; exit 1")
    assert levels(env)["rustc"] == "failure"
    assert "says: broken" in says(env, "rustc")
    (tmp_path / "tools" / "rustc").unlink()
    env["PATH"] = str(tmp_path / "tools")
    assert levels(env)["rustc"] == "failure"


def test_check_works_in_a_directory_that_was_deleted(env, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert levels(env)["RUSTC_WRAPPER"] == "ok"


def test_check_finds_a_rustc_that_is_no_program(env, tmp_path):
    (tmp_path / "tools" / "rustc").write_bytes(b"\0")
    assert "does not run" in says(env, "rustc")


@pytest.mark.parametrize(
    ("variable", "value", "level"),
    [
        ("RUSTC_WRAPPER", "/no/such/sccache", "failure"),
        ("CARGO_BUILD_RUSTC_WRAPPER", "no-such-sccache", "failure"),
        ("RUSTC_WRAPPER", "", "ok"),
        ("RUSTC_WRAPPER", "sh", "ok"),
    ],
)
def test_check_finds_a_wrapper_of_the_users_that_does_not_exist(env, variable, value, level):
    assert levels(env | {variable: value})["RUSTC_WRAPPER"] == level


def test_check_reads_the_wrapper_in_cargos_configuration(env, tmp_path):
    env["CARGO_HOME"] = str(tmp_path)
    (tmp_path / "config.toml").write_text('[build]\nrustc-wrapper = "/no/sccache"\n')
    assert "/no/sccache, of cargo's configuration" in says(env, "RUSTC_WRAPPER")


@needs_rustc
@pytest.mark.real_cargo
def test_the_installed_wrapper_runs_the_real_cargo(tmp_path):
    names = ("PATH", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "HOME", "CARGO_HOME")
    env = {name: os.environ[name] for name in names if name in os.environ}
    env["FORGE_CACHE_DIR"] = str(tmp_path / "cache")
    place = str(tmp_path / "bin")
    install(place, env)
    env["PATH"] = f"{place}:{env['PATH']}"
    assert levels(env)["shim"] == "ok"
    assert order(env, place).wrapper_is_first
