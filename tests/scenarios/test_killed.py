"""Linkers and compilers that the kernel kills for memory: real cargo, daemon and cgroup.

The linker is a stand-in. The first time it goes into a cgroup of little memory and takes more than
there is; after that it is the real one.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import PrivateForge, forge_lines, freshness, package
from tests.scenarios.fake_forged import program
from tests.scenarios.tight_cgroup import tight_cgroup

pytestmark = [
    pytest.mark.real_cargo,
    pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's"),
]

MIB = 1024 * 1024
LIMIT_MIB = 96
EATS = "held = []\nwhile True: held.append(b'x' * 1048576)\n"
STAND_IN = """#!/bin/sh
if ! mkdir "{done}" 2>/dev/null; then exec {real} "$@"; fi
{first}
"""
IS_KILLED = 'echo $$ > "{cgroup}/cgroup.procs"; exec {python} -I -S "{eater}"'
ITS_CHILD_IS_KILLED = '(echo 0 > "{cgroup}/cgroup.procs"; exec {python} -I -S "{eater}"); exit 1'
A_PERSON_KILLS = "kill -9 $$"


@pytest.fixture(params=["native", "python"])
def launcher(request: pytest.FixtureRequest) -> str:
    """Both launchers say it alike."""
    return str(request.param)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    with tight_cgroup(LIMIT_MIB * MIB) as directory:
        yield directory


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose linker is the stand-in, under the real one's name."""
    root = package(tmp_path / "tiny")
    linker = tmp_path / "bin" / "cc"
    (root / ".cargo").mkdir()
    (root / ".cargo" / "config.toml").write_text(f"[target.'cfg(all())']\nlinker = \"{linker}\"\n")
    (tmp_path / "eater.py").write_text(EATS)
    return root


def link_first_by(project: Path, first: str, cgroup: Path) -> None:
    place = project.parent
    words = {"cgroup": cgroup, "python": sys.executable, "eater": place / "eater.py"}
    text = STAND_IN.format(
        done=place / "done", real=shutil.which("cc"), first=first.format(**words)
    )
    program(place / "bin" / "cc", text)


def killed(history: dict[str, object]) -> list[dict[str, object]]:
    builds = history["builds"]
    assert isinstance(builds, list)
    return [one for one in builds if one["killed_for_memory"]]


@pytest.mark.parametrize("first", [IS_KILLED, ITS_CHILD_IS_KILLED], ids=["itself", "below"])
def test_a_linker_that_is_killed_for_memory_is_named_and_the_build_runs_once_more(
    forge: PrivateForge, project: Path, cgroup: Path, first: str
) -> None:
    link_first_by(project, first, cgroup)
    done = forge.run("build", cwd=project)
    assert done.returncode == 0, done.stderr
    (line,) = forge_lines(done.stderr)
    assert line.startswith("forge: the linker of tiny was killed for memory: it had reached ")
    assert line.endswith(" was available; the build runs once more and books more")
    failed, _, after = done.stderr.partition(line)
    assert "could not compile `tiny`" in failed, "it comes behind cargo's own words"
    assert "Finished" in after
    again = forge.run("build", "--message-format=json", cwd=project)
    assert set(freshness(again.stdout).values()) == {True}
    (record,) = killed(forge.ask({"type": "history"}))
    assert record["killed_for_memory"] == ["linker of tiny"]
    (decision,) = forge.decisions("link.killed")
    assert decision["needs"] >= 1.4 * decision["reached"] > 0


def test_where_it_is_not_to_run_again_it_is_told_and_fails_as_cargo_does(
    forge: PrivateForge, project: Path, cgroup: Path
) -> None:
    link_first_by(project, IS_KILLED, cgroup)
    done = forge.run("build", cwd=project, env={"FORGE_RERUN": "0"})
    assert done.returncode == 101
    said = done.stderr.splitlines()
    assert said[-1].startswith("forge: the linker of tiny was killed for memory: it had reached ")
    assert said[-1].endswith(" was available")
    assert len(killed(forge.ask({"type": "history"}))) == 1


def test_a_linker_that_a_person_killed_was_not_killed_for_memory(
    forge: PrivateForge, project: Path
) -> None:
    link_first_by(project, A_PERSON_KILLS, Path("/"))
    done = forge.run("build", cwd=project)
    assert (done.returncode, forge_lines(done.stderr)) == (101, [])
    assert "could not compile `tiny`" in done.stderr
    assert killed(forge.ask({"type": "history"})) == []


def test_a_rustc_that_is_killed_for_memory_is_named_as_one(
    forge: PrivateForge, project: Path, cgroup: Path
) -> None:
    link_first_by(project, "", cgroup)
    (project.parent / "done").mkdir()
    rustc = (
        'case "$*" in *--crate-name\\ tiny*) ;; *) exec "$@" ;; esac\n'
        f'if mkdir "{project.parent}/rustc-done" 2>/dev/null; then\n'
        + IS_KILLED.format(cgroup=cgroup, python=sys.executable, eater=project.parent / "eater.py")
        + '\nfi\nexec "$@"\n'
    )
    wrapper = program(project.parent / "wrapper", f"#!/bin/sh\n{rustc}")
    done = forge.run("build", cwd=project, env={"RUSTC_WRAPPER": str(wrapper)})
    assert done.returncode == 0, done.stderr
    (line,) = forge_lines(done.stderr)
    assert line.startswith("forge: the rustc of tiny was killed for memory: it had reached ")
