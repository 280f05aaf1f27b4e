"""How many gate requests the daemon handles on one core, with many connections open.

    python -m tests.bench.gate_requests [--connections 500] [--units 20000]

A request is a whole unit: connect, `unit`, `go`, `unit_ended`, close. The client is not what is
measured: requests per second are counted against the daemon's own CPU time, from /proc.
"""

import argparse
import json
import os
import selectors
import socket
import time

from tests.daemon.harness import RealDaemon

UNIT = (
    json.dumps(
        {
            "v": 1, "type": "unit", "build": "b1", "pid": 1, "crate": "serde_derive",
            "kinds": ["proc-macro"], "links": True, "opt": "0", "debug": "2", "lto": None,
            "codegen_units": 256, "target": None, "incremental": False,
            "emit": ["dep-info", "link"], "metadata": "0123456789abcdef",
        }
    ).encode()
    + b"\n"
)  # fmt: skip
ENDED = (
    b'{"type":"unit_ended","exit":0,"wall_s":1.25,"user_s":1.0,"system_s":0.1,"peak_kib":81920}\n'
)


def cpu_s(pid: int) -> float:
    """Return user and system time of a process so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--units", type=int, default=20000)
    given = parser.parse_args()
    daemon = RealDaemon()
    try:
        pid = daemon.start()
        idle = [daemon.raw() for _ in range(given.connections)]
        for sock in idle:  # units that run and hold their connection
            sock.sendall(UNIT)
        for sock in idle:
            sock.recv(4096)
        path = str(daemon.home / "state" / "forged.sock")
        latencies = []
        before_cpu, before = cpu_s(pid), time.monotonic()
        for _ in range(given.units):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                asked = time.perf_counter()
                sock.connect(path)
                sock.sendall(UNIT)
                sock.recv(4096)
                latencies.append(time.perf_counter() - asked)
                sock.sendall(ENDED)
        used_s, wall_s = cpu_s(pid) - before_cpu, time.monotonic() - before
        burst_ms = burst(path)
        latencies.sort()
        print(
            "| open connections | units | units/s of wall | units/s of daemon CPU | median | p99 |"
        )
        print("| --- | --- | --- | --- | --- | --- |")
        print(
            f"| {given.connections} | {given.units} | {given.units / wall_s:.0f} |"
            f" {given.units / used_s:.0f} | {latencies[len(latencies) // 2] * 1000:.2f} ms |"
            f" {latencies[len(latencies) * 99 // 100] * 1000:.2f} ms |"
        )
        print(f"\n32 units that ask at once: the last has its answer after {burst_ms:.1f} ms")
        for sock in idle:
            sock.close()
    finally:
        daemon.close()


def burst(path: str, count: int = 32) -> float:
    """Let `count` units ask at once; return the time until all have their answer, in ms."""
    socks = []
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        socks.append(sock)
    with selectors.DefaultSelector() as selector:
        before = time.perf_counter()
        for sock in socks:
            sock.sendall(UNIT)
            selector.register(sock, selectors.EVENT_READ)
        waiting = set(socks)
        while waiting:
            for key, _ in selector.select():
                sock = key.fileobj  # type: ignore[assignment]
                sock.recv(4096)
                selector.unregister(sock)
                waiting.discard(sock)
    took_ms = (time.perf_counter() - before) * 1000
    for sock in socks:
        sock.close()
    return took_ms


if __name__ == "__main__":
    main()
