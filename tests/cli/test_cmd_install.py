"""`forge install` and `forge uninstall`: real files; the managers are programs of ours."""

import json
import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from forge.cli.man_pages import man_pages
from forge.client.install_units import systemd_unit
from tests.cli.conftest import Forge
from tests.macos.fixtures import simulated_mac  # noqa: F401  # a fixture

MANAGER = '#!/bin/sh\necho "$(basename "$0") $*" >> {calls}\n{then}\n'


@pytest.fixture
def manager(place: Path, env, monkeypatch):
    """Put a systemctl and a loginctl on PATH; the calls they got are in the file."""
    calls = place / "calls"
    calls.touch()
    bin_dir = place / "bin"
    bin_dir.mkdir()

    def make(then: str = "exit 0") -> Path:
        for name in ("systemctl", "loginctl"):
            (bin_dir / name).write_text(MANAGER.format(calls=calls, then=then))
            (bin_dir / name).chmod(0o755)
        return calls

    env["PATH"] = f"{bin_dir}{os.pathsep}{env['PATH']}"
    make()
    return make


def all_files(place: Path) -> set[str]:
    home = place / "home"
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


UNIT = ".config/systemd/user/forged.service"


def test_a_dry_run_shows_every_file_line_and_command_and_does_nothing(forge: Forge, place, manager):
    told = forge("install", "--dry-run", "--no-wrapper")
    assert told.code == 0
    assert f"# file {place}/home/{UNIT}" in told.out
    assert "Type=notify" in told.out
    assert "systemctl --user enable --now forged.service" in told.out
    assert all_files(place) == set()
    assert manager().read_text() == ""


def test_it_is_installed_and_taken_back_whole(forge: Forge, place, manager):
    assert forge("install", "--no-wrapper").code == 0
    files = all_files(place)
    assert {UNIT, ".local/share/bash-completion/completions/forge"} <= files
    assert ".local/share/zsh/site-functions/_opta-start" in files
    assert ".local/share/man/man1/opta-status.1" in files
    assert ".config/fish/completions/opta-stop.fish" in files
    assert {".local/share/man/man1/forge-status.1", ".local/share/man/man5/forge.toml.5"} <= files
    assert manager().read_text().splitlines() == [
        "systemctl --user daemon-reload",
        "loginctl enable-linger",
        "systemctl --user enable --now forged.service",
    ]
    manager().write_text("")
    assert forge("uninstall").code == 0
    assert all_files(place) == set()
    assert manager().read_text().splitlines() == [
        "systemctl --user disable --now forged.service",
        "systemctl --user daemon-reload",
    ]
    again = forge("uninstall")
    assert again.code == 66
    assert "not installed" in again.err


def test_to_install_again_replaces_what_is_old(forge: Forge, place, manager):
    assert forge("install", "--no-wrapper").code == 0
    unit = place / "home" / UNIT
    record = place / "state" / "installed.json"
    known = json.loads(record.read_text())
    stale = place / "home" / "stale"
    stale.write_text("x")  # of an older version, which wrote it
    import hashlib

    digest = hashlib.sha256(b"x").hexdigest()
    known["done"].append({"path": str(stale), "digest": digest, "undo": []})
    record.write_text(json.dumps(known))
    assert forge("install", "--no-wrapper").code == 0
    assert unit.exists()
    assert not stale.exists()


def test_to_install_again_restarts_the_daemon_and_spares_what_it_has_started(
    forge: Forge, place, manager
):
    assert forge("install", "--no-wrapper").code == 0
    manager().write_text("")
    assert forge("install", "--no-wrapper").code == 0
    calls = manager().read_text().splitlines()
    ended = calls.index("systemctl --user disable --now forged.service")
    assert ended < calls.index("systemctl --user enable --now forged.service")
    unit = (place / "home" / UNIT).read_text().splitlines()
    assert "KillMode=process" in unit  # the daemon alone is ended: builds and services are not


def test_a_file_that_somebody_changed_is_left_to_them(forge: Forge, place, manager):
    assert forge("install", "--no-wrapper").code == 0
    unit = place / "home" / UNIT
    unit.write_text(unit.read_text() + "# mine\n")
    told = forge("uninstall")
    assert "left alone, since it was changed" in told.err
    assert all_files(place) == {UNIT}


def test_a_file_that_is_not_ours_ends_it_and_what_was_done_is_taken_back(
    forge: Forge, place, manager
):
    unit = place / "home" / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    told = forge("install", "--no-wrapper")
    assert told.code == 73
    assert f"{unit} is there" in told.err
    assert all_files(place) == {UNIT}
    assert unit.read_text() == "[Unit]\n"


def test_a_manager_that_refuses_ends_it_and_what_was_done_is_taken_back(
    forge: Forge, place, manager
):
    manager('case "$*" in *enable*) echo "Unit is masked" >&2; exit 1;; esac')
    told = forge("install", "--no-wrapper")
    assert told.code == 73
    assert "Unit is masked" in told.err
    assert all_files(place) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="asks as root about users")
def test_an_installation_for_the_machine_names_its_user(forge: Forge, place, manager):
    told = forge("install", "--system", "--user", "nobody", "--dry-run")
    assert "User=nobody" in told.out
    assert "/etc/systemd/system/forged.service" in told.out
    assert "systemctl enable --now forged.service" in told.out
    wrong = forge("install", "--system", "--user", "no-such-user", "--dry-run")
    assert wrong.code == 64
    assert "no-such-user" in wrong.err


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("user", [None, "daemon"])
def test_systemd_finds_nothing_wrong_with_the_unit(place, env, user):
    env["FORGE_STATE_DIR"] = '/tmp/a "b" 100%$x'
    (place / "forged.service").write_text(systemd_unit(env, user))
    told = subprocess.run(
        ["systemd-analyze", "--system" if user else "--user", "verify", place / "forged.service"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(place)}, capture_output=True, text=True,
    )  # fmt: skip
    ours = [line for line in told.stderr.splitlines() if "forged" in line and "man " not in line]
    assert ours == []


def test_on_a_mac_it_is_a_launch_agent(forge: Forge, env, place, simulated_mac):  # noqa: F811
    env.update({name: simulated_mac.env[name] for name in ("PATH", "FORGE_SIM_MACOS")})
    env["FORGE_PLATFORM"] = "darwin"
    steps = json.loads(forge("install", "--dry-run", "--json", "--no-wrapper").out)["steps"]
    (agent,) = [one for one in steps if one.get("path", "").endswith(".plist")]
    assert agent["path"] == f"{place}/home/Library/LaunchAgents/com.opta.forge.plist"
    job = plistlib.loads(agent["text"].encode())
    assert job["Label"] == "com.opta.forge"
    assert job["ProcessType"] == "Interactive"
    assert job["AbandonProcessGroup"] is True
    assert job["KeepAlive"] == {"SuccessfulExit": False}
    assert "/usr/sbin" in job["EnvironmentVariables"]["PATH"]  # hdiutil and sysctl are there
    assert "UserName" not in job
    (folder,) = [one for one in steps if one["kind"] == "folder"]
    assert job["StandardErrorPath"].startswith(folder["path"])


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_completion_of_bash_is_valid(forge: Forge, shell):
    text = forge("completion", "bash").out
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


@pytest.mark.parametrize("name", sorted(man_pages()))
def test_the_manual_has_a_page_that_groff_takes_without_a_word(name):
    page = man_pages()[name]
    for part in (".TH", ".SH NAME", ".SH DESCRIPTION"):
        assert part in page
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    told = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-b"], input=page, capture_output=True, text=True
    )
    assert told.stderr == ""
    assert "forge" in told.stdout.lower()
