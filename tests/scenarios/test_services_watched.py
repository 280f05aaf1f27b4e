"""`opta-status --watch` at a real terminal: tmux tells what a person sees."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.cli.conftest import env, place  # noqa: F401  # fixtures

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")


class Terminal:
    """A terminal of 150 columns with a shell in it."""

    def __init__(self, env: dict[str, str], socket: str) -> None:  # noqa: F811
        self._tmux = ["tmux", "-L", socket, "-f", "/dev/null"]
        self._env = {**env, "TERM": "xterm-256color"}
        self._run("new-session", "-d", "-x", "150", "-y", "12", "sh")

    def type(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def see(self, wanted: Callable[[str], bool], what: str) -> str:
        until = time.monotonic() + 30
        while not wanted(seen := self._run("capture-pane", "-p")):
            assert time.monotonic() < until, f"{what} is not to be seen in:\n{seen}"
            time.sleep(0.1)
        return seen

    def close(self) -> None:
        self._run("kill-server")

    def _run(self, *words: str) -> str:
        return subprocess.run(
            [*self._tmux, *words], env=self._env, check=True, capture_output=True, text=True
        ).stdout


@pytest.fixture
def terminal(env):  # noqa: F811
    one = Terminal(env, f"forge-{os.getpid()}")
    yield one
    one.close()


def test_a_table_changes_in_place_until_ctrl_c(terminal, env, place):  # noqa: F811
    (place / "home").mkdir()
    (place / "forge.toml").write_text(
        '[services.engine]\nruns = "process"\ncommand = ["sleep", "600"]\nmemory = "64MiB"\n'
        '[services.broken]\nruns = "process"\ncommand = ["no-such"]\n'
    )
    forge = [sys.executable, "-P", "-m", "forge.cli.main", "services"]
    terminal.type(f"{shlex.join([*forge, 'status', '--watch'])}; echo code $?", "Enter")
    terminal.see(lambda seen: seen.count("down") == 2, "that both are down")
    assert subprocess.run([*forge, "start", "engine"], env=env, capture_output=True).returncode == 0
    try:
        subprocess.run([*forge, "start", "broken"], env=env, capture_output=True)
        seen = terminal.see(lambda seen: " well " in seen and "no-such" in seen, "what has changed")
        assert seen.count("last error") == 1  # drawn over what was there
        assert "of 64 MiB" in seen
        assert "ago: `broken`: there is no no-such" in " ".join(seen.split())
        terminal.type("C-c")
        terminal.see(lambda seen: "code 130" in seen, "the shell again")
    finally:
        subprocess.run([*forge, "stop"], env=env, check=True, capture_output=True)
