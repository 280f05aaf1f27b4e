import re
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


def test_the_memory_map_takes_every_row_from_its_setting():
    rows = {"model": 20, "draft_model": 1, "agent_context": 9, "operating_system": 7}
    text = "".join(f"memory_map.{key} = '{size}GiB'\n" for key, size in rows.items())
    memory_map = config.memory_map(
        config.parse(text + "disk.size = '15GiB'\n", FILE), 64 * 1024, "forge.toml"
    )
    sizes = {row.key: row.size_mib / 1024 for row in memory_map.rows}
    assert sizes == rows | {"ram_disk": 15, "linker_buffer": 12}


def test_without_a_ram_disk_its_row_is_empty():
    cfg = config.parse('disk = {kind = "none", size = "4GiB"}\n', FILE)
    assert config.memory_map(cfg, 64 * 1024, "forge.toml").size_mib("ram_disk") == 0


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("disk.size = '60GiB'\n", r"^forge.toml: .* lower `disk.size` \(61440 MiB\)$"),
        ("memory_map.model = '65GiB'\n", "lower `memory_map.model`"),
        ("host.low_water = '64GiB'\n", r"lower `host.low_water` \(65536 MiB\)"),
    ],
)
def test_a_memory_map_that_does_not_fit_is_refused_with_the_setting_to_change(text, way_out):
    with pytest.raises(ConfigInvalid, match=way_out):
        config.memory_map(config.parse(text, FILE), 64 * 1024, "forge.toml")


def test_the_example_of_the_reference_host_gives_the_rows_of_the_design():
    docs = Path(__file__).parent.parent / "docs"
    page = (docs / "design" / "memory-map.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (wired|dynamic|reserved) \|$", page, re.MULTILINE)
    assert sum(int(gib) for _, gib, _ in rows) == 256
    cfg = config.load(docs / "examples" / "reference-host.toml")
    memory_map = config.memory_map(cfg, cfg["host.memory"], "reference-host.toml")
    assert rows == [
        (row.tenant, f"{row.size_mib / 1024:.0f}", row.kind.value) for row in memory_map.rows
    ]


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("slots = 2", "inference.slots", 2),
        ('kv_type = "q8_0"', "inference.kv_type", "q8_0"),
        ('cache_ram = "0MiB"', "inference.cache_ram", 0),
        ('args = ["--alias", "x"]', "inference.args", ("--alias", "x")),
        ('model = "auto"', "inference.model", None),
        ("lock = false", "inference.lock", False),
    ],
)
def test_how_the_server_is_started_can_be_set(line, key, value):
    assert config.parse(f"[inference]\n{line}\n", Path("f"))[key] == value


@pytest.mark.parametrize(
    "line",
    [
        "slots = 0", 'slots = "auto"', 'context = "auto"', 'cache_ram = "auto"', 'kv_type = "q9"',
        'args = "--alias x"', "args = [1]", 'server = ""', 'model = "relative.gguf"', "lock = 1",
    ],
)  # fmt: skip
def test_how_the_server_is_started_is_checked(line):
    with pytest.raises(ConfigInvalid, match=r"f:2: `inference\."):
        config.parse(f"[inference]\n{line}\n", Path("f"))
