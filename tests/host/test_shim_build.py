"""Building the shim: once, whoever asks, and again when what it is made of changes."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forge.errors import ShimUnavailable
from forge.host.shim_build import (
    MARKER,
    Shim,
    build_shim,
    find_rustc,
    shim_key,
    source_dir,
)

# A rustc that says which version it is, notes each call and writes a program.
RUSTC = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
    -vV) echo "rustc {version}"; echo "host: some-host"; exit 0;;
esac
while [ "$1" != -o ]; do shift; done
sleep {slow}
printf '#!/bin/sh\\necho shim\\n' > "$2"; chmod 755 "$2"
"""


class Toolchain:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.source = directory / "source"
        (self.source / "src").mkdir(parents=True)
        self.cache = directory / "cache"
        self.env = {"PATH": f"{directory / 'bin'}:/usr/bin:/bin", "HOME": str(directory)}
        self.write_source("fn main() {}")
        self.install()

    def install(self, version: str = "1", text: str = RUSTC, slow: float = 0) -> None:
        (self.directory / "bin").mkdir(exist_ok=True)
        rustc = self.directory / "bin" / "rustc"
        rustc.unlink(missing_ok=True)
        rustc.write_text(text.format(log=self.log, version=version, slow=slow))
        rustc.chmod(0o755)

    def write_source(self, text: str) -> None:
        (self.source / "src" / "main.rs").write_text(text)

    def build(self, **options) -> Shim:
        return build_shim(self.cache, self.env, source=self.source, **options)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    @property
    def compiles(self) -> list[str]:
        return [call for call in self.calls if "-vV" not in call]


@pytest.fixture
def toolchain(tmp_path):
    return Toolchain(tmp_path)


def test_it_is_built_once(toolchain):
    first = toolchain.build()
    second = toolchain.build()
    assert (first.built, second.built) == (True, False)
    assert first.path == second.path
    assert len(toolchain.compiles) == 1
    assert toolchain.calls.count("-vV") == 1  # not asked again either
    assert (first.host, second.host) == ("some-host", "some-host")


def test_the_directories_are_laid_out_as_symlinks_with_markers(toolchain):
    shim = toolchain.build()
    assert shim.path == toolchain.cache / "shim" / shim.key / "forge-shim"
    for name in (shim.cargo, shim.forge, shim.rustc_gate, shim.test_gate):
        assert name.is_symlink()
        assert name.resolve() == shim.path.resolve()
        assert (name.parent / MARKER).exists()
    assert (shim.root / MARKER).exists()
    assert shim.bin_dir == shim.root / "bin"


@pytest.mark.parametrize("change", ["source", "toolchain", "target"])
def test_a_change_of_what_it_is_made_of_builds_it_again(toolchain, change):
    first = toolchain.build()
    if change == "source":
        toolchain.write_source("fn main() { }")
    elif change == "toolchain":
        toolchain.install(version="22")
    second = toolchain.build(target="some-target" if change == "target" else None)
    assert second.built
    assert second.key != first.key
    assert first.path.exists()  # a running build still uses it


def test_files_that_are_not_source_do_not_matter(toolchain):
    key = shim_key(toolchain.source, "1", None)
    (toolchain.source / "target").mkdir()
    (toolchain.source / "target" / "x.rs").touch()
    assert shim_key(toolchain.source, "1", None) == key
    (toolchain.source / "src" / "more.rs").touch()
    assert shim_key(toolchain.source, "1", None) != key


def test_the_three_latest_are_kept(toolchain):
    shims = []
    for version in range(5):
        toolchain.install(version=str(version) * (version + 1))
        shims.append(toolchain.build())
        os.utime(shims[-1].root, (version, version))
    leftover = toolchain.cache / "shim" / ".making-old"
    leftover.mkdir()
    toolchain.install(version="final")
    shims.append(toolchain.build())
    assert [shim.path.exists() for shim in shims] == [False] * 3 + [True] * 3
    assert not leftover.exists()


def test_an_incomplete_build_is_made_again(toolchain):
    shim = toolchain.build()
    shim.cargo.unlink()
    assert toolchain.build().built
    assert shim.cargo.exists()


def test_ten_at_once_compile_once(toolchain):
    toolchain.install(slow=0.5)
    with ThreadPoolExecutor(10) as pool:
        shims = list(pool.map(lambda _: toolchain.build(), range(10)))
    assert sum(shim.built for shim in shims) == 1
    assert len({shim.path for shim in shims}) == 1
    assert len(toolchain.compiles) == 1


def test_ten_processes_at_once_compile_once(toolchain):
    toolchain.install(slow=0.5)
    script = (
        "import sys; from pathlib import Path; from forge.host.shim_build import build_shim\n"
        "import os; print(build_shim(Path(sys.argv[1]), os.environ, source=Path(sys.argv[2])).path)"
    )
    command = [sys.executable, "-c", script, toolchain.cache, toolchain.source]
    env = {**toolchain.env, "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(10)
    ]
    paths = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 10
    assert len(paths) == 1
    assert len(toolchain.compiles) == 1


def test_without_a_rustc_it_is_unavailable(toolchain):
    (toolchain.directory / "bin" / "rustc").unlink()
    toolchain.env["PATH"] = str(toolchain.directory / "bin")
    with pytest.raises(ShimUnavailable, match="there is no `rustc`"):
        toolchain.build()


def test_the_named_rustc_is_used(toolchain, tmp_path):
    other = tmp_path / "other-rustc"
    shutil.copy(tmp_path / "bin" / "rustc", other)
    assert find_rustc({**toolchain.env, "RUSTC": str(other)}) == str(other)
    assert find_rustc(toolchain.env) == str(tmp_path / "bin" / "rustc")
    assert find_rustc({**toolchain.env, "RUSTC": ""}) == str(tmp_path / "bin" / "rustc")


def test_a_compile_error_is_told_by_its_first_line(toolchain):
    script = '#!/bin/sh\n[ "$1" = -vV ] && exit 0\n'
    script += 'printf "warning: w\\nerror: no good\\nmore\\n" >&2; exit 1\n'
    toolchain.install(text=script)
    with pytest.raises(ShimUnavailable, match="does not compile: error: no good") as caught:
        toolchain.build()
    assert caught.value.hint
    assert caught.value.slug == "shim-unavailable"
    assert not [place for place in (toolchain.cache / "shim").iterdir() if place.is_dir()]


def test_a_rustc_that_hangs_meets_the_deadline(toolchain):
    toolchain.install(slow=30)
    began_at = time.monotonic()
    with pytest.raises(ShimUnavailable, match="was not built"):
        toolchain.build(deadline_s=1.0)
    assert time.monotonic() - began_at < 10


def test_a_rustc_that_does_not_know_itself_is_reported(toolchain):
    toolchain.install(text="#!/bin/sh\necho 'no toolchain is installed' >&2; exit 1\n")
    with pytest.raises(ShimUnavailable, match="no toolchain is installed"):
        toolchain.build()


def test_a_cache_that_cannot_be_written_is_reported(toolchain):
    toolchain.cache.write_text("a file where a directory should be")
    with pytest.raises(ShimUnavailable, match="cannot be kept in"):
        toolchain.build()


def test_a_garbled_probe_cache_is_asked_anew(toolchain):
    toolchain.build()
    (toolchain.cache / "shim" / "rustc.json").write_text("[]")
    assert not toolchain.build().built
    assert toolchain.calls.count("-vV") == 2


def test_the_source_is_found_in_the_checkout():
    assert (source_dir() / "src" / "main.rs").is_file()


def test_a_compile_inside_a_build_does_not_take_part_in_it(toolchain):
    text = '#!/bin/sh\n[ "$1" = -vV ] && exit 0\nenv > {log}\nexit 1\n'
    toolchain.install(text=text)
    toolchain.env["CARGO_MAKEFLAGS"] = "--jobserver-auth=3,4"
    toolchain.env["RUSTFLAGS"] = "-Dwarnings"
    with pytest.raises(ShimUnavailable):
        toolchain.build()
    assert not {"CARGO_MAKEFLAGS", "RUSTFLAGS"} & {call.split("=")[0] for call in toolchain.calls}


@pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc")
def test_the_real_source_compiles_with_the_real_rustc(tmp_path):
    shim = build_shim(tmp_path, os.environ)
    done = subprocess.run([shim.path], capture_output=True, text=True, timeout=10)
    assert done.stdout.startswith("forge-shim ")
