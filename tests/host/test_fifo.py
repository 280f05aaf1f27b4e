import os
import shutil
import subprocess

import pytest

from forge.host.fifo import Jobservers, sweep


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
    jobservers.adopt("b1", path)
    assert jobservers.tokens("b1") == 2
    os.close(cargo)


def test_the_fifo_of_an_earlier_build_is_never_a_new_builds(tmp_path, jobservers):
    path = str(tmp_path / "b1.jobs")
    jobservers.make("b1", path, 5)
    earlier = os.open(path, os.O_RDWR)
    jobservers.close()
    jobservers.make("b1", path, 2)
    assert jobservers.tokens("b1") == 2
    os.read(earlier, 5)
    assert jobservers.tokens("b1") == 2, "the earlier build takes from its own"
    os.close(earlier)


def test_making_and_adopting_again_let_go_of_what_was_open(tmp_path, jobservers):
    path = str(tmp_path / "b1.jobs")
    jobservers.make("b1", path, 1)
    before = len(os.listdir("/dev/fd"))
    jobservers.adopt("b1", path)
    assert jobservers.tokens("b1") == 1
    jobservers.make("b1", path, 1)
    assert len(os.listdir("/dev/fd")) == before


def test_only_a_fifo_that_is_there_is_adopted(tmp_path, jobservers):
    with pytest.raises(FileNotFoundError):
        jobservers.adopt("b1", str(tmp_path / "none.jobs"))
    (tmp_path / "file.jobs").write_text("+++")
    with pytest.raises(OSError, match="not a FIFO"):
        jobservers.adopt("b1", str(tmp_path / "file.jobs"))
    os.mkfifo(tmp_path / "real.jobs")
    (tmp_path / "link.jobs").symlink_to("real.jobs")
    with pytest.raises(OSError, match="symbolic links"):
        jobservers.adopt("b1", str(tmp_path / "link.jobs"))
    assert jobservers.tokens("b1") is None


def test_more_tokens_than_a_fifo_holds_leave_none_behind(tmp_path, jobservers):
    path = tmp_path / "b1.jobs"
    with pytest.raises(OSError, match="cannot hold"):
        jobservers.make("b1", str(path), 1 << 21)
    assert not path.exists()


def test_sweeping_removes_the_fifos_that_nobody_has_open_and_nothing_else(tmp_path):
    for name in ("dead.jobs", "cargo.jobs"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("dead.jobs")
    cargo = os.open(tmp_path / "cargo.jobs", os.O_RDWR)
    os.write(cargo, b"++")
    assert sweep(str(tmp_path)) == [str(tmp_path / "dead.jobs")]
    assert sorted(os.listdir(tmp_path)) == ["cargo.jobs", "file", "link"]
    assert os.read(cargo, 9) == b"++"
    os.close(cargo)
    assert sweep(str(tmp_path / "none")) == []


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


def test_tokens_are_taken_out_and_put_in_without_ever_waiting(tmp_path, jobservers):
    jobservers.make("b1", str(tmp_path / "b1.jobs"), 3)
    assert jobservers.take("b1", 2) == 2
    assert jobservers.take("b1", 9) == 1
    assert jobservers.take("b1", 1) == 0, "an empty FIFO keeps nobody waiting"
    assert jobservers.give("b1", 2) == 2
    assert jobservers.tokens("b1") == 2
    assert (jobservers.take("b2", 1), jobservers.give("b2", 1)) == (0, 0), "it has no FIFO"
    assert (jobservers.take("b1", 0), jobservers.give("b1", 0)) == (0, 0)


def test_what_a_build_is_owed_is_in_its_fifo_when_the_daemon_lets_go(tmp_path, jobservers):
    path = tmp_path / "b1.jobs"
    jobservers.make("b1", str(path), 3)
    jobservers.take("b1", 3)
    with path.open("rb+", buffering=0) as cargo:
        jobservers.close({"b1": 2, "b9": 4})
        os.set_blocking(cargo.fileno(), False)
        assert cargo.read(9) == b"++"
