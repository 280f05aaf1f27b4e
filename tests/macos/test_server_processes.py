"""The process of a server on macOS: on recorded answers everywhere, on the real kernel on a Mac."""

import ctypes
import errno
import os
import socket
import sys

import psutil
import pytest

from forge.core.inference_seen import MappedModel
from forge.host.http_get import Address
from forge.host.mach import VmStatistics
from forge.host.processes import Process
from forge.host.rusage import LibprocRusage, RusageInfo
from forge.host.server_processes import Holder, open_server_processes
from forge.host.server_processes_darwin import DarwinServerProcesses

PAGE = 16384
GIB = 1 << 30
HERE = Address("127.0.0.1", 8080, "", False)
ARGV = ("llama-server", "-m", "model.gguf", "--api-key", "s3cret")
on_a_mac = pytest.mark.skipif(sys.platform != "darwin", reason="asks the kernel of macOS")


class RecordedRusage:
    def __init__(self, failure=None, **told):
        self.info = RusageInfo(**told)
        self.failure = failure

    def ask(self, pid):
        if self.failure:
            raise OSError(self.failure, os.strerror(self.failure))
        return bytes(self.info)


class RecordedKernel:
    def __init__(self, wired_pages=None):
        self.wired_pages = wired_pages

    def sysctl(self, name):
        raise AssertionError(f"{name} is not asked for")

    def vm_statistics(self):
        if self.wired_pages is None:
            raise OSError(errno.EIO, "no answer")
        return bytes(VmStatistics(wire_count=self.wired_pages))


class RecordedProcess:
    def __init__(self, started_s=50.0, argv=ARGV, env=None, failure=None):
        self.started_s, self.argv, self.env, self.failure = started_s, argv, env, failure

    def create_time(self):
        if self.failure:
            raise self.failure
        return self.started_s

    def cmdline(self):
        return list(self.argv)

    def environ(self):
        if self.env is None:
            raise psutil.AccessDenied(7)
        return self.env

    def cwd(self):
        return "/opt/models"


class RecordedTable:
    def __init__(self, process=None, pid=7):
        self.recorded, self.pid = process, pid

    def listener(self, port):
        return self.pid if self.recorded and port == 8080 else None

    def process(self, pid):
        if self.recorded is None or pid != self.pid:
            raise psutil.NoSuchProcess(pid)
        return self.recorded


def door(rusage=None, wired_pages=1000, process=None):
    return DarwinServerProcesses(
        rusage or RecordedRusage(), RecordedKernel(wired_pages), RecordedTable(process), PAGE
    )


def holder(argv=ARGV):
    return Holder(Process(7, 50.0), 50.0, argv, "/opt/models")


def test_the_layout_is_that_of_the_header():
    assert RusageInfo.phys_footprint.offset == 16 + 7 * 8
    assert RusageInfo.diskio_bytesread.offset == 16 + 16 * 8
    assert ctypes.sizeof(RusageInfo) == 160


def test_a_process_of_ours_is_found_by_its_port():
    env = {"LLAMA_ARG_PORT": "8080", "LLAMA_API_KEY": "s3cret", "HOME": "/"}
    found = door(process=RecordedProcess(env=env)).find(HERE)
    assert found == Holder(Process(7, 50.0), 50.0, ARGV, "/opt/models", {"LLAMA_ARG_PORT": "8080"})


def test_an_environment_that_is_protected_is_done_without():
    found = door(process=RecordedProcess()).find(HERE)
    assert isinstance(found, Holder)
    assert found.env == {}


@pytest.mark.parametrize(
    ("address", "process", "says"),
    [
        (HERE, None, "no process of ours listens on port 8080"),
        (Address("192.0.2.1", 8080, "", False), RecordedProcess(), "192.0.2.1 is not this machine"),
        (HERE, RecordedProcess(failure=psutil.AccessDenied(7)), "process 7: "),
    ],
)
def test_a_process_that_cannot_be_found_is_said(address, process, says):
    found = door(process=process).find(address)
    assert isinstance(found, str)
    assert found.startswith(says)


@pytest.mark.parametrize(
    ("process", "holds"),
    [(RecordedProcess(), True), (RecordedProcess(51.0), False), (None, False)],
)
def test_a_process_holds_its_port_while_it_lives(process, holds):
    assert door(process=process).still_holds(holder()) is holds


def test_the_footprint_counts_and_not_what_is_resident():
    rusage = RecordedRusage(
        phys_footprint=90 * GIB, resident_size=2 * GIB, wired_size=GIB, pageins=9,
        diskio_bytesread=78 * GIB,
    )  # fmt: skip
    seen = door(rusage).measure(holder(), (), deep=True)
    assert (seen.pid, seen.started_s) == (7, 50.0)
    assert (seen.footprint_bytes, seen.resident_bytes) == (90 * GIB, 2 * GIB)
    assert (seen.locked_bytes, seen.system_wired_bytes) == (GIB, 1000 * PAGE)
    assert (seen.major_faults, seen.read_bytes) == (9, 78 * GIB)
    assert seen.argv == (*ARGV[:4], "…")
    assert seen.missing == ()


def test_a_cheap_look_leaves_the_wired_pages_of_the_system_out():
    assert door().measure(holder(), (), deep=False).system_wired_bytes is None


def test_what_the_kernel_does_not_tell_is_missing():
    seen = door(RecordedRusage(errno.EPERM), wired_pages=None).measure(holder(), (), deep=True)
    assert (seen.footprint_bytes, seen.system_wired_bytes) == (None, None)
    assert seen.missing == ("footprint: operation not permitted", "wired pages: no answer")


@pytest.mark.parametrize(
    ("argv", "is_mapped"),
    [
        (ARGV, True),
        ((*ARGV, "--load-mode", "mmap+mlock"), True),
        ((*ARGV, "--load-mode", "none"), False),
        ((*ARGV, "-lm", "mlock"), False),
        ((*ARGV, "--no-mmap"), False),
    ],
)
def test_a_models_file_counts_unless_it_is_not_mapped(tmp_path, argv, is_mapped):
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(70000))
    seen = door().measure(holder(argv), (str(path),), deep=True)
    assert seen.models == ((MappedModel(str(path), 70000, 70000),) if is_mapped else ())
    assert door().measure(holder(argv), (str(path),), deep=False).models == ()


def test_a_models_file_that_has_vanished_is_missing(tmp_path):
    seen = door().measure(holder(), (str(tmp_path / "gone.gguf"),), deep=True)
    assert seen.models == ()
    assert seen.missing[0].endswith("no such file or directory")


@pytest.mark.skipif(sys.platform == "darwin", reason="there the call is there")
def test_elsewhere_there_is_no_such_call():
    with pytest.raises(OSError, match="not macOS"):
        LibprocRusage().ask(os.getpid())


@on_a_mac
def test_this_macs_kernel_tells_of_us():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        here = open_server_processes()
        found = here.find(Address("127.0.0.1", sock.getsockname()[1], "", False))
        assert isinstance(found, Holder)
        seen = here.measure(found, (), deep=False)
    assert seen.pid == os.getpid()
    assert seen.footprint_bytes is not None and seen.footprint_bytes > 1 << 20
    assert seen.missing == ()
