"""The keeper of one job: runs its build, writes down what it prints, and how it ends."""

import fcntl
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import IO

from forge.core.remote_frames import DATA_BYTES, FrameType, encode
from forge.serve.ending import end_session
from forge.serve.jobs import read_json, write_json
from forge.serve.slots import take_slot

MAX_OUTPUT_BYTES = 256 << 20
"""Output beyond that is thrown away; the build goes on."""

_POLL_S = 0.5


def main() -> int:
    """Keep the job whose directory is given."""
    place = sys.argv[1]
    lock = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    about = read_json(os.path.join(place, "job.json"))
    assert about, "the job was written before its keeper was started"
    while (slot := take_slot(about["key_dir"], about["max_builds"])) is None:
        time.sleep(_POLL_S)
    process = subprocess.Popen(
        about["command"],
        cwd=about["cwd"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    write_json(os.path.join(place, "running.json"), {"pid": process.pid})
    with open(os.path.join(place, "output"), "ab", buffering=0) as output:
        _write_down(process, output, time.monotonic() + about["max_build_s"])
    end_session(process)
    code = process.returncode
    name = None if code >= 0 else signal.Signals(-code).name.removeprefix("SIG")
    end = {"code": code if code >= 0 else None, "signal": name}
    write_json(os.path.join(place, "end.json"), end)
    os.close(slot)
    return 0


def _write_down(process: "subprocess.Popen[bytes]", output: IO[bytes], until_s: float) -> None:
    """Write frames of what it prints, until it has ended or has taken too long."""
    assert process.stdout and process.stderr
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, FrameType.STDOUT)
        selector.register(process.stderr, selectors.EVENT_READ, FrameType.STDERR)
        written = 0
        while selector.get_map() and time.monotonic() < until_s:
            ready = selector.select(_POLL_S)
            for key, _ in ready:
                piece = os.read(key.fd, DATA_BYTES)
                if not piece:
                    selector.unregister(key.fileobj)
                elif written < MAX_OUTPUT_BYTES:
                    written += output.write(encode(key.data, piece))
            if not ready and process.poll() is not None:
                return


if __name__ == "__main__":
    sys.exit(main())
