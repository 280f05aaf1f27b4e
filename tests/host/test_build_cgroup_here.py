"""The cgroup of builds in real cgroups, with real swap: as root on Linux."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge.core.units import MIB
from forge.host.build_cgroup_linux import LinuxBuildCgroups
from forge.host.cgroups import V1, V2
from tests.host.test_memory_here import PATIENCE_S, command, kind_of, own_cgroup

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(sys.platform != "linux", reason="cgroups are of Linux"),
]

LIMIT_MIB, SWAP_MIB, BUILD_MIB, HOG_MIB = 160, 96, 40, 110
OPEN = """
from pathlib import Path
from forge.host.build_cgroup_linux import LinuxBuildCgroups
door = LinuxBuildCgroups(Path(sys.argv[2]))
print(door.open().directory, flush=True)
sys.stdin.read()
door.close()
"""
TOUCH = """
import mmap
mib = int(sys.argv[2])
pages = mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for offset in range(0, mib << 20, 4096):
    pages[offset] = 1 + offset // 4096 % 255
print("touched", flush=True)
sys.stdin.read()
"""
WRITE = """
file = open(sys.argv[2], "xb")
for _ in range(int(sys.argv[3])):
    file.write(bytes(1 << 20))
"""


@contextlib.contextmanager
def running(place, program, *arguments):
    """Run a program within a cgroup; its first line comes with it."""
    child = subprocess.Popen(
        command(place, program, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout
        yield child, child.stdout.readline().strip()
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=PATIENCE_S)
        child.kill()
        child.wait()


@contextlib.contextmanager
def real_swap(directory):
    """Give the machine a small swap file for a while."""
    if shutil.which("mkswap") is None or shutil.which("swapon") is None:
        pytest.skip("needs mkswap and swapon")
    if kind_of(directory) == "tmpfs":
        pytest.skip(f"{directory} is on a tmpfs, which cannot hold swap")
    file = directory / "swap"
    with file.open("xb") as out:
        file.chmod(0o600)
        for _ in range(SWAP_MIB):
            out.write(bytes(1 << 20))
        os.fsync(out.fileno())
    subprocess.run(["mkswap", str(file)], check=True, capture_output=True)
    on = subprocess.run(["swapon", str(file)], capture_output=True, text=True)
    try:
        if on.returncode:
            pytest.skip(f"no swap can be had here: {on.stderr.strip()}")
        yield
    finally:
        if not on.returncode:
            subprocess.run(["swapoff", str(file)], check=True)
        file.unlink()


def swapped_kib(process):
    found = re.search(r"VmSwap:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    assert found
    return int(found[1])


def test_under_pressure_a_neighbour_is_swapped_out_and_a_build_is_not(tmp_path):
    with contextlib.ExitStack() as stack:
        place, limit = stack.enter_context(own_cgroup())
        stack.enter_context(real_swap(tmp_path))
        limit.write_text(str(LIMIT_MIB * MIB))
        (place / "control").mkdir()
        _, builds = stack.enter_context(running(place, OPEN, str(tmp_path)))
        assert builds.startswith(str(place))
        build, _ = stack.enter_context(running(builds, TOUCH, str(BUILD_MIB)))
        control, _ = stack.enter_context(running(place / "control", TOUCH, str(BUILD_MIB)))
        _, said = stack.enter_context(running(builds, TOUCH, str(HOG_MIB)))
        assert said == "touched", "nobody was ended"
        print(f"swapped: control {swapped_kib(control)} KiB, build {swapped_kib(build)} KiB")
        assert swapped_kib(control) > 1024
        assert swapped_kib(build) == 0
    assert not place.exists()


def test_what_is_on_a_tmpfs_stays_charged_to_builds_and_a_tight_ceiling_ends_them(tmp_path):
    file = Path("/dev/shm") / f"forge-test-{os.getpid()}"
    with own_cgroup() as (place, _), running(place, OPEN, str(tmp_path)) as (_, builds):
        version = V1 if Path(builds, "memory.usage_in_bytes").exists() else V2
        usage = Path(builds, "memory.usage_in_bytes" if version == V1 else "memory.current")
        try:
            subprocess.run(command(builds, WRITE, str(file), "32"), check=True)
            assert int(usage.read_text()) > 32 * MIB, "its writer has ended"
            ceiling_bytes = LinuxBuildCgroups(tmp_path / "none").limit(builds, version, 48 * MIB)
            file.rename(f"{file}.1")
            ended = subprocess.run(
                command(builds, WRITE, str(file), str(ceiling_bytes // MIB - 16))
            )
            assert ended.returncode == -9, "32 MiB of the first are still counted"
        finally:
            for one in (file, Path(f"{file}.1")):
                one.unlink(missing_ok=True)


def test_a_daemon_that_was_killed_leaves_an_empty_cgroup_that_the_next_one_removes(tmp_path):
    with own_cgroup() as (place, _):
        with running(place, OPEN, str(tmp_path)) as (first, left):
            first.kill()
        assert Path(left).is_dir()
        with running(place, OPEN, str(tmp_path / "another")) as (_, made):
            assert Path(made).is_dir()
            assert not Path(left).exists(), "found by its name: the note is elsewhere"
        deadline = time.monotonic() + PATIENCE_S
        while Path(made).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(made).exists(), "an orderly end removes it"
