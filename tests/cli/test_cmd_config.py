"""`forge config`."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from forge.cli.config_file import config_text
from forge.config import SETTINGS, parse
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_disk, a_status


@pytest.fixture
def file(env) -> Path:
    return Path(env["FORGE_CONFIG"])


def shown(forge: Forge) -> dict[str, tuple[object, str]]:
    settings = json.loads(forge("config", "show", "--json").out)["settings"]
    return {one["key"]: (one["value"], one["from"]) for one in settings}


def test_show_names_every_setting_and_where_its_value_comes_from(forge: Forge, file):
    file.write_text('[disk]\nsize = "6GiB"\nkind = "auto"\n[builds]\nlink_target = true\n')
    values = shown(forge)
    assert list(values) == [setting.key for setting in SETTINGS]
    assert values["disk.size"] == ("6GiB", "file")
    assert values["disk.kind"] == ("auto", "computed")  # written, but left to Forge
    assert values["builds.link_target"] == (True, "file")
    assert values["daemon.log_size"] == ("10MiB", "default")
    assert values["host.memory"] == ("auto", "computed")
    text = forge("config", "show").out
    assert ["builds.link_target", "true", "file"] in [line.split() for line in text.splitlines()]


def test_show_takes_computed_values_from_the_daemon_that_runs(forge: Forge, daemon: StartDaemon):
    memory = {"low_water_bytes": 655 * 1024**2}
    daemon(status=[a_status(disk=a_disk(kind="shm", total_files=0), memory=memory)])
    values = shown(forge)
    assert values["disk.kind"] == ("shm", "computed")
    assert values["disk.size"] == ("4GiB", "computed")
    assert values["disk.mount_point"] == ("/mnt/OptaBuilds", "computed")
    assert values["disk.inodes"] == ("auto", "computed")  # this kind has no such limit
    assert values["host.memory"] == ("16GiB", "computed")
    assert values["host.cores"] == (8, "computed")
    assert values["host.low_water"] == ("655MiB", "computed")
    assert values["memory_map.model"] == ("12GiB", "computed")


def test_show_leaves_out_what_a_daemon_computed_from_another_file(
    forge: Forge, daemon: StartDaemon
):
    daemon(status=[a_status(config_file="/elsewhere/forge.toml")])
    result = forge("config", "show", "--json")
    assert "the daemon reads /elsewhere/forge.toml" in result.err
    assert shown(forge)["host.cores"] == ("auto", "computed")


def test_path_is_where_the_file_would_be(forge: Forge, env):
    assert forge("config", "path").out == env["FORGE_CONFIG"] + "\n"
    del env["FORGE_CONFIG"]
    assert forge("config", "path").out == f"{env['HOME']}/.config/opta-forge/forge.toml\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[disk]\nsize = '6GB'\n", ":2: `disk.size` cannot be '6GB'"),
        ("[disk]\nsise = '6GiB'\n", "did you mean `disk.size`?"),
        ("[disk\n", "TOML"),
        (
            "[host]\nmemory='8GiB'\n[disk]\nsize='7GiB'\n",
            "3072 MiB more than the 8192 MiB there are",
        ),
        ("[host]\nmemory='8GiB'\nlow_water='8GiB'\n", "lower `host.low_water` (8192 MiB)"),
        ("host.memory='8GiB'\nmemory_map.model='9GiB'\n", "lower `memory_map.model` (9216 MiB)"),
    ],
)
def test_check_says_what_is_wrong_in_one_line(forge: Forge, file, text, says):
    file.write_text(text)
    result = forge("config", "check")
    assert result.code == os.EX_CONFIG
    assert says in result.err
    assert str(file) in result.err
    assert result.err.count("\n") == 1


def test_check_measures_the_rows_by_the_memory_that_the_daemon_found(
    forge: Forge, daemon: StartDaemon, file
):
    file.write_text("[memory_map]\nmodel = '14GiB'\n")
    daemon(status=[a_status(memory_map={"total_mib": 13 * 1024, "rows": []})])
    assert "13312 MiB there are" in forge("config", "check").err


def test_check_measures_the_rows_by_this_machine_where_no_daemon_runs(forge: Forge, file):
    file.write_text("[memory_map]\nmodel = '900TiB'\n")
    result = forge("config", "check")
    assert result.code == os.EX_CONFIG
    assert "lower `memory_map.model`" in result.err


def test_check_is_content_with_a_right_file_and_with_none(forge: Forge, file, tmp_path):
    assert "every setting has its default" in forge("config", "check").out
    file.write_text("[disk]\nsize='6GiB'\n")
    assert forge("config", "check").out == f"{file}: 1 setting, all right\n"
    assert forge("config", "check", str(tmp_path / "none.toml")).code == os.EX_CONFIG


def test_init_names_every_setting_and_sets_none(forge: Forge, file):
    result = forge("config", "init")
    assert (result.code, result.out) == (0, f"written: {file}\n")
    assert parse(file.read_text(), file).values == {}
    assert [path.name for path in file.parent.glob("*.new")] == []


def test_what_init_writes_is_right_with_every_comment_sign_taken_away():
    lines = config_text().splitlines()
    names = {setting.key.partition(".")[2] for setting in SETTINGS}
    text = "\n".join(
        line[2:] if line[2:].partition(" = ")[0] in names and line.startswith("# ") else line
        for line in lines
    )
    document = tomllib.loads(text)
    flat = {f"{section}.{name}" for section, table in document.items() for name in table}
    assert flat == {setting.key for setting in SETTINGS}
    assert set(parse(text, Path("forge.toml")).values) == flat
    assert max(map(len, lines)) <= 100


def test_init_leaves_a_file_alone_and_keeps_it_when_forced(forge: Forge, file):
    file.write_text("# mine\n")
    result = forge("config", "init")
    assert result.code == os.EX_CANTCREAT
    assert file.read_text() == "# mine\n"
    for number, kept in enumerate(("forge.toml.bak", "forge.toml.bak2")):
        result = forge("config", "init", "--force")
        assert result.code == 0
        assert str(file.with_name(kept)) in result.err
        assert (file.with_name(kept).read_text() == "# mine\n") is (number == 0)


def test_init_with_force_needs_no_file_to_replace(forge: Forge, file):
    assert forge("config", "init", "--force").code == 0
    assert file.exists()


def test_init_writes_through_a_link(forge: Forge, file, tmp_path):
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n")
    file.symlink_to(real)
    assert forge("config", "init", "--force").code == 0
    assert file.is_symlink()
    assert "[disk]" in real.read_text()


def test_init_where_nothing_can_be_written_says_so(forge: Forge, env, tmp_path):
    (tmp_path / "file").write_text("")
    env["FORGE_CONFIG"] = str(tmp_path / "file" / "forge.toml")
    result = forge("config", "init")
    assert result.code == os.EX_CANTCREAT
    assert "cannot be written" in result.err
