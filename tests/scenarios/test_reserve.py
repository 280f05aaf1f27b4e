"""Real cargo inside `forge reserve`, which holds every core: builds live on what it holds."""

import os
from pathlib import Path

import pytest

from tests.scenarios.conftest import PrivateForge, package, wait_until

pytestmark = pytest.mark.real_cargo

TESTS = "#[test] fn holds() {}\nfn main() {}\n"
EVERY_CORE = "9999"


@pytest.mark.parametrize("launcher", ["native", "python"])
@pytest.mark.parametrize("verb", ["build", "test"])
def test_a_build_inside_a_command_that_holds_all_cores_goes_on(
    forge: PrivateForge, tmp_path: Path, verb: str
) -> None:
    root = package(tmp_path / "p", main=TESTS)
    inner = [*forge.cli, verb]
    reserve = ["reserve", "--memory", "64MiB", "--cores", EVERY_CORE, "--"]
    done = forge.run(*reserve, *inner, cwd=root)
    assert done.returncode == 0, done.stderr
    (granted,) = forge.decisions("reserve.granted")
    assert granted["cores"] == forge.status()["cores"]
    (ended,) = wait_until(lambda: forge.decisions("build.ended"))
    assert (ended["exit"], ended["units"] >= 1, ended["links"] >= 1) == (0, True, True)
    wait_until(lambda: forge.status()["budget"]["running_cores"] == 0)


def test_a_build_beside_it_waits_for_its_cores_and_says_so(
    forge: PrivateForge, tmp_path: Path
) -> None:
    root = package(tmp_path / "p")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    holder = forge.start(
        "reserve", "--cores", EVERY_CORE, "--", "sh", "-c", f"read line < {gate}", cwd=root
    )
    wait_until(lambda: forge.decisions("reserve.granted"))
    build = forge.start("build", cwd=root)

    def waits() -> str | None:
        builds = forge.status()["builds"]
        return builds[0]["unit_wait"] if builds else None

    assert str(wait_until(waits)).startswith("waiting for a core: ")
    gate.write_text("go\n")
    assert holder.wait(30) == 0
    stderr = build.communicate(timeout=60)[1]
    assert build.returncode == 0, stderr
