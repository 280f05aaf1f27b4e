"""What watching services costs: `python -m tests.bench.service_watch`. Linux only.

Five real processes that answer HTTP, all well; the CPU time of the daemon is read from /proc, with
them watched and, for comparison, with none declared.
"""

import socket
import sys
import time
from pathlib import Path

from tests.bench.idle import cpu_s
from tests.bench.measure import arguments, machine, print_table, private_forge, report, timed

SERVICES = 5
SETTLE_S = 20.0
WATCH_S = 60.0
SERVER = (
    "import http.server as h, sys;"
    " h.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler)"
    ".serve_forever()"
)


def free_port() -> int:
    """Return a port of this machine that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def declarations(count: int) -> str:
    """Declare so many services."""
    text = ""
    for number in range(count):
        port = free_port()
        text += (
            f'\n[services.s{number}]\nruns = "process"\nport = {port}\n'
            f"command = {[sys.executable, '-c', SERVER, str(port)]!r}\n"
            f'ready_url = "http://127.0.0.1:{port}/"\n'
        )
    return text


def watched(count: int) -> float:
    """Return how much of a core a daemon takes that watches so many services, in percent."""
    with private_forge() as forge:
        config = Path(forge.env["FORGE_CONFIG"])
        config.write_text(config.read_text() + declarations(count))
        timed([*forge.cli, "daemon", "start"], config.parent, forge.env)
        try:
            if count:
                timed([*forge.cli, "services", "start"], config.parent, forge.env)
            time.sleep(SETTLE_S)
            pid = forge.daemon_pid()
            start, cpu = time.monotonic(), cpu_s(pid)
            time.sleep(WATCH_S)
            return 100 * (cpu_s(pid) - cpu) / (time.monotonic() - start)
        finally:
            if count:
                timed([*forge.cli, "services", "stop"], config.parent, forge.env)


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=1)
    before = machine()
    raw = [{str(count): watched(count) for count in (0, SERVICES)} for _ in range(args.rounds)]
    rows = [[f"{one['0']:.3f} %", f"{one[str(SERVICES)]:.3f} %"] for one in raw]
    print_table(["no services", f"{SERVICES} services, all well"], rows)
    report(args, before, {"service_watch": raw})


if __name__ == "__main__":
    main()
