"""The simulated macOS says what the real one says, to the byte where programs depend on it."""

import plistlib
import subprocess
import time
from pathlib import Path

import pytest

from tests.macos.fixtures import simulated_mac  # noqa: F401
from tests.macos.simulated import SimulatedMac


@pytest.fixture
def mac(simulated_mac: SimulatedMac) -> SimulatedMac:  # noqa: F811
    return simulated_mac


def run(mac: SimulatedMac, *argv: str) -> tuple[int, str, str]:
    done = subprocess.run(argv, env=mac.env, capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout, done.stderr


def test_attach_pads_its_answer_with_blanks_and_tabs(mac):
    expected = "/dev/disk4          \t                               \t\n"
    assert run(mac, "hdiutil", "attach", "-nomount", "ram://16384") == (0, expected, "")


def test_a_volume_goes_through_its_life_as_on_macos(mac):
    run(mac, "hdiutil", "attach", "-nomount", "ram://16384")
    made = run(mac, "diskutil", "apfs", "createContainer", "/dev/disk4")[1]
    assert "\nDisk from APFS operation: disk5\n" in made
    added = run(mac, "diskutil", "apfs", "addVolume", "disk5", "APFS", "Staged", "-nomount")[1]
    assert "\nDisk from APFS operation: disk5s1\n" in added
    assert mac.mounted() == []
    assert run(mac, "diskutil", "mount", "disk5s1")[0] == 0
    (mac.volumes_root / "Staged" / "file").write_text("kept")
    assert run(mac, "diskutil", "rename", "disk5s1", "Final")[0] == 0
    assert (mac.volumes_root / "Final" / "file").read_text() == "kept"
    assert not (mac.volumes_root / "Staged").exists()
    done = (0, '"disk4" unmounted.\n"disk4" ejected.\n', "")
    assert run(mac, "hdiutil", "detach", "/dev/disk4") == done
    assert list(mac.volumes_root.iterdir()) == []
    gone = (1, "", "hdiutil: detach failed - No such file or directory\n")
    assert run(mac, "hdiutil", "detach", "/dev/disk4") == gone


@pytest.mark.parametrize(
    "make",
    [
        ["diskutil eraseVolume APFS Builds disk4"],
        ["diskutil apfs create disk4 Builds"],
        ["newfs_apfs -v Builds /dev/disk4", "diskutil mount Builds"],
    ],
)
def test_the_other_ways_to_make_a_volume_end_the_same(mac, make):
    mac.attach_stranger()
    for command in make:
        assert run(mac, *command.split())[0] == 0
    assert mac.mounted() == [str(mac.volumes_root / "Builds")]


def test_info_lists_device_container_and_volume_of_one_image(mac):
    mac.attach_stranger(volume="Builds")
    image = plistlib.loads(run(mac, "hdiutil", "info", "-plist")[1].encode())["images"][0]
    assert image["image-path"] == "ram://16384"
    assert [one["dev-entry"] for one in image["system-entities"]] == [
        "/dev/disk4",
        "/dev/disk5",
        "/dev/disk5s1",
    ]
    assert image["system-entities"][2]["mount-point"] == str(mac.volumes_root / "Builds")


def test_a_taken_name_gives_a_number(mac):
    (mac.volumes_root / "Builds").mkdir()
    mac.attach_stranger(volume="Builds")
    assert mac.mounted() == [str(mac.volumes_root / "Builds 1")]


def test_info_about_a_plain_directory_answers_for_the_data_volume(mac):
    (mac.volumes_root / "Plain").mkdir()
    out = run(mac, "diskutil", "info", "-plist", str(mac.volumes_root / "Plain"))[1]
    assert plistlib.loads(out.encode())["MountPoint"] == "/System/Volumes/Data"
    code, out, _ = run(mac, "diskutil", "info", "-plist", "/Volumes/SMB")
    assert code == 1
    assert plistlib.loads(out.encode())["ErrorMessage"] == "Could not find disk: /Volumes/SMB"


def test_a_held_volume_is_busy_and_diskutil_names_the_holder(mac):
    mac.attach_stranger(volume="Builds")
    with subprocess.Popen(["sleep", "30"], cwd=mac.volumes_root / "Builds") as holder:
        try:
            code, _, err = run(mac, "hdiutil", "detach", "/dev/disk4")
            assert (code, "Resource busy" in err) == (16, True)
            out = run(mac, "diskutil", "unmountDisk", "disk5")[1]
            assert f"dissented by PID {holder.pid} (" in out
        finally:
            holder.kill()


def test_an_attach_goes_on_after_its_caller_was_killed(mac):
    mac.fault("hdiutil.attach", late_s=0.3)
    with subprocess.Popen(
        ["hdiutil", "attach", "-nomount", "ram://16384"], env=mac.env, stdout=subprocess.DEVNULL
    ) as attach:
        while not mac.calls("hdiutil.attach"):
            time.sleep(0.01)
        time.sleep(0.1)
        attach.kill()
    assert mac.images() == []
    give_up_at = time.monotonic() + 5
    while not mac.images() and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert len(mac.images()) == 1


def test_closing_leaves_nothing_mounted_and_nothing_to_change(tmp_path: Path):
    with SimulatedMac(tmp_path) as mac:
        mac.attach_stranger(volume="Builds")
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert run(mac, "hdiutil", "attach", "-nomount", "ram://16384")[0] == 1


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("sysctl -n hw.memsize", 0, "274877906944\n"),
        ("sysctl kern.memorystatus_level", 0, "kern.memorystatus_level: 62\n"),
        ("sysctl -n no.such", 1, "sysctl: unknown oid 'no.such'\n"),
        ("memory_pressure -Q", 0, "System-wide memory free percentage: 62%\n"),
        ("vm_stat", 0, "Pages free:                                4518.\n"),
        ("sw_vers -productVersion", 0, "26.6\n"),
        ("launchctl managername", 0, "Aqua\n"),
        ("launchctl print gui/501/x", 113, 'Could not find service "x" in domain for gui/501\n'),
        ("diskutil mount -mountPoint /x disk5s1", 1, "not privileged (0xf8da0009)"),
        ("diskutil apfs createContainer disk9", 1, "Error: -69808"),
    ],
)
def test_each_tool_answers_in_its_own_words(mac, command, code, said):
    exit_code, out, err = run(mac, *command.split())
    assert exit_code == code
    assert said in out + err


def test_launchctl_remembers_what_was_loaded(mac):
    run(mac, "launchctl", "bootstrap", "gui/501", "/Users/opta/x.plist")
    assert "state = not running" in run(mac, "launchctl", "print", "gui/501/x")[1]
    run(mac, "launchctl", "bootout", "gui/501/x")
    assert run(mac, "launchctl", "print", "gui/501/x")[0] == 113


def test_measurements_can_be_changed(mac):
    mac.set_sysctl("kern.memorystatus_vm_pressure_level", "4")
    mac.set_vm_pages(Swapouts=12)
    assert run(mac, "sysctl", "-n", "kern.memorystatus_vm_pressure_level")[1] == "4\n"
    assert run(mac, "vm_stat")[1].endswith("           12.\n")
