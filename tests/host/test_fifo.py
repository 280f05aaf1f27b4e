import os
import shutil
import subprocess

import pytest

from forge.host.fifo import Jobservers


@pytest.fixture
def jobservers():
    made = Jobservers()
    yield made
    made.close()


def test_a_new_fifo_holds_its_tokens_and_is_private(tmp_path, jobservers):
    path = tmp_path / "jobs" / "b1.jobs"
    jobservers.make("b1", str(path), 3)
    assert jobservers.tokens("b1") == 3
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_one_that_is_there_is_opened_with_the_tokens_that_it_has(tmp_path, jobservers):
    path = str(tmp_path / "b1.jobs")
    jobservers.make("b1", path, 3)
    cargo = os.open(path, os.O_RDWR)
    os.read(cargo, 1)
    jobservers.close()  # the daemon dies; cargo has it open
    jobservers.make("b1", path, 3)
    assert jobservers.tokens("b1") == 2
    os.close(cargo)


def test_removing_leaves_those_who_have_it_open_alone(tmp_path, jobservers):
    path = tmp_path / "b1.jobs"
    jobservers.make("b1", str(path), 1)
    cargo = os.open(path, os.O_RDWR)
    jobservers.remove("b1")
    assert not path.exists()
    assert os.read(cargo, 1) == b"+"
    os.write(cargo, b"+")
    os.close(cargo)
    jobservers.remove("b1")


def test_no_token_means_no_byte(tmp_path, jobservers):
    jobservers.make("b1", str(tmp_path / "b1.jobs"), 0)
    assert jobservers.tokens("b1") == 0


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
def test_real_make_takes_and_returns_its_tokens(tmp_path, jobservers):
    path = tmp_path / "b1.jobs"
    jobservers.make("b1", str(path), 3)
    (tmp_path / "Makefile").write_text("all: a b c d\na b c d:\n\t@sleep 0.1; echo $@\n")
    ends = [os.open(path, os.O_RDWR) for _ in range(2)]
    pair = ",".join(map(str, ends))
    flags = f"-j --jobserver-fds={pair} --jobserver-auth={pair}"
    done = subprocess.run(
        ["make"], cwd=tmp_path, env={**os.environ, "MAKEFLAGS": flags}, pass_fds=ends,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    for end in ends:
        os.close(end)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["a", "b", "c", "d"]
    assert jobservers.tokens("b1") == 3
