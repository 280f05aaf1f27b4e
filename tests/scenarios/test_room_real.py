"""Builds for which the RAM disk has no room: real cargo, the real daemon, a small tmpfs."""

import json
import os
from pathlib import Path

import pytest

from tests.scenarios.conftest import (
    PrivateForge,
    forge_lines,
    may_mount,
    package,
    wait_until,
)

pytestmark = [
    pytest.mark.real_cargo,
    pytest.mark.privileged,
    pytest.mark.skipif(not may_mount(), reason="mounting a tmpfs needs CAP_SYS_ADMIN"),
]

MIB = 1 << 20
DISK = "320MiB"

WRITES = """
use std::io::Write;
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let place = std::path::Path::new(&std::env::var("OUT_DIR").unwrap()).join("big");
    let mut file = std::fs::File::create(place).unwrap();
    let block = vec![7u8; 1 << 20];
    for _ in 0..SIZE {
        file.write_all(&block).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(PAUSE));
    }
}
"""
"""A build script that writes SIZE MiB, PAUSE ms each."""


def project(home: Path, size_mib: int, pause_ms: int) -> Path:
    script = WRITES.replace("SIZE", str(size_mib)).replace("PAUSE", str(pause_ms))
    return package(home, build=script)


@pytest.fixture
def small(forge: PrivateForge) -> PrivateForge:
    """A disk that is soon full and must not grow."""
    forge.configure(size=DISK, kind="tmpfs")
    config = Path(forge.env["FORGE_CONFIG"])
    config.write_text(config.read_text().replace("[disk]", "[disk]\ngrow = false"))
    return forge


def decisions(forge: PrivateForge) -> list[str]:
    log = (forge.state_dir / "forged.log").read_text().splitlines()
    return [json.loads(line)["decision"] for line in log]


def spilled(forge: PrivateForge) -> list[str]:
    return [one["path"] for one in forge.status()["spilled"]]


@pytest.mark.parametrize("native", ["1", "0"])
def test_a_build_that_would_fill_the_disk_goes_on_on_the_ssd(
    small: PrivateForge, tmp_path: Path, native: str
) -> None:
    app = project(tmp_path / "app", 400, 5)
    small.env["FORGE_NATIVE"] = native
    done = small.run("build", cwd=app)
    assert done.returncode == 0, done.stderr
    assert "free: this build is ended and goes on on the SSD" in done.stderr
    (place,) = spilled(small)
    assert Path(place, "debug").is_dir()
    assert not list(small.mount_point.glob("app-*")), "its room is free again"
    assert "No space left" not in done.stderr
    told = [line for line in forge_lines(done.stderr) if "building on the SSD" in line]
    assert len(told) == 1
    again = small.run("build", "-v", cwd=app)
    assert "Fresh tiny" in again.stderr
    assert "building on the SSD" not in again.stderr, "said once"
    assert small.run("target", "clean", cwd=app).returncode == 0
    assert not Path(place).exists()


def test_one_that_is_too_fast_for_us_fails_of_the_full_disk_and_runs_again_elsewhere(
    small: PrivateForge, tmp_path: Path
) -> None:
    app = project(tmp_path / "app", 400, 0)
    done = small.run("build", cwd=app)
    assert done.returncode == 0, done.stderr
    assert "goes on on the SSD" in done.stderr
    assert len(spilled(small)) == 1


def test_a_link_that_finds_no_room_is_run_again_elsewhere(
    small: PrivateForge, tmp_path: Path
) -> None:
    app = package(tmp_path / "app")
    with (app / "big").open("wb") as file:
        for _ in range(130):
            file.write(os.urandom(MIB))
    (app / "src" / "main.rs").write_text(
        'static BIG: &[u8] = include_bytes!("../big");\nfn main() { println!("{}", BIG.len()) }\n'
    )
    done = small.run("build", cwd=app)
    assert done.returncode == 0, done.stderr
    assert len(spilled(small)) == 1
    assert {"build.ran_out", "build.spilled"} & set(decisions(small))


def test_what_was_moved_is_fresh_there_and_comes_back_fresh_when_there_is_room(
    small: PrivateForge, tmp_path: Path
) -> None:
    app, other = project(tmp_path / "app", 120, 0), project(tmp_path / "other", 200, 0)
    assert small.run("build", cwd=app).returncode == 0
    assert small.run("target", "pin", cwd=app).returncode == 0
    assert small.run("build", cwd=other).returncode == 0
    (place,) = spilled(small)
    assert Path(place).name.startswith("other-")
    assert small.run("target", "unpin", cwd=app).returncode == 0
    assert small.run("target", "clean", cwd=app).returncode == 0
    back = small.run("build", "-v", cwd=other)
    assert back.returncode == 0, back.stderr
    assert "Fresh tiny" in back.stderr
    assert "Compiling" not in back.stderr
    assert spilled(small) == []
    assert not Path(place).exists()
    assert small.target_dir(other).is_dir()


def test_an_idle_target_dir_goes_before_a_build_has_to(small: PrivateForge, tmp_path: Path) -> None:
    idle, app = project(tmp_path / "idle", 140, 0), project(tmp_path / "app", 140, 10)
    assert small.run("build", cwd=idle).returncode == 0
    wait_until(lambda: all(one["size_bytes"] for one in small.status()["target_dirs"]))
    done = small.run("build", cwd=app)
    assert done.returncode == 0, done.stderr
    assert spilled(small) == []
    assert [path.name.rpartition("-")[0] for path in small.mount_point.glob("[!.]*")] == ["app"]
    assert "target.evicted" in decisions(small)
