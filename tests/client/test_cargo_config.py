"""What is recommended for cargo's own configuration."""

import os
import shutil
import subprocess
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.client.cargo_config import (
    MARK,
    CargoConfigInvalid,
    _with,
    config_files,
    default_mount_point,
    merging,
    removing,
    render,
    template_file,
    without_marked,
)
from forge.config import Config

EVERYTHING = render(("build-dir",), "/mnt/Opta Builds", "linux")

PIECES = st.sampled_from(
    [
        "# a comment",
        "",
        "[profile.dev]",
        "[ profile . 'dev' ] # mine",
        "[profile]",
        "dev.opt-level = 1",
        'profile.dev.split-debuginfo = "off"',
        "profile.dev.opt-level = 1",
        "[build]",
        "jobs = 4",
        'text = """\n[profile.dev]\n"""',
        "profile = { dev = { opt-level = 1 } }",
        "dev = { debug = 0 }",
        "[env]",
        "A = 'b' # opta",
        "[[tables]]",
        '[profile.dev.package."*"]',
        "[profile.dev.package]",
        '"*".opt-level = 1',
        'package = { "*" = { debug = 0 } }',
        "debug = 1",
    ]
)


@pytest.fixture
def env(tmp_path):
    return {"HOME": str(tmp_path), "CARGO_HOME": str(tmp_path)}


def install(env, recommended=EVERYTHING):
    merge = merging(recommended, env)
    if merge.change:
        merge.change.write()
    return merge


def remove(env):
    for change in removing(env):
        change.write()


@settings(deadline=None)  # the machine may be busy
@given(st.lists(PIECES, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_install_and_remove_give_the_file_back_byte_for_byte(
    tmp_path_factory, pieces, newline, ends
):
    home = tmp_path_factory.mktemp("home")
    env = {"HOME": str(home), "CARGO_HOME": str(home)}
    file = home / "config.toml"
    text = newline.join("\n".join(pieces).split("\n")) + (newline if ends else "")
    try:
        was = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    file.write_bytes(text.encode())
    try:
        merge = install(env)
    except CargoConfigInvalid as error:
        assert "by hand" in (error.hint or "")  # a table in a line takes no line
        assert file.read_bytes() == text.encode()
        return
    now = tomllib.loads(file.read_text())
    wanted = was
    for name in merge.added:
        names = next(iter(paths_of(tomllib.loads(f"{name} = 0"))))
        wanted = _with(wanted, names, value_at(tomllib.loads(EVERYTHING), names))
    assert now == wanted
    assert len(merge.added) + len(merge.kept) == len(list(paths_of(tomllib.loads(EVERYTHING))))
    again = merging(EVERYTHING, env)
    assert (again.change, again.added) == (None, ())
    remove(env)
    assert file.read_bytes() == text.encode()
    assert os.listdir(home) == ["config.toml"]


def paths_of(table, above=()):
    for name, value in table.items():
        if isinstance(value, dict):
            yield from paths_of(value, (*above, name))
        else:
            yield (*above, name)


def value_at(table, names):
    for name in names:
        table = table[name]
    return table


def test_a_file_that_was_made_is_deleted_again(env, tmp_path):
    assert install(env).kept == ()
    assert tomllib.loads((tmp_path / "config.toml").read_text()) == tomllib.loads(EVERYTHING)
    remove(env)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", [None, "", "# mine", "[profile.dev]", "[build]\njobs = 4\n"])
def test_what_was_installed_bit_by_bit_is_taken_out_at_once(env, tmp_path, text):
    file = tmp_path / "config.toml"
    if text is not None:
        file.write_text(text)
    first = install(env, render((), "", "linux"))
    second = install(env)
    assert (len(first.added), second.added) == (2, ("build.build-dir",))
    remove(env)
    assert (file.read_text() if file.exists() else None) == text


def test_every_line_that_is_added_is_marked(env, tmp_path):
    install(env)
    assert all(line.endswith(MARK) for line in (tmp_path / "config.toml").read_text().splitlines())


def test_a_key_of_the_users_stays_and_is_named(env, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[profile.dev.package.'*']\ndebug = 1\n")
    assert install(env).kept == ('profile.dev.package."*".debug',)
    assert tomllib.loads(file.read_text())["profile"]["dev"]["package"]["*"] == {"debug": 1}


def test_a_table_of_forges_in_which_the_user_set_a_key_stays_with_that_key(env, tmp_path):
    file = tmp_path / "config.toml"
    install(env)
    header = "[profile.dev] # opta-forge\n"
    file.write_text(file.read_text().replace(header, f"{header}opt-level = 1\n"))
    remove(env)
    assert tomllib.loads(file.read_text()) == {"profile": {"dev": {"opt-level": 1}}}


def test_a_value_of_forges_that_was_edited_goes_with_its_mark(env, tmp_path):
    file = tmp_path / "config.toml"
    install(env)
    file.write_text(file.read_text().replace('"line-tables-only"', "2"))
    remove(env)
    assert not file.exists()


@pytest.mark.parametrize(
    "text",
    [
        'a = """\nx # opta-forge\n"""\n',
        "a = [\n  1, # opta-forge\n  2,\n]\n",
        "a = [\n] # opta-forge\n",
    ],
)
def test_a_mark_on_a_line_that_is_no_key_is_refused(text):
    with pytest.raises(CargoConfigInvalid, match=r"^f"):
        without_marked(text, "f")


@pytest.mark.parametrize(
    ("text", "number"),
    [(b"a = 1\n[b\n", 2), (b"a = 1\nb = \xff\n", 2), (b"a = 1\na = 2\n", 2), (b"a = [\n", 2)],
)
def test_a_file_that_does_not_parse_is_refused_with_path_and_line(env, tmp_path, text, number):
    file = tmp_path / "config.toml"
    file.write_bytes(text)
    with pytest.raises(CargoConfigInvalid) as caught:
        merging(EVERYTHING, env)
    assert caught.value.message.startswith(f"{file}:{number}: ")
    assert file.read_bytes() == text


def test_the_file_that_counts_is_the_one_that_cargo_reads(env, tmp_path):
    assert config_files(env) == [str(tmp_path / "config.toml")]
    (tmp_path / "config").write_text("")
    install(env)
    assert os.listdir(tmp_path) == ["config"]
    (tmp_path / "config.toml").write_text(f"a = 1 {MARK}\n")
    remove(env)
    assert [(tmp_path / name).read_text() for name in ("config", "config.toml")] == ["", ""]
    del env["CARGO_HOME"]
    assert config_files(env) == [str(tmp_path / ".cargo" / "config.toml")]


def test_the_template_is_toml_and_knows_its_platforms():
    tomllib.loads(template_file().read_text())
    assert "split-debuginfo" in render((), "", "linux")
    assert "split-debuginfo = " not in render((), "", "darwin")  # the default there
    assert "build-dir =" not in render((), "", "linux")
    assert "\n#: " not in EVERYTHING


def test_a_mount_point_is_quoted():
    text = render(("build-dir",), 'C:\\a"b', "linux")
    assert tomllib.loads(text)["build"]["build-dir"].startswith('C:\\a"b/')


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"disk.kind": "none"}, None),
        ({"disk.mount_point": "/x", "disk.kind": "tmpfs"}, "/x"),
        ({"disk.kind": "tmpfs"}, "/mnt/OptaBuilds"),
    ],
)
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="the places are those of Linux")
def test_without_a_daemon_the_mount_point_is_the_one_it_would_take(env, values, found):
    assert default_mount_point(Config(values), env) == found


@pytest.mark.real_cargo
@pytest.mark.skipif(not shutil.which("cargo"), reason="no cargo here")
def test_cargo_takes_every_key_without_a_warning_and_does_what_it_says(tmp_path):
    ram, project = tmp_path / "ram", tmp_path / "project"
    package(tmp_path / "dep", "dep", "src/lib.rs")
    package(project, "own", "src/main.rs", 'dep = { path = "../dep" }\n[profile.dev]\ndebug = 1')
    names = ("PATH", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "HOME")
    env = {name: os.environ[name] for name in names if name in os.environ}
    env["CARGO_HOME"] = str(tmp_path / "home")
    install(env, render(("build-dir",), str(ram), "linux"))
    said = {verb: cargo(verb, project, env) for verb in ("build", "test --no-run")}
    assert "warning" not in "".join(said.values())
    rustc_of = {
        line.split("--crate-name ")[1].split()[0]: line
        for line in said["build"].splitlines()
        if "Running" in line
    }
    assert "debuginfo=line-tables-only" in rustc_of["dep"]
    assert "debuginfo=1" in rustc_of["own"]
    assert all("split-debuginfo=unpacked" in line for line in rustc_of.values())
    assert "Fresh dep" in said["test --no-run"]  # one copy serves both
    assert len(list(ram.glob(".build-dirs/*/*/debug/deps"))) == 1
    assert not (project / "target" / "debug" / "deps").exists()
    assert (project / "target" / "debug" / "own").is_file()
    remove(env)
    cargo("build", project, env)
    assert (project / "target" / "debug" / "deps").exists()


def package(place, name, source, dependencies=""):
    (place / "src").mkdir(parents=True)
    text = "fn main() {}" if source.endswith("main.rs") else "pub fn f() {}"
    (place / source).write_text(text)
    (place / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n'
        f"[dependencies]\n{dependencies}\n"
    )


def cargo(verb, project, env):
    done = subprocess.run(
        ["cargo", *verb.split(), "-v"], cwd=project, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr
