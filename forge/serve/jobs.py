"""Builds that go on when their client is gone.

A job has a keeper, `python -m forge.serve.keeper`, which runs the build and writes its output, as
the frames that a client gets, into a file; whoever attaches reads that. The keeper holds a lock as
long as it runs: a job whose lock is free has ended, however that came.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from forge.core.remote_frames import Frame, FrameType
from forge.core.remote_messages import Attach, Exit, Run, Signal, Started, from_frame
from forge.core.remote_policy import KeyRules
from forge.core.remote_values import NAME
from forge.errors import ConnectionLost, NoSuchBuild, ProtocolMismatch
from forge.host.state_dir import private_dir
from forge.host.whole_files import replace_json
from forge.serve.channel import Channel

KEEPER = (sys.executable, "-E", "-P", "-m", "forge.serve.keeper")
MOST_KEPT = 50
"""Jobs that have ended are forgotten beyond that, the oldest first."""

_POLL_S = 0.1
_CHUNK_BYTES = 256 * 1024


class Jobs:
    """The jobs of one key."""

    def __init__(self, key_dir: str, rules: KeyRules) -> None:
        self._directory = os.path.join(key_dir, ".jobs")
        self._key_dir, self._rules = key_dir, rules

    def start(
        self, argv: Sequence[str], cwd: str, env: Mapping[str, str], asked: Run, root: str
    ) -> str:
        """Start a job; return its name."""
        private_dir(self._directory)
        self._forget_old()
        job = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(3).hex()}"
        place = os.path.join(self._directory, job)
        os.mkdir(place, 0o700)
        about = {
            "job": job,
            "project": os.path.relpath(root, self._key_dir).split(os.sep)[0],
            "root": root,
            "argv": asked.argv,
            "began_at": time.time(),
            "command": list(argv),
            "cwd": cwd,
            "columns": asked.columns,
            "max_build_s": self._rules.max_build_s,
            "max_builds": self._rules.max_builds,
            "key_dir": self._key_dir,
        }
        write_json(os.path.join(place, "job.json"), about)
        with open(os.path.join(place, "output"), "xb"):
            pass
        subprocess.Popen(
            [*KEEPER, place],
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return job

    def listed(self) -> list[dict[str, Any]]:
        """Return what is known of each job, newest first."""
        return [self._shown(job) for job in self._names()]

    def attach(self, channel: Channel, asked: Attach) -> None:
        """Follow a job that is there. Raises NoSuchBuild."""
        if asked.job not in self._names():
            raise NoSuchBuild(f"`{self._rules.name}` has no job `{asked.job}`")
        self.follow(channel, asked.job, None, asked.offset)

    def follow(self, channel: Channel, job: str, target_dir: str | None, offset: int = 0) -> None:
        """Send a job's output and end; the client may leave at any time, and it goes on."""
        place = os.path.join(self._directory, job)
        channel.send(Started(job=job, target_dir=target_dir))
        with open(os.path.join(place, "output"), "rb") as output:
            output.seek(offset)
            while True:
                ended = read_json(os.path.join(place, "end.json"))
                is_over = ended is not None or not _is_kept(place)
                self._send_rest(channel, output.fileno())
                if is_over:
                    break
                channel.wait((), time.monotonic() + _POLL_S)
                for frame in channel.taken():
                    self._steer(place, frame)
                if channel.is_at_end:
                    raise ConnectionLost("the client is gone; the job goes on")
        channel.send(Exit(**ended) if ended else Exit(signal="KILL"))

    @staticmethod
    def _send_rest(channel: Channel, output: int) -> None:
        while chunk := os.read(output, _CHUNK_BYTES):
            channel.send_bytes(chunk)  # whole frames in the end: the keeper wrote them
            channel.flush_some()

    def _steer(self, place: str, frame: Frame) -> None:
        if frame.type is FrameType.WINDOW:
            return
        message = from_frame(frame) if frame.type is FrameType.SIGNAL else None
        if not isinstance(message, Signal):
            raise ProtocolMismatch(f"{frame.type.name} came while a job is followed")
        running = read_json(os.path.join(place, "running.json"))
        if running and _is_kept(place):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(running["pid"]), signal.Signals[f"SIG{message.name}"])

    def _names(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(filter(NAME.fullmatch, os.listdir(self._directory)), reverse=True)
        return []

    def _shown(self, job: str) -> dict[str, Any]:
        place = os.path.join(self._directory, job)
        about = read_json(os.path.join(place, "job.json")) or {}
        ended = read_json(os.path.join(place, "end.json")) or {}
        return {
            "job": job,
            "project": about.get("project"),
            "argv": about.get("argv", [])[:40],
            "began_at": about.get("began_at"),
            "is_running": not ended and _is_kept(place),
            "code": ended.get("code"),
            "signal": ended.get("signal"),
        }

    def _forget_old(self) -> None:
        ended = [job for job in self._names() if not _is_kept(os.path.join(self._directory, job))]
        for job in ended[MOST_KEPT - 1 :]:
            shutil.rmtree(os.path.join(self._directory, job), ignore_errors=True)


def _is_kept(place: str) -> bool:
    """Say whether a job's keeper lives; one that was just started counts."""
    descriptor = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    began = os.stat(os.path.join(place, "output")).st_ctime
    return not os.path.exists(os.path.join(place, "running.json")) and time.time() - began < 10


def read_json(path: str) -> dict[str, Any] | None:
    """Return an object of ours; None when there is none."""
    try:
        with open(path, encoding="ascii") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_json(path: str, what: Mapping[str, Any]) -> None:
    """Write an object, whole or not at all."""
    replace_json(path, what)
