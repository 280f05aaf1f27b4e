"""A machine with the wrapper in PATH before a cargo that tells what reached it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.scenarios.fake_forged import FakeForged, bare_env, built_shim, program

# What reached cargo, byte for byte.
CARGO = f"""#!{sys.executable} -IS
import json, os, sys
with open(os.environ["SEEN"], "a") as seen:
    json.dump({{"argv": sys.argv[1:], "env": dict(os.environ), "pid": os.getpid(),
               "ppid": os.getppid(), "pgid": os.getpgrp(),
               "cargo": sys.argv[0], "fds": sorted(os.listdir("/dev/fd"))}}, seen)
    seen.write("\\n")
sys.exit(int(os.environ.get("CODE", "0")))
"""


class Machine:
    """A home, a cargo, the wrapper before it in PATH, and perhaps a daemon."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = home / "state"
        self.state.mkdir(mode=0o700)
        self.cargo = program(home / "real" / "cargo", CARGO)
        self.seen_file = home / "seen"
        self.env = bare_env(home, built_shim().bin_dir, self.cargo.parent, "/usr/bin", "/bin")
        self.env["SEEN"] = str(self.seen_file)
        self.daemon = FakeForged(self.state)

    def run(self, *argv: str | bytes, **changes: Any) -> subprocess.CompletedProcess[bytes]:
        env = {**self.env, **changes.pop("env", {})}
        started = changes.pop("as_", built_shim().cargo)
        return subprocess.run(
            [started, *argv],
            env=env,
            timeout=60,
            **{"capture_output": True, "cwd": self.home, **changes},
        )

    @property
    def seen(self) -> list[dict[str, Any]]:
        if not self.seen_file.exists():
            return []
        return [json.loads(line) for line in self.seen_file.read_text().splitlines()]
