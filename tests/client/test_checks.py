"""What `forge doctor` looks at, with tools that are scripts and a memory that is a value."""

import os
from pathlib import Path

import pytest

from forge.client import checks, checks_inference, checks_tools
from forge.core.checkup import Verdict
from forge.core.memory import Reading, Swap
from forge.core.units import MIB
from tests.llama.models import TINY, write_model
from tests.llama.shapes import RECORDINGS
from tests.macos.fixtures import simulated_mac  # noqa: F401  # a fixture

GIB = 1024 * MIB
LINKING = 'LC_ALL="C" PATH="/x:/y" VSLANG="1033" "cc" "-m64" "a.o"'
MACS = 'env -u IPHONEOS_DEPLOYMENT_TARGET -u TVOS_DEPLOYMENT_TARGET LC_ALL="C" "cc" "-arch"'


class FixedMemory:
    """A memory that always reads the same, or cannot be read."""

    def __init__(self, reading=None):
        self.reading = reading

    def read(self, now_s, tmpfs=()):
        if self.reading is None:
            raise OSError(2, "No such file or directory", "/proc/meminfo")
        return self.reading

    def watch_stalls(self):
        return None


MEMORY = FixedMemory(Reading(0.0, 24 * GIB, 12 * GIB, Swap(0, 0)))


@pytest.fixture
def env(tmp_path):
    (tmp_path / "bin").mkdir()
    return {
        "PATH": str(tmp_path / "bin"),
        "HOME": str(tmp_path),
        "FORGE_STATE_DIR": str(tmp_path / "state"),
        "FORGE_CACHE_DIR": str(tmp_path / "cache"),
        "FORGE_CONFIG": str(tmp_path / "forge.toml"),
        "FORGE_PLATFORM": "linux",
    }


def tool(env, name, script):
    path = Path(env["PATH"]) / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def verdicts(rows):
    return {row.name: row.verdict for row in rows}


def test_without_anything_each_row_has_a_verdict_and_nothing_is_made(env, tmp_path):
    rows = checks.check_all(env, MEMORY)
    found = verdicts(rows)
    assert found["daemon"] is found["RAM disk"] is found["cgroup of builds"] is Verdict.UNKNOWN
    assert found["cargo"] is found["rustc"] is found["linker"] is Verdict.FAIL
    assert found["make"] is Verdict.WARN
    assert found["memory map"] is found["model"] is found["low water"] is Verdict.OK
    assert all(row.hint for row in rows if row.verdict is Verdict.FAIL)
    assert [one.name for one in tmp_path.iterdir()] == ["bin"]


def test_memory_that_cannot_be_read_is_one_failure(env):
    (row,) = checks.memory_rows(env, None, FixedMemory())
    assert (row.verdict, "/proc/meminfo" in row.finding) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[host]\nmemory = 7\n", "configuration"),
        ('[memory_map]\nmodel = "90GiB"\n', "memory map"),
        ('[host]\nmemory = "64GiB"\n', "memory map"),
        ('[host]\nlow_water = "13GiB"\n', "low water"),
    ],
)
def test_a_configuration_that_does_not_fit_fails(env, text, name):
    Path(env["FORGE_CONFIG"]).write_text(text)
    assert verdicts(checks.memory_rows(env, None, MEMORY))[name] is Verdict.FAIL


def test_a_state_directory_that_others_can_read_is_warned_of(env):
    os.mkdir(env["FORGE_STATE_DIR"], 0o755)
    row, space = checks.state_rows(env["FORGE_STATE_DIR"])
    assert row.verdict is Verdict.WARN
    assert "free" in space.finding


def test_a_jobserver_of_make_is_warned_of(env):
    assert checks.jobserver_row(env, None).verdict is Verdict.UNKNOWN
    assert checks.jobserver_row(env, {"cores": 8}).finding == "8 cores, shared by all builds"
    inside = env | {"MAKEFLAGS": "-j --jobserver-auth=3,4"}
    assert checks.jobserver_row(inside, {"cores": 8}).verdict is Verdict.WARN


def test_what_is_charged_to_the_cgroup_is_read_from_it(tmp_path):
    (tmp_path / "memory.current").write_text("4096\n")
    assert checks.used_bytes({"directory": str(tmp_path), "version": 2}) == 4096
    assert checks.used_bytes({"directory": str(tmp_path), "version": 1}) is None
    assert checks.used_bytes({"directory": None, "version": None}) is None


@pytest.mark.parametrize(("more", "verdict", "words"), [
    (None, Verdict.OK, "starts no server"),
    ("", Verdict.OK, "nothing in them is amiss"),
    ("lock = false", Verdict.WARN, "the weights are not locked"),
    ('model = "/no-such.gguf"', Verdict.FAIL, "/no-such.gguf"),
    ('slots = "many"', Verdict.UNKNOWN, "cannot be read"),
    ('args = ["--no-such-flag"]', Verdict.FAIL, "does not know `--no-such-flag`"),
])  # fmt: skip
def test_the_flags_of_the_configured_server_are_looked_at(env, tmp_path, more, verdict, words):
    model = write_model(tmp_path / "tiny.gguf", TINY)
    tool(env, "llama-server", f"exec /bin/cat {RECORDINGS}/0.3.36/help.txt")
    set_model = "" if more and more.startswith("model") else f'model = "{model}"\n'
    if more is not None:
        Path(env["FORGE_CONFIG"]).write_text(f"[inference]\n{set_model}{more}\n")
    row = checks_inference.flags_row(env)
    assert (row.verdict, words in row.finding) == (verdict, True), row


def test_the_make_of_macos_is_old_and_enough(env):
    tool(env, "make", "echo GNU Make 3.81")
    (make,) = [row for row in checks_tools.tool_rows(env) if row.name == "make"]
    assert (make.verdict, make.finding) == (Verdict.OK, "GNU Make 3.81, old and enough")


def test_tools_are_asked_for_their_versions(env):
    tool(env, "cargo", "echo cargo 1.95.0")
    tool(env, "rustc", f"case $1 in --version) echo rustc 1.95.0;; *) echo '{LINKING}';; esac")
    tool(env, "cc", "echo 'GNU ld 2.40'")
    tool(env, "mold", "echo 'mold 2.40.0'")
    tool(env, "make", "echo GNU Make 4.3; echo more")
    rows = {row.name: row for row in checks_tools.tool_rows(env)}
    assert {row.verdict for row in rows.values()} == {Verdict.OK}
    assert rows["make"].finding == "GNU Make 4.3"
    assert rows["linker"].finding == "cc with GNU ld 2.40; installed as well: mold 2.40.0"
    assert "hdiutil" not in rows


def test_a_tool_that_fails_is_not_taken_for_one_that_works(env):
    tool(env, "cargo", "exit 1")
    tool(env, "rustc", "echo broken >&2; exit 101")
    found = verdicts(checks_tools.tool_rows(env))
    assert found["cargo"] is found["rustc"] is found["linker"] is Verdict.FAIL


def test_the_linker_that_rustc_brings_along_is_asked_itself(env, tmp_path):
    own = tmp_path / "gcc-ld"
    own.mkdir()
    line = f'"cc" "-fuse-ld=bfd" "-B{own}" "-fuse-ld=lld"'
    tool(env, "rustc", f"echo '{line}'")
    tool(env | {"PATH": str(own)}, "ld.lld", "echo LLD 22.1")
    row = checks_tools.linker_row(env)
    assert row.finding == "cc with LLD 22.1, which rustc brings along"


@pytest.mark.parametrize(
    ("command", "read"),
    [
        (LINKING, ("cc", None, None)),
        (MACS, ("cc", None, None)),
        ('"clang" "-fuse-ld=mold"', ("clang", "mold", None)),
        ('A="b" "cc" "-B/r/gcc-ld" "-fuse-ld=lld"', ("cc", "lld", "/r/gcc-ld")),
        ("", ("cc", None, None)),
    ],
)
def test_the_linker_is_read_from_the_command_line_of_rustc(command, read):
    assert checks_tools.linker_of(command) == read


def test_on_macos_the_gpus_limit_and_hdiutil_are_looked_at(env, simulated_mac):  # noqa: F811
    mac = {**simulated_mac.env, **{k: v for k, v in env.items() if k[:7] == "FORGE_C"}}
    Path(mac["FORGE_CONFIG"]).write_text('[memory_map]\nmodel = "2GiB"\n')
    state = simulated_mac.world.read()
    simulated_mac.world.write(
        state | {"sysctls": state["sysctls"] | {"iogpu.wired_limit_mb": 1024}}
    )
    rows = {row.name: row for row in checks.memory_rows(mac, None, MEMORY)}
    assert rows["iogpu.wired_limit_mb"].verdict is Verdict.WARN
    assert {row.name for row in checks_tools.tool_rows(mac)} >= {"hdiutil"}
    known = {k: v for k, v in state["sysctls"].items() if k != "iogpu.wired_limit_mb"}
    simulated_mac.world.write(state | {"sysctls": known})
    rows = {row.name: row for row in checks.memory_rows(mac, None, MEMORY)}
    assert rows["iogpu.wired_limit_mb"].verdict is Verdict.UNKNOWN
