"""How much memory a tree of processes holds, with real processes."""

import os
import subprocess
import sys

import pytest

from forge.host.process_memory import tree_bytes
from forge.host.rusage import RusageInfo

MIB = 1024**2
HOLDS = "import sys; held = bytearray(b'x' * (48 << 20)); print('up', flush=True); sys.stdin.read()"
MAPS = (
    "import mmap, sys; file = open(sys.argv[1], 'rb');"
    "seen = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); sum(seen[::4096]);"
    "print('up', flush=True); sys.stdin.read()"
)
SHELL = "import subprocess, sys; subprocess.call([sys.executable, '-c', sys.argv[1]])"


class Counts:
    """Stands for the kernel of macOS."""

    def __init__(self, footprint_bytes: int) -> None:
        self._bytes = bytes(RusageInfo(phys_footprint=footprint_bytes))

    def ask(self, pid: int) -> bytes:
        return self._bytes


class Mute:
    def ask(self, pid: int) -> bytes:
        raise PermissionError(1, "not yours")


@pytest.fixture
def started():
    """Start Python with code, and wait until it says that it is up; it ends with the test."""
    made: list[subprocess.Popen[str]] = []

    def start(*words: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        made.append(process)
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process.pid

    yield start
    for process in made:
        process.communicate()


@pytest.mark.parametrize("words", [(HOLDS,), (SHELL, HOLDS)])
def test_what_a_process_and_those_below_it_hold_counts(started, words):
    assert (tree_bytes(started(*words), {}) or 0) > 48 * MIB


def test_of_a_mapped_model_counts_what_was_read(started, tmp_path):
    (tmp_path / "model").write_bytes(bytes(64 * MIB))
    assert (tree_bytes(started(MAPS, str(tmp_path / "model")), {}) or 0) > 64 * MIB


def test_on_macos_memory_of_the_gpu_counts(started):
    pid, mac = started(HOLDS), {"FORGE_PLATFORM": "darwin"}
    assert tree_bytes(pid, mac, Counts(900 * MIB)) == 900 * MIB
    assert (tree_bytes(pid, mac, Counts(0)) or 0) > 48 * MIB  # pages of files are in no footprint
    assert (tree_bytes(pid, mac, Mute()) or 0) > 48 * MIB


def test_a_process_that_is_gone_holds_nothing_that_can_be_told():
    process = subprocess.Popen(["true"])
    process.wait()
    assert tree_bytes(process.pid, os.environ) is None
