"""The Linux door on the machine that the tests run on; as root with cgroups of our own."""

import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge.core.units import MIB
from forge.host import cgroups
from forge.host.memory_linux import LinuxMemory
from forge.host.small_files import read_text
from forge.host.stalls import StallTrigger

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PATIENCE_S = 30.0
LIMIT_MIB = 96
JOIN = """
import sys
with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
    procs.write("0")
"""
READ = """
from forge.host.memory_linux import LinuxMemory
memory = LinuxMemory()
for _ in sys.stdin:
    reading = memory.read(0.0)
    binding = reading.binding
    name = binding.name if binding else None
    print(reading.total_bytes, reading.available_bytes, name, flush=True)
"""
TAKE = """
import os
from forge.host.memory_linux import LinuxMemory
place, mib = sys.argv[2], int(sys.argv[3])
memory = LinuxMemory()
before = memory.read(0.0, [os.path.dirname(place)])
descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL)
try:
    for _ in range(mib):
        os.write(descriptor, bytes(1 << 20))
    os.fsync(descriptor)
    for _ in range(3):
        os.lseek(descriptor, 0, os.SEEK_SET)
        while os.read(descriptor, 1 << 20):
            pass
    after = memory.read(0.0, [os.path.dirname(place)])
finally:
    os.unlink(place)
fell = [before.available_bytes - after.available_bytes]
for one, other in zip(before.limits, after.limits, strict=True):
    fell.append(one.headroom_bytes - other.headroom_bytes)
print(*fell)
"""
INTO_NAMESPACE = """
import os
script = 'mount -t cgroup -o memory none "$1" && exec "$2" -c "$3"'
os.execvp("unshare", ["unshare", "--cgroup", "--mount", "sh", "-c", script, "sh", *sys.argv[2:]])
"""
THRASH = """
import mmap, os, random
with open(sys.argv[2], "xb+") as file:
    os.unlink(sys.argv[2])
    for _ in range(2 * int(sys.argv[3])):
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        while True:
            pages[random.randrange(len(pages))]
"""


def our_memory_hierarchy():
    found = cgroups.find(read_text("/proc/self/cgroup"), read_text("/proc/self/mountinfo"))
    return found.memory


@contextlib.contextmanager
def own_cgroup():
    """Make a cgroup with a memory limit for a child, and remove it whatever happens."""
    if os.geteuid() != 0:
        pytest.skip("makes a cgroup, which needs root")
    hierarchy = our_memory_hierarchy()
    if hierarchy is None:
        pytest.skip("no cgroup here limits memory")
    place = Path(hierarchy.directories[-1]) / f"forge-test-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        if not (place / LIMIT_FILE[hierarchy.version]).exists():
            pytest.skip("cgroups below the root have no memory controller here")
        yield place, place / LIMIT_FILE[hierarchy.version]
    finally:
        remove(place)


LIMIT_FILE = {cgroups.V1: "memory.limit_in_bytes", cgroups.V2: "memory.max"}


def remove(place):
    for inner in [one for one in place.iterdir() if one.is_dir()]:
        remove(inner)
    deadline = time.monotonic() + PATIENCE_S
    while place.exists() and time.monotonic() < deadline:
        try:
            place.rmdir()
        except OSError:
            time.sleep(0.05)  # a child that was killed is still on its way out
    assert not place.exists()


def command(place, program, *arguments):
    """Return what runs a program within the cgroup."""
    return [sys.executable, "-c", JOIN + program, str(place), *arguments]


def test_this_machine_is_read_and_agrees_with_itself():
    reading = LinuxMemory().read(time.monotonic())
    assert reading.machine_total_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < reading.available_bytes <= reading.machine_available_bytes
    assert reading.available_bytes < reading.total_bytes <= reading.machine_total_bytes


def test_a_reading_is_cheap():
    memory = LinuxMemory()
    start = time.perf_counter()
    for _ in range(200):
        memory.read(0.0)
    assert (time.perf_counter() - start) / 200 < 0.01, "it is a fraction of a millisecond"


def test_nothing_is_started_and_no_psutil_is_loaded_for_a_reading():
    code = (
        "import sys; from forge.host.memory_linux import LinuxMemory; LinuxMemory().read(0.0);"
        "print(*{'psutil', 'subprocess'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (loaded.stdout, loaded.returncode) == ("\n", 0)


@pytest.mark.privileged
def test_the_limit_of_a_real_cgroup_is_seen_and_followed_while_it_changes():
    with own_cgroup() as (place, limit):
        limit.write_text(str(LIMIT_MIB * MIB))
        child = subprocess.Popen(
            command(place, READ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            for mib in (LIMIT_MIB, 2 * LIMIT_MIB, LIMIT_MIB):
                limit.write_text(str(mib * MIB))
                assert child.stdin and child.stdout
                child.stdin.write("\n")
                child.stdin.flush()
                total, available, name = child.stdout.readline().split()
                assert (int(total), name) == (mib * MIB, limit.name)
                assert (mib - 60) * MIB < int(available) < mib * MIB, "Python itself takes some"
        finally:
            child.kill()
            child.communicate()


@pytest.mark.privileged
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare(1)")
def test_a_limit_above_a_real_namespace_is_seen_though_its_cgroup_is_not(tmp_path):
    with own_cgroup() as (place, limit):
        if limit.name != LIMIT_FILE[cgroups.V1]:
            pytest.skip("version 2 does not tell of limits above a namespace")
        limit.write_text(str(LIMIT_MIB * MIB))
        (place / "in").mkdir()
        reader = "import sys" + READ
        into = command(place / "in", INTO_NAMESPACE, str(tmp_path), sys.executable, reader)
        done = subprocess.run(into, input="\n", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        total, _, name = done.stdout.split()
        assert (int(total), name) == (LIMIT_MIB * MIB, "hierarchical_memory_limit")


@pytest.mark.privileged
@pytest.mark.parametrize(
    ("directory", "takes"),
    [
        ("/dev/shm", True),  # a tmpfs is memory in use
        (None, False),  # page cache can be dropped, the active part too
    ],
)
def test_a_tmpfs_takes_from_what_is_available_and_page_cache_does_not(tmp_path, directory, takes):
    filesystem = directory or str(tmp_path)
    if (kind_of(filesystem) == "tmpfs") is not takes:
        pytest.skip(f"{filesystem} is on {kind_of(filesystem)}")
    with own_cgroup() as (place, limit):
        limit.write_text(str(LIMIT_MIB * MIB))
        file = Path(filesystem) / f"forge-test-{os.getpid()}"
        done = subprocess.run(command(place, TAKE, str(file), "32"), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        fell_mib = int(done.stdout.split()[0]) / MIB
        assert (24 < fell_mib < 44) if takes else fell_mib < 12


def kind_of(filesystem):
    told = ["stat", "-f", "-c", "%T", str(filesystem)]
    return subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()


def pressure_file():
    path = "/proc/pressure/memory"
    if not os.access(path, os.R_OK):
        pytest.skip("this kernel does not count stalls")
    return path


def test_a_trigger_is_registered_or_the_reason_is_said():
    trigger = StallTrigger(pressure_file())
    try:
        assert (trigger.descriptor is None) is (trigger.reason is not None)
        if trigger.descriptor is not None:
            poller = select.epoll()
            poller.register(trigger.descriptor, select.EPOLLPRI)
            poller.poll(0)
            poller.close()
    finally:
        trigger.close()
        trigger.close()
    assert trigger.descriptor is None


@pytest.mark.privileged
def test_a_trigger_tells_of_a_cgroup_that_has_too_little(tmp_path):
    if kind_of(tmp_path) == "tmpfs":
        pytest.skip(f"{tmp_path} is on a tmpfs, which is not paged in again")
    trigger = StallTrigger(pressure_file(), stall_us=10_000, window_us=2_000_000)
    if trigger.descriptor is None:
        pytest.skip(str(trigger.reason))
    with own_cgroup() as (place, limit), select.epoll() as poller:
        limit.write_text(str(LIMIT_MIB // 2 * MIB))
        poller.register(trigger.descriptor, select.EPOLLPRI)
        child = subprocess.Popen(
            command(place, THRASH, str(tmp_path / "pages"), str(LIMIT_MIB // 2))
        )
        try:
            assert poller.poll(PATIENCE_S) == [(trigger.descriptor, select.EPOLLPRI)]
            assert child.poll() is None
        finally:
            child.kill()
            child.wait()
            trigger.close()


@pytest.mark.parametrize("name", ["gone", "plain/gone"])
def test_without_the_file_there_is_no_trigger(tmp_path, name):
    trigger = StallTrigger(str(tmp_path / name))
    assert trigger.descriptor is None
    assert trigger.reason == f"{tmp_path}/{name}: this kernel does not count stalls here"


@pytest.mark.skipif(
    [int(part) for part in re.findall(r"\d+", os.uname().release)[:2]] < [6, 5],
    reason="older kernels keep triggers for those with CAP_SYS_RESOURCE",
)
def test_without_privileges_a_window_is_taken_in_whole_steps_of_two_seconds():
    path = pressure_file()
    if not os.access(path, os.W_OK):
        pytest.skip(f"{path} may not be written here")
    trigger = StallTrigger(path, stall_us=100_000, window_us=2_500_000)
    assert trigger.reason is None
    assert trigger.window_us in (2_500_000, 4_000_000)
    trigger.close()


def test_a_line_that_no_window_makes_right_is_refused_with_the_reason():
    trigger = StallTrigger(pressure_file(), stall_us=0, window_us=2_000_000)
    assert trigger.descriptor is None
    assert trigger.reason
    assert "/proc/pressure/memory: " in trigger.reason
