"""`forge cargo-config`."""

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_disk, a_status

KEY = 'profile.dev.package."*".debug'


@pytest.fixture
def file(env, place: Path) -> Path:
    env["CARGO_HOME"] = str(place)
    return place / "config.toml"


def test_show_prints_toml_with_reasons(forge: Forge, file):
    result = forge("cargo-config", "show")
    assert result.code == 0
    assert tomllib.loads(result.out)["profile"]["dev"]["package"]["*"]
    assert "# Dependencies: " in result.out
    assert "build" not in tomllib.loads(result.out)
    answer = json.loads(forge("cargo-config", "show", "--json").out)
    assert answer == {"file": str(file), "text": result.out}


def test_the_build_dir_is_where_the_daemon_has_the_disk(forge: Forge, daemon: StartDaemon, file):
    daemon(status=[a_status(disk=a_disk(mount_point="/mnt/there"))])
    shown = tomllib.loads(forge("cargo-config", "show", "--with", "build-dir").out)
    assert shown["build"]["build-dir"] == "/mnt/there/.build-dirs/{workspace-path-hash}"


@pytest.mark.skipif(sys.platform != "linux", reason="disk.mount_point is for Linux")
def test_without_a_daemon_the_build_dir_is_where_the_disk_would_be(forge: Forge, env, file):
    Path(env["FORGE_CONFIG"]).write_text('disk.mount_point = "/mnt/later"\n')
    shown = tomllib.loads(forge("cargo-config", "show", "--with", "build-dir").out)
    assert shown["build"]["build-dir"].startswith("/mnt/later/")


def test_without_a_disk_there_is_no_build_dir(forge: Forge, env, file):
    Path(env["FORGE_CONFIG"]).write_text('disk.kind = "none"\n')
    result = forge("cargo-config", "show", "--with", "build-dir")
    assert result.code == os.EX_USAGE
    assert 'disk.kind is "none"' in result.err


def test_install_names_what_it_adds_and_remove_takes_it_out(forge: Forge, file):
    file.write_text("# mine\n[build]\njobs = 4")
    assert f"would be added: {KEY}\n" in forge("cargo-config", "install", "--dry-run").out
    assert file.read_text() == "# mine\n[build]\njobs = 4"
    result = forge("cargo-config", "install")
    assert (result.code, f"added: {KEY}\n" in result.out) == (0, True)
    assert str(file) in result.err
    assert f"kept as it is: {KEY}\n" in forge("cargo-config", "install").out
    assert f"would be restored: {file}\n" == forge("cargo-config", "remove", "--dry-run").out
    assert forge("cargo-config", "remove").out == f"restored: {file}\n"
    assert file.read_text() == "# mine\n[build]\njobs = 4"
    assert forge("cargo-config", "remove").out == "nothing of Forge's is there\n"


def test_a_file_that_install_made_is_deleted(forge: Forge, file):
    added = json.loads(forge("cargo-config", "install", "--json").out)
    assert KEY in added["added"]
    assert (added["kept"], added["file"]) == ([], str(file))
    removed = json.loads(forge("cargo-config", "remove", "--json").out)
    assert removed == {"files": [{"file": str(file), "deleted": True}], "dry_run": False}
    assert not file.exists()


def test_a_file_that_does_not_parse_is_left_alone(forge: Forge, file):
    file.write_text("a = 1\n[b\n")
    result = forge("cargo-config", "install")
    assert result.code == os.EX_CONFIG
    assert f"{file}:2: " in result.err
    assert result.err.count("\n") == 1
    assert file.read_text() == "a = 1\n[b\n"


def test_a_link_to_dotfiles_stays_a_link(forge: Forge, file, place):
    real = place / "dotfiles.toml"
    real.write_text("[build]\n")
    file.symlink_to(real)
    forge("cargo-config", "install")
    assert "opta-forge" in real.read_text()
    forge("cargo-config", "remove")
    assert file.is_symlink()
    assert real.read_text() == "[build]\n"
