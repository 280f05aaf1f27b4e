"""The whole daemon with the Darwin doors, against the simulated macOS."""

import os
import signal

import pytest

from forge.core.bloat import KEEP_STEP_BYTES
from forge.core.checkup import disk_row
from forge.errors import DaemonRefused
from tests.daemon.harness import RealDaemon
from tests.macos.fixtures import simulated_mac

__all__ = ["simulated_mac"]

SECTORS_OF_64_GIB = 134217728


@pytest.fixture
def mac_daemon(simulated_mac):
    real = RealDaemon(
        config='[disk]\nsize = "64GiB"\n[host]\nmemory = "256GiB"\n', **simulated_mac.env
    )
    try:
        yield real
    finally:
        real.close()


def disk(daemon, verb, **more):
    connection = daemon.connect()
    try:
        return connection.ask({"type": "disk", "verb": verb, **more}, patience_s=30)
    finally:
        connection.close()


def build(daemon, project):
    connection = daemon.connect()
    return connection, daemon.begin(connection, project, "build")


def test_a_build_mounts_64_gib_and_lands_on_it(simulated_mac, mac_daemon, project):
    mac_daemon.start()
    connection, go = build(mac_daemon, project)
    (image,) = simulated_mac.images()
    assert image["path"] == f"ram://{SECTORS_OF_64_GIB}"
    assert go["target_dir"].startswith(f"{simulated_mac.volumes_root}/OptaBuilds/")
    assert os.path.isdir(go["target_dir"])
    status = mac_daemon.status()
    assert (status["disk"]["kind"], status["disk"]["size_mib"]) == ("apfs", 64 * 1024)
    assert status["disk"]["caveats"], "what it does not guarantee is said"
    rows = {row["key"]: row["size_mib"] // 1024 for row in status["memory_map"]["rows"]}
    assert rows["linker_buffer"] == 51
    connection.close()


def test_after_a_kill_the_disk_is_adopted_and_not_made_again(simulated_mac, mac_daemon, project):
    first = mac_daemon.start()
    connection, go = build(mac_daemon, project)
    marker = os.path.join(go["target_dir"], "kept")
    with open(marker, "w"):
        pass
    os.kill(first, signal.SIGKILL)
    mac_daemon.processes[0].wait(10)
    connection.close()
    mac_daemon.start()
    assert disk(mac_daemon, "mount")["disk"]["adopted"]
    assert os.path.exists(marker)
    assert len(simulated_mac.images()) == 1


def test_a_name_that_is_taken_leaves_builds_on_the_ssd(simulated_mac, mac_daemon, project):
    simulated_mac.attach_stranger(volume="OptaBuilds")
    mac_daemon.start()
    connection, go = build(mac_daemon, project)
    assert go["target_dir"] is None
    assert "no RAM disk" in go["notes"][0]
    with pytest.raises(DaemonRefused) as caught:
        disk(mac_daemon, "mount")
    assert caught.value.refusal == "disk-taken"
    connection.close()


def test_a_busy_disk_stays_and_its_holder_is_named(simulated_mac, mac_daemon):
    mac_daemon.start()
    disk(mac_daemon, "mount")
    simulated_mac.fault("hdiutil.detach", busy=(47781, "/usr/bin/tail"), times=None)
    simulated_mac.fault("diskutil.unmountDisk", busy=(47781, "/usr/bin/tail"), times=None)
    with pytest.raises(DaemonRefused, match="47781") as caught:
        disk(mac_daemon, "unmount")
    assert caught.value.refusal == "disk-busy"
    simulated_mac.clear_faults()
    assert disk(mac_daemon, "unmount")["line"] == "the RAM disk is unmounted"
    assert simulated_mac.images() == []


def test_a_slow_diskutil_holds_up_the_disk_and_nothing_else(simulated_mac, mac_daemon, project):
    simulated_mac.fault("diskutil.createContainer", delay_s=3.0, times=1)
    mac_daemon.start()
    connection = mac_daemon.connect()
    connection.send(
        {"type": "begin", "pid": os.getpid(), "cwd": str(project), "argv": ["build"], "env": {}}
    )
    heard = [connection.receive(2.0)]
    while heard[-1]["type"] == "wait":
        assert mac_daemon.status()["pid"], "the daemon answers others meanwhile"
        heard.append(connection.receive(2.0))
    assert heard[-1]["type"] == "go"
    assert heard[-1]["target_dir"]
    assert len(heard) >= 3, "it said each second what it waits for"
    connection.close()


def test_recreate_gives_a_new_and_empty_disk(simulated_mac, mac_daemon, project):
    mac_daemon.start()
    connection, go = build(mac_daemon, project)
    with pytest.raises(DaemonRefused, match="used by 1 build"):
        disk(mac_daemon, "recreate")
    disk(mac_daemon, "recreate", force=True)
    assert not os.path.exists(go["target_dir"])
    assert len(simulated_mac.images()) == 1
    connection.close()


def test_a_disk_that_vanishes_between_builds_is_made_anew(simulated_mac, mac_daemon, project):
    mac_daemon.start()
    connection, first = build(mac_daemon, project)
    simulated_mac.vanish(simulated_mac.images()[0]["disk"])
    assert "the RAM disk is gone" in connection.receive(10)["line"]
    connection.close()
    connection, second = build(mac_daemon, project)
    assert second["target_dir"] == first["target_dir"]
    assert os.path.isdir(second["target_dir"])
    connection.close()


def test_a_disk_is_not_resized_on_macos_and_the_way_out_is_said(mac_daemon):
    mac_daemon.start()
    disk(mac_daemon, "mount")
    with pytest.raises(DaemonRefused) as caught:
        disk(mac_daemon, "resize", size_mib=1024)
    assert caught.value.refusal == "resize-refused"
    assert "recreate" in (caught.value.hint or "")


@pytest.mark.parametrize(("how", "kind"), [("wired", "apfs-wired"), ("refused", "apfs")])
def test_the_wired_disk_is_had_or_the_ordinary_one_with_the_reason(simulated_mac, how, kind):
    simulated_mac.keep_in_kernel(how)
    real = RealDaemon(
        config='[disk]\nkind = "apfs-wired"\nsize = "1GiB"\n[host]\nmemory = "256GiB"\n',
        **simulated_mac.env,
    )
    try:
        real.start()
        report = disk(real, "mount")["disk"]
        assert report["kind"] == kind
        said = [one for one in report["caveats"] if "Operation not permitted" in one]
        assert len(said) == (0 if how == "wired" else 1)
        row = disk_row(report)
        assert ("its memory is wired" in row.finding) is (how == "wired")
        assert ("pageable" in row.finding) is (how == "refused")
    finally:
        real.close()


def test_the_most_that_the_disk_held_is_told_by_the_next_daemon_as_well(
    simulated_mac, mac_daemon, project
):
    mac_daemon.start()
    connection, go = build(mac_daemon, project)  # while it is there, the disk is looked at often
    large = os.path.join(go["target_dir"], "large")
    with open(large, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 600 << 20)

    def high_water_mib():
        return mac_daemon.status()["disk"]["high_water_bytes"] >> 20

    mac_daemon.wait_for(lambda: high_water_mib() >= 600, "what it holds", timeout_s=25)
    os.unlink(large)
    connection.close()
    process = mac_daemon.processes[-1]
    process.terminate()
    process.wait(20)
    mac_daemon.start()
    mac_daemon.wait_for(lambda: mac_daemon.status()["disk"]["phase"] == "mounted", "the disk")
    assert high_water_mib() >= 600 - KEEP_STEP_BYTES // 2**20, "it is written down in steps"
    assert mac_daemon.status()["disk"]["used_bytes"] < 100 << 20
