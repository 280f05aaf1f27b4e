"""What the daemon makes of forge.toml."""

import os
from pathlib import Path
from typing import cast

import pytest

from forge.core.disk import DiskKind
from forge.daemon.settings import load_settings
from forge.errors import ConfigInvalid
from forge.host.ramdisk import RamDisk
from tests.llama.models import TINY, write_model


class SomeRamDisk:
    """Knows where it would be, and no more."""

    def place_of(self, kind: DiskKind | None) -> tuple[DiskKind, str]:
        return kind or DiskKind.TMPFS, "/mnt/OptaBuilds"


def settings_of(tmp_path: Path, text: str):
    file = tmp_path / "forge.toml"
    file.write_text(text)
    return load_settings(
        str(file), cast(RamDisk, SomeRamDisk()), {"FORGE_STATE_DIR": str(tmp_path)}
    )[1]


@pytest.mark.parametrize(
    ("text", "size_mib"),
    [
        ("", 31913),
        ("disk.size = '4GiB'", 4096),
        ("memory_map.model = '20GiB'", 15221),
        ("memory_map.linker_buffer = '50GiB'", 6144),
    ],
)
def test_the_disk_has_the_size_of_its_row(tmp_path, text, size_mib):
    settings = settings_of(tmp_path, f"host.memory = '64GiB'\n{text}\n")
    assert settings.disk
    assert settings.disk.size_mib == settings.memory_map.size_mib("ram_disk") == size_mib


@pytest.mark.parametrize(
    "text", ["disk.kind = 'none'", "disk.size = '0MiB'", "memory_map.model = '64GiB'"]
)
def test_no_disk_of_size_0_is_ever_wanted(tmp_path, text):
    assert settings_of(tmp_path, f"host.memory = '64GiB'\n{text}\n").disk is None


def test_a_map_that_does_not_fit_is_refused_with_file_and_setting(tmp_path):
    with pytest.raises(ConfigInvalid, match=r"forge\.toml: .* lower `memory_map\.model`"):
        settings_of(tmp_path, "host.memory = '64GiB'\nmemory_map.model = '65GiB'\n")


def test_the_configured_model_gets_the_rows_that_it_takes(tmp_path):
    model = write_model(tmp_path / "tiny.gguf", TINY)
    text = f"host.memory = '64GiB'\n[inference]\nmodel = '{model}'\ncache_ram = '1GiB'\n"
    rows = settings_of(tmp_path, text).memory_map
    assert rows.size_mib("model") == 5
    assert 1024 + 36 < rows.size_mib("agent_context") < 1300
    assert settings_of(tmp_path, text + "[memory_map]\nmodel = '7GiB'\n").memory_map.size_mib(
        "model"
    ) == 7168  # fmt: skip


@pytest.mark.parametrize("slip", ["gone", "directory", "garbage", "too large"])
def test_a_model_that_is_no_good_leaves_the_map_as_it_was(tmp_path, slip):
    model = tmp_path / "model.gguf"
    if slip == "directory":
        model.mkdir()
    elif slip == "garbage":
        model.write_bytes(b"GGUF" + bytes(20))
    elif slip == "too large":
        write_model(model, TINY)
        os.truncate(model, 1 << 42)
    text = "host.memory = '64GiB'\n"
    found = settings_of(tmp_path, f"{text}[inference]\nmodel = '{model}'\n")
    assert found.memory_map == settings_of(tmp_path, text).memory_map


@pytest.mark.parametrize(
    ("text", "env", "mounts"),
    [
        ("", {}, False),  # somebody's command: looking mounts nothing
        ("", {"NOTIFY_SOCKET": "/run/systemd/notify"}, True),
        ("", {"XPC_SERVICE_NAME": "com.opta.forge"}, True),
        ("", {"XPC_SERVICE_NAME": "0"}, False),  # any program in a terminal on macOS
        ("disk.mount_at_start = false", {"NOTIFY_SOCKET": "/run/systemd/notify"}, False),
        ("disk.mount_at_start = true", {}, True),
    ],
)
def test_the_disk_is_mounted_at_the_start_where_a_manager_starts_us(tmp_path, text, env, mounts):
    file = tmp_path / "forge.toml"
    file.write_text(text)
    env = {"FORGE_STATE_DIR": str(tmp_path), **env}
    _, settings = load_settings(str(file), cast(RamDisk, SomeRamDisk()), env)
    assert settings.mount_at_start is mounts
