"""The two launchers, with a cargo that is a script and a daemon that is a fake."""

import subprocess
from pathlib import Path

from tests.scenarios.conftest import FORGE
from tests.scenarios.fake_forged import built_shim, go
from tests.scenarios.one_machine import Machine
from tests.scenarios.terminal import Terminal

WAIT = {"type": "wait", "reason": "waiting for memory", "since_s": 0}


class Launcher(Machine):
    """One of the two launchers, its cargo and its daemon."""

    def __init__(self, home: Path, kind: str) -> None:
        super().__init__(home)
        self.env |= {"FORGE_NATIVE": "0", "FORGE_REAL_CARGO": str(self.cargo)}
        self.kind = kind
        self.command = [str(built_shim().forge)] if kind == "native" else list(FORGE)

    def start(self, *argv: str, **options) -> "subprocess.Popen[bytes]":
        env = {**self.env, **options.pop("env", {})}
        command = [*self.command, *argv]
        return subprocess.Popen(command, env=env, cwd=self.home, stderr=subprocess.PIPE, **options)

    def go(self, *argv: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        """Run to the end; return the exit code and what was said."""
        process = self.start(*argv, env=env or {}, stdin=subprocess.DEVNULL)
        stderr = process.communicate(timeout=60)[1]
        return process.returncode, stderr.decode()

    def on_terminal(self, *argv: str, columns: int = 80) -> Terminal:
        return Terminal([*self.command, *argv], cwd=self.home, env=self.env, columns=columns)

    def answers(self, *answers) -> None:
        self.daemon.script["begin"] = lambda begin: [
            go(begin) if one == "go" else one for one in answers
        ]
