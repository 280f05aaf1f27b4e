"""The process of a server on Linux: real processes that listen and map files, and recorded ones."""

import contextlib
import mmap
import os
import socket
import subprocess
import sys
import time

import pytest

from forge.core.inference_seen import MappedModel
from forge.host.http_get import Address
from forge.host.mapped_models import mapped_models
from forge.host.processes import Process
from forge.host.server_processes import Holder, open_server_processes
from forge.host.server_processes_linux import LinuxServerProcesses

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 1 << 20
NOBODY = 65534
SERVER = """
import mmap, socket, sys, time
sock = socket.create_server(("127.0.0.1", 0))
if sys.argv[1] != "-":
    file = open(sys.argv[1], "rb")
    model = mmap.mmap(file.fileno(), int(sys.argv[2]), mmap.MAP_SHARED, mmap.PROT_READ)
    total = sum(model[at] for at in range(0, len(model), 4096))
print(sock.getsockname()[1], flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def listening(model="-", mapped_bytes=0, *words, env=None):
    command = [sys.executable, "-c", SERVER, str(model), str(mapped_bytes), *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    ) as child:
        assert child.stdout
        try:
            yield child, Address("127.0.0.1", int(child.stdout.readline()), "", False)
        finally:
            child.kill()


def model_file(tmp_path, size_bytes=4 * MIB, name="model.gguf"):
    path = tmp_path / name
    path.write_bytes(bytes(size_bytes))
    return path


def find(address):
    found = LinuxServerProcesses().find(address)
    assert isinstance(found, Holder), found
    return found


def look(address, models=(), *, deep=True):
    door = LinuxServerProcesses()
    return door.measure(find(address), models, deep=deep)


def test_this_platforms_door_is_this_one():
    assert isinstance(open_server_processes(), LinuxServerProcesses)


def test_a_server_is_found_by_its_port_with_its_words_and_its_place():
    env = {"LLAMA_ARG_CTX_SIZE": "512", "LLAMA_API_KEY": "s3cret"}
    with listening("-", 0, "--api-key", "s3cret", "-c", "1024", env=env) as (child, address):
        holder = find(address)
        assert (holder.process.pid, holder.directory) == (child.pid, os.getcwd())
        assert holder.env == {"LLAMA_ARG_CTX_SIZE": "512"}  # and no key
        assert abs(holder.started_s - time.time()) < 60
        seen = look(address, deep=False)
        assert seen.argv[-4:] == ("--api-key", "…", "-c", "1024")
        assert "s3cret" not in repr(seen)


def test_a_server_holds_its_port_until_it_ends():
    door = LinuxServerProcesses()
    with listening() as (child, address):
        holder = find(address)
        assert door.still_holds(holder)
        other = Holder(Process(child.pid, holder.process.started + 1), 0.0, link=holder.link)
        assert not door.still_holds(other)  # its pid was another's before
        child.kill()
        child.wait()
        assert not door.still_holds(holder)
        assert door.find(address) == f"nothing here listens on port {address.port}"


def test_a_process_that_has_closed_its_socket_holds_nothing():
    door = LinuxServerProcesses()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        holder = door.find(Address("127.0.0.1", sock.getsockname()[1], "", False))
        assert isinstance(holder, Holder)
        assert door.still_holds(holder)
    assert not door.still_holds(holder)


def test_a_server_elsewhere_has_no_process_here():
    assert (
        LinuxServerProcesses().find(Address("192.0.2.1", 80, "", False))
        == "192.0.2.1 is not this machine"
    )


def test_what_a_server_has_is_read(tmp_path):
    path = model_file(tmp_path)
    with listening(path, 4 * MIB) as (child, address):
        seen = look(address)
        assert seen.pid == child.pid
        assert seen.is_deep
        assert seen.models == (MappedModel(str(path), 4 * MIB, 4 * MIB),)
        assert seen.resident_bytes > seen.anonymous_bytes > MIB
        assert (seen.locked_bytes, seen.swapped_bytes) == (0, 0)
        assert seen.major_faults >= 0
        assert seen.read_bytes >= 0


def test_a_cheap_look_leaves_models_and_refaults_out(tmp_path):
    with listening(model_file(tmp_path), 4 * MIB) as (_, address):
        seen = look(address, deep=False)
        assert (seen.is_deep, seen.models, seen.refaults) == (False, (), None)
        assert seen.resident_bytes > MIB
        assert seen.missing == ()


def test_only_what_is_mapped_of_a_model_counts(tmp_path):
    path = model_file(tmp_path, 8 * MIB)
    with listening(path, 2 * MIB) as (_, address):
        assert look(address).models == (MappedModel(str(path), 2 * MIB, 2 * MIB),)
    with listening() as (_, address):
        assert look(address, (str(path),)).models == ()  # read into memory of its own, perhaps


def test_a_model_by_another_name_is_known_from_the_command_line(tmp_path):
    path = model_file(tmp_path, name="sha256-0123")
    with listening(path, 4 * MIB) as (_, address):
        assert look(address).models == ()
        assert look(address, (str(path),)).models == (MappedModel(str(path), 4 * MIB, 4 * MIB),)


def test_a_model_whose_file_has_vanished_is_still_counted(tmp_path):
    path = model_file(tmp_path)
    with listening(path, 4 * MIB) as (_, address):
        path.unlink()
        assert look(address).models == (MappedModel(str(path), 4 * MIB, 4 * MIB),)
        model_file(tmp_path, MIB)  # another one by that name is not what the server has
        assert look(address).models == (MappedModel(str(path), 4 * MIB, 4 * MIB),)


def test_the_process_may_end_while_it_is_looked_at():
    door = LinuxServerProcesses()
    with listening() as (child, address):
        holder = find(address)
        child.kill()
        child.wait()
        seen = door.measure(holder, (), deep=True)
        assert (seen.resident_bytes, seen.read_bytes, seen.models) == (None, None, ())
        assert seen.missing


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_process_that_is_not_ours_to_inspect_is_said():
    with listening() as (_, address):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setresuid(NOBODY, NOBODY, NOBODY)
                os.write(writer, str(LinuxServerProcesses().find(address)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as told:
            assert told.read() == (
                f"port {address.port} belongs to a process of root, not ours to inspect"
            )


STATUS = (
    "Name:\tllama-server\nVmLck:\t    2048 kB\nVmRSS:\t   10240 kB\n"
    "RssAnon:\t    1024 kB\nVmSwap:\t       4 kB\n"
)


def recorded(tmp_path, **files):
    place = tmp_path / "7"
    place.mkdir()
    stat = "7 (a b) c) S 1 7 7 0 -1 0 100 0 55 0 " + "0 " * 8 + "777 0 0\n"
    for name, text in (
        {"status": STATUS, "stat": stat, "io": "read_bytes: 4096\n"} | files
    ).items():
        (place / name).write_text(text)
    return LinuxServerProcesses(tmp_path)


def test_recorded_figures_are_read(tmp_path):
    door = recorded(tmp_path)
    holder = Holder(Process(7, 777.0), 5.0, ("llama-server",))
    seen = door.measure(holder, (), deep=False)
    assert (seen.pid, seen.started_s) == (7, 5.0)
    assert (seen.resident_bytes, seen.anonymous_bytes) == (10 * MIB, MIB)
    assert (seen.locked_bytes, seen.swapped_bytes) == (2 * MIB, 4096)
    assert (seen.major_faults, seen.read_bytes) == (55, 4096)
    assert door.still_holds(holder)


def test_what_is_not_ours_to_read_is_missing(tmp_path):
    door = recorded(tmp_path)
    (tmp_path / "7" / "io").unlink()
    seen = door.measure(Holder(Process(7, 777.0), 5.0), (), deep=False)
    assert (seen.argv, seen.read_bytes) == (None, None)
    assert seen.missing == ("io: no such file or directory",)


@pytest.mark.parametrize(
    ("membership", "kind", "stat", "refaults"),
    [
        (
            "0::/ai\n", "cgroup2 cgroup2 rw",
            "workingset_refault_anon 3\nworkingset_refault_file 40", 43,
        ),
        ("0::/ai\n", "cgroup2 cgroup2 rw", "workingset_refault 12", 12),  # before Linux 5.9
        (  # in version 1 what lies below is counted apart
            "4:memory:/ai\n", "cgroup cgroup rw,memory",
            "workingset_refault_file 1\ntotal_workingset_refault_anon 2"
            "\ntotal_workingset_refault_file 9", 11,
        ),
        ("0::/ai\n", "cgroup2 cgroup2 rw", "anon 7", None),
        ("0::/\n", "cgroup2 cgroup2 rw", "workingset_refault_file 40", None),  # everybody's
        ("", "cgroup2 cgroup2 rw", "workingset_refault_file 40", None),
    ],
)  # fmt: skip
def test_refaults_are_those_of_its_cgroup(tmp_path, membership, kind, stat, refaults):
    door = recorded(tmp_path, cgroup=membership, maps="")
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text(f"30 1 0:26 / {tmp_path}/cgroup rw - {kind}\n")
    (tmp_path / "cgroup" / "ai").mkdir(parents=True)
    for place in ("cgroup", "cgroup/ai"):
        (tmp_path / place / "memory.stat").write_text(f"file 1\n{stat}\n")
    seen = door.measure(Holder(Process(7, 777.0), 5.0), (), deep=True)
    assert seen.refaults == refaults


HEAD = "{start:x}-{end:x} r--s {offset:08x} fe:00 123 {space}{path}\n"


def mapping(start, end, path, offset=0):
    return HEAD.format(start=start, end=end, offset=offset, space=" " * 20, path=path)


def test_mappings_of_one_file_are_added_up_and_others_left_alone(tmp_path):
    path = model_file(tmp_path, 4 * MIB)
    root = tmp_path / "root"
    root.symlink_to("/")
    maps = (
        "55d0-55d1 rw-p 00000000 00:00 0                          [heap]\n"
        + mapping(0x1000, 0x1000 + MIB, path)
        + mapping(0x900000, 0x900000 + MIB, path, 2 * MIB)
        + mapping(0xA00000, 0xA00000 + MIB, "/usr/lib/libc.so.6")
        + "garbage\n"
    )
    models, missing = mapped_models(str(tmp_path), maps, ())
    assert models == (MappedModel(str(path), 2 * MIB, 2 * MIB),)
    assert missing == []


def test_a_vanished_file_is_counted_in_smaps(tmp_path):
    gone = "/models/gone.gguf (deleted)"
    maps = mapping(0x1000, 0x1000 + MIB, gone)
    (tmp_path / "smaps").write_text(
        mapping(0x900000, 0x900000 + MIB, "/usr/lib/libc.so.6") + "Rss:   900 kB\n"
        + maps + "Size:   1024 kB\nRss:    512 kB\nVmFlags: rd sh\n"
        + "7000-8000 rw-p 00000000 00:00 0\nRss:   4 kB\n"
    )  # fmt: skip
    models, missing = mapped_models(str(tmp_path), maps, ())
    assert models == (MappedModel("/models/gone.gguf", MIB, 512 * 1024),)
    assert missing == []


def test_a_file_that_cannot_be_looked_at_in_any_way_is_missing(tmp_path):
    models, missing = mapped_models(str(tmp_path), mapping(0x1000, 0x2000, "/m/x.gguf"), ())
    assert models == (MappedModel("/m/x.gguf", mmap.PAGESIZE, None),)
    assert missing == [f"/m/x.gguf: {tmp_path}/smaps: no such file or directory"]
