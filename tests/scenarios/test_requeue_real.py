"""Builds that are ended for memory and go on later: real cargo, the real daemon.

Memory is made tight by a low water of all memory but a little: more than is ever available.
"""

from pathlib import Path

import pytest

from forge.core.units import MIB
from tests.scenarios.conftest import (
    HELD_BUILD_SCRIPT,
    HeldPackage,
    PrivateForge,
    forge_lines,
    freshness,
    is_gone,
    package,
    wait_until,
)

pytestmark = pytest.mark.real_cargo

CALM_MIB = 1


@pytest.fixture(params=["native", "python"])
def launcher(request: pytest.FixtureRequest) -> str:
    """Both launchers go on alike."""
    return str(request.param)


@pytest.fixture
def young(tmp_path: Path) -> HeldPackage:
    """A project of which one crate is compiled when another one is held."""
    root = package(
        tmp_path / "young",
        build=HELD_BUILD_SCRIPT,
        manifest='[build-dependencies]\nbase = { path = "base" }\n',
    )
    (root / "base" / "src").mkdir(parents=True)
    (root / "base" / "Cargo.toml").write_text(
        '[package]\nname = "base"\nversion = "0.1.0"\nedition = "2021"\n'
    )
    (root / "base" / "src" / "lib.rs").write_text("pub fn base() {}\n")
    (root / "hold").touch()
    return HeldPackage(root)


def make_tight(forge: PrivateForge) -> None:
    set_low_water(forge, forge.status()["memory"]["total_bytes"] // MIB - 1)


def set_low_water(forge: PrivateForge, size_mib: int) -> None:
    config = Path(forge.env["FORGE_CONFIG"])
    text = config.read_text().partition("[host]")[0]
    config.write_text(f'{text}[host]\nlow_water = "{size_mib} MiB"\n')
    assert forge.ask({"type": "reload"})["type"] == "ok"


def phase_of(forge: PrivateForge, project: Path) -> str | None:
    builds = [one for one in forge.status()["builds"] if one["root"] == str(project)]
    return builds[0]["phase"] if builds else None


def test_the_youngest_build_is_ended_waits_goes_on_and_all_is_fresh(
    forge: PrivateForge, held: HeldPackage, young: HeldPackage
) -> None:
    older = forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    younger = forge.start("build", cwd=young.root)
    wait_until(young.has_begun)
    (first,) = (one for one in forge.status()["builds"] if one["root"] == str(young.root))
    make_tight(forge)
    wait_until(lambda: phase_of(forge, young.root) == "waiting in line", 60)
    assert is_gone(first["cargo_pid"])
    (second,) = (one for one in forge.status()["builds"] if one["root"] == str(young.root))
    assert second["wait"].startswith("waiting for memory: it is short, and 1 at work")
    assert phase_of(forge, held.root) == "running", "the last one at work goes on"
    young.let_go()
    set_low_water(forge, CALM_MIB)
    _, stderr = younger.communicate(timeout=120)
    assert younger.returncode == 0, stderr
    said = stderr.splitlines()
    ended = said.index("forge: memory is short: this build is ended and goes on later")
    assert sum("Compiling base" in line for line in said) == 1, "what was compiled stays"
    assert any("Compiling base" in line for line in said[:ended])
    assert "Finished" in said[-1]
    held.let_go()
    assert older.wait(60) == 0
    again = forge.run("build", "--message-format=json", cwd=young.root)
    assert set(freshness(again.stdout).values()) == {True}
    history = forge.ask({"type": "history", "root": str(young.root)})["builds"]
    ours = [(one["id"], one["again"], one["requeued"], one["exit"]) for one in history[1:]]
    assert ours == [(second["id"], first["id"], False, 0), (first["id"], None, True, None)]


def test_a_build_that_waits_to_go_on_can_be_cancelled(
    forge: PrivateForge, held: HeldPackage, young: HeldPackage
) -> None:
    forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    younger = forge.start("build", cwd=young.root)
    wait_until(young.has_begun)
    make_tight(forge)
    wait_until(lambda: phase_of(forge, young.root) == "waiting in line", 60)
    (second,) = (one for one in forge.status()["builds"] if one["root"] == str(young.root))
    forge.ask({"type": "cancel_build", "build": second["id"]})
    _, stderr = younger.communicate(timeout=60)
    assert younger.returncode == 130
    assert forge_lines(stderr)[-1] == f"forge: {second['id']} was cancelled by `forge cancel`"
