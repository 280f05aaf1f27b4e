"""A remote build as a person at a terminal has it."""

import contextlib
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

from tests.scenarios.conftest import HELD_BUILD_SCRIPT, is_gone, package, wait_until
from tests.scenarios.remote_pair import Pair, pair
from tests.scenarios.terminal import Terminal

__all__ = ["pair"]

ASKS = """
use std::io::{BufRead, IsTerminal};
fn main() {
    println!("terminals: {} {}", std::io::stdin().is_terminal(), std::io::stdout().is_terminal());
    println!("pid {}!", std::process::id());
    let line = std::io::stdin().lock().lines().next().unwrap().unwrap();
    println!("got <{line}>");
    std::thread::sleep(std::time::Duration::from_secs(100));
}
"""


@contextlib.contextmanager
def terminal(pair: Pair, *words: str, cwd: Path) -> Iterator[Terminal]:
    made = Terminal([*pair.client.cli, *words], cwd=cwd, env=pair.env, columns=100)
    try:
        yield made
    finally:
        made.close()


def test_run_has_a_terminal_there_and_ctrl_c_ends_it(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "asks", main=ASKS)
    with terminal(pair, "run", "--on", "studio", cwd=project) as here:
        before = termios.tcgetattr(here.fd)
        here.expect(b"terminals: true true", within_s=60)
        here.expect(b"pid ")
        pid = int(here.expect(b"!"))
        here.type("hello\r")
        here.expect(b"got <hello>")
        here.type("\x03")
        assert here.wait() in (130, -signal.SIGINT)
        assert termios.tcgetattr(here.fd) == before
    wait_until(lambda: is_gone(pid))


def test_a_build_has_colours_and_the_progress_bar(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "held", build=HELD_BUILD_SCRIPT)
    (project / "hold").touch()
    with terminal(pair, "build", "--on", "studio", cwd=project) as here:
        here.expect(b"\x1b[1m", within_s=60)
        here.expect(b"Building", within_s=60)
        here.type("\x03")
        assert here.wait() in (130, -signal.SIGINT)
    assert not (project / "target" / "debug" / "tiny").exists()
