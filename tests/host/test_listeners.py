"""Who listens on a port: real sockets, and /proc as it was recorded."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from forge.host import listeners as door
from forge.host.listeners import Listener, holder_of, is_here, listening_at, pid_by_psutil

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
LINE = (
    "   0: {address}:{port:04X} {zeros}:0000 {state} 00000000:00000000 00:00000000 00000000"
    "  {uid}        0 {inode} 1 0 100 0\n"
)


def planted(tmp_path, v4=(), v6=()):
    (tmp_path / "net").mkdir(parents=True)
    for name, rows, digits in (("tcp", v4, 8), ("tcp6", v6, 32)):
        lines = [
            LINE.format(
                address=address, port=port, zeros="0" * digits, state=state, uid=uid, inode=inode
            )
            for address, port, state, uid, inode in rows
        ]
        (tmp_path / "net" / name).write_text(HEAD + "".join(lines))
    return tmp_path


LOOPBACK, ANY = "0100007F", "00000000"
LOOPBACK6, ANY6 = "00000000000000000000000001000000", "0" * 32
MAPPED = "0000000000000000FFFF00000100007F"


@pytest.mark.skipif(sys.byteorder != "little", reason="was recorded on a little-endian machine")
@pytest.mark.parametrize(
    ("host", "v4", "v6", "found"),
    [
        ("127.0.0.1", [(LOOPBACK, 8080, "0A", 1000, 7)], [], Listener("127.0.0.1", "7", 1000)),
        ("127.0.0.1", [(LOOPBACK, 8080, "01", 1000, 7)], [], None),  # it is connected
        ("127.0.0.1", [(LOOPBACK, 8081, "0A", 1000, 7)], [], None),
        ("127.0.0.1", [(ANY, 8080, "0A", 0, 8)], [], Listener("0.0.0.0", "8", 0)),
        ("127.0.0.1", [], [(ANY6, 8080, "0A", 0, 9)], Listener("::", "9", 0)),
        ("127.0.0.1", [], [(MAPPED, 8080, "0A", 0, 9)], Listener("127.0.0.1", "9", 0)),
        ("::1", [], [(LOOPBACK6, 8080, "0A", 0, 9)], Listener("::1", "9", 0)),
        (  # bound to the address goes before bound to all
            "127.0.0.1", [(ANY, 8080, "0A", 0, 8), (LOOPBACK, 8080, "0A", 1000, 7)], [],
            Listener("127.0.0.1", "7", 1000),
        ),
        ("127.0.0.2", [(LOOPBACK, 8080, "0A", 1000, 7)], [], None),
    ],
)  # fmt: skip
def test_the_kernels_table_names_who_listens(tmp_path, host, v4, v6, found):
    assert listening_at(host, 8080, planted(tmp_path, v4, v6)) == found


@pytest.mark.parametrize("table", ["", HEAD, HEAD + "garbage\n", HEAD + "   0: x 0A\n"])
def test_a_table_that_says_nothing_names_nobody(tmp_path, table):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(table)
    assert door.listeners(8080, tmp_path) == []


@on_linux
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_socket_of_ours_is_found_as_ours(family, host):
    with socket.socket(family) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            pytest.skip(f"there is no {host}")
        sock.listen()
        listener = listening_at(host, sock.getsockname()[1])
        assert listener is not None
        assert (listener.address, listener.uid) == (host, os.geteuid())
        found = holder_of(listener.inode)
        assert found is not None
        assert found[0] == os.getpid()
        assert os.readlink(found[1]) == f"socket:[{listener.inode}]"
    assert holder_of(listener.inode) is None


def test_psutil_finds_a_process_that_listens():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        assert pid_by_psutil(port) == os.getpid()
    assert pid_by_psutil(port) is None


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("192.0.2.1", False),  # kept for documentation: nobody has it
        ("no.such.host.invalid", False),
        ("", False),
    ],
)
def test_an_address_is_of_this_machine_or_not(host, here):
    assert is_here(host) is here


@on_linux
def test_a_process_that_ends_meanwhile_is_no_mishap():
    sock = socket.create_server(("127.0.0.1", 0))
    with contextlib.closing(sock):
        with subprocess.Popen(["sleep", "60"], pass_fds=[sock.fileno()]) as child:
            listener = listening_at("127.0.0.1", sock.getsockname()[1])
            child.kill()
        assert listener is not None
        assert holder_of(listener.inode) is not None
