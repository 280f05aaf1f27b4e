from pathlib import Path

import pytest

from forge import config
from forge.errors import ConfigInvalid

FILE = Path("forge.toml")


def test_no_file_means_all_defaults(tmp_path):
    cfg = config.load(tmp_path / "forge.toml")
    assert cfg["disk.size"] is None
    assert cfg["builds.override_config_target_dir"] is True
    assert cfg.path is None


def test_settings_are_read_in_every_way_that_toml_has():
    text = '[disk]\nsize = "8GiB"\nkind = "shm"\n[builds]\nlink_target = true\n'
    dotted = 'disk.size = "8GiB"\ndisk.kind = "shm"\nbuilds.link_target = true\n'
    inline = 'disk = {size = "8GiB", kind = "shm"}\nbuilds = {link_target = true}\n'
    for written in (text, dotted, inline):
        assert dict(config.parse(written, FILE).values) == {
            "disk.size": 8192, "disk.kind": "shm", "builds.link_target": True,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint", "hint"),
    [
        ('[disk]\n\nsize = "64GB"\n', "forge.toml:3: `disk.size` cannot be '64GB'", "64GiB"),
        ("[disk]\nsize = 64\n", "forge.toml:2: `disk.size` cannot be 64", "64GiB"),
        ('[disk]\nkind = "floppy"\n', "forge.toml:2: `disk.kind` cannot be 'floppy'", "tmpfs"),
        ('[disk]\nmount_point = "builds"\n', "forge.toml:2: `disk.mount_point`", "absolute path"),
        ("[disk]\ninodes = true\n", "`disk.inodes` cannot be True", "whole number"),
        (
            '[builds]\nlink_target = "yes"\n',
            "`builds.link_target` cannot be 'yes'",
            "true or false",
        ),
        ('[inference]\nurl = "localhost:8080"\n', "`inference.url`", "http"),
        ("[disk]\nsise = 1\n", "forge.toml:2: there is no setting `disk.sise`", "`disk.size`"),
        ("disk = 5\n", "forge.toml:1: there is no setting `disk`", ""),
        ("[disk\n", "forge.toml:", "TOML 1.0"),
        ('[disk]\nsize="1GiB"\nsize="2GiB"\n', "forge.toml:", "TOML 1.0"),
    ],
)
def test_a_wrong_setting_is_one_line_with_file_line_key_value_and_the_way_out(
    text, complaint, hint
):
    with pytest.raises(ConfigInvalid) as caught:
        config.parse(text, FILE)
    assert complaint in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "forge.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigInvalid, match="not UTF-8"):
        config.load(tmp_path / "forge.toml")


def test_a_directory_in_the_files_place_is_refused(tmp_path):
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        config.load(tmp_path)


@pytest.mark.parametrize("setting", config.SETTINGS, ids=lambda s: s.key)
def test_each_default_is_a_right_value(setting):
    setting.read(setting.default)


def test_a_home_directory_may_be_written_with_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/u")
    cfg = config.parse('[disk]\nmount_point = "~/builds"\n', FILE)
    assert cfg["disk.mount_point"] == "/home/u/builds"
