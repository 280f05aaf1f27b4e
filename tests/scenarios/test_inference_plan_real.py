"""What `forge inference plan` says, against what a real llama-server prints of itself."""

import json
import os
import re
import resource
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.llama.models import LIKE_3B, LIKE_70B, TINY, Model, write_model
from tests.llama.server import free_port
from tests.scenarios.conftest import FORGE, clean_env, wait_until

pytestmark = [pytest.mark.real_llama, pytest.mark.usefixtures("llama_binary")]

MODELS = {
    "70b": replace(LIKE_70B, context=8192),
    "3b": replace(LIKE_3B, context=8192),
    "tiny": TINY,
    "windows": Model(architecture="gemma3", layers=12, kv_heads=4, window=512),
    "uneven": Model(architecture="deci", kv_heads=(2, 4, 1, 8)),
}
MIB = 1 << 20


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gguf")
    for name, model in MODELS.items():
        write_model(place / f"{name}.gguf", model)
    return place


@dataclass(frozen=True)
class Printed:
    """What a server printed of itself, and of its slots."""

    log: str
    slots: list[dict[str, Any]]
    locked_kib: int

    @property
    def caches_mib(self) -> list[float]:
        return [float(size) for size in re.findall(r"KV buffer size =\s*([\d.]+) MiB", self.log)]

    @property
    def compute_mib(self) -> list[float]:
        found = re.findall(r"compute buffer size =\s*([\d.]+) MiB", self.log)
        return [float(size) for size in found]


def planned(binary: Path, words: list[str], place: Path) -> dict[str, Any]:
    done = subprocess.run(
        [*FORGE, "inference", "plan", "--json", "--", str(binary), *words], cwd=place,
        env=clean_env() | {"FORGE_CONFIG": str(place / "none.toml")}, capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def served(binary: Path, words: list[str], place: Path) -> Printed:
    """Start a server, hear what it says of itself, and end it."""
    port, log = free_port(), place / f"log-{os.getpid()}"
    with open(log, "w") as out:
        process = subprocess.Popen(
            [binary, *words, "--port", str(port), "-lv", "4", "--no-warmup", "-t", "2"], cwd=place,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        slots = wait_until(lambda: _slots(process, port, log), 60.0)
        status = Path(f"/proc/{process.pid}/status")
        locked = re.search(r"VmLck:\s*(\d+)", status.read_text()) if status.exists() else None
        return Printed(log.read_text(), slots, int(locked[1]) if locked else 0)
    finally:
        process.kill()
        process.wait()


def _slots(process: "subprocess.Popen[bytes]", port: int, log: Path) -> Any:
    assert process.poll() is None, log.read_text()[-1000:]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/slots", timeout=5) as reply:
            return json.load(reply)
    except OSError:
        return None


@pytest.mark.parametrize(
    "line",
    [
        "-m 70b.gguf -c 2048 -np 4 -ctk q4_0 -ctv q4_0 -fa on",
        "-m 70b.gguf -c 1024 -np 4",
        "-m 70b.gguf -c 2048 -np 2 -ctk q8_0 -ctv q4_1",
        "-m 70b.gguf -c 1000 -np 3 -ctk q5_1 -ctv q5_0",
        "-m 70b.gguf -c 2048 -np 4 -kvu -ctk iq4_nl -ctv q4_0",
        "-m 70b.gguf -c 1024 -ctk q4_0 -ctv q4_0",
        "-m 70b.gguf --ctx-size 300 --parallel 1",
        "-m 3b.gguf -c 2048 -np 4 -ctk bf16 -ctv f32",
        "-m 3b.gguf -c 4096 -np 4 -fa off",
        "-m 3b.gguf -c 0 -np 2 -ctk q4_0 -ctv q4_0",
        "-m 3b.gguf -np 2 -fit off -ctk q4_0 -ctv q4_0",
        "-m 3b.gguf --kv-unified-per-slot 512 -kvu -np 4",
        "-m 70b.gguf -md 3b.gguf --spec-type draft-simple -c 1024 -np 4 -ctk q4_0 -ctv q4_0",
        "-m 70b.gguf -md 3b.gguf -c 1024 -np 4 -ctk q4_0 -ctv q4_0 -ctkd q8_0 -ctvd q4_0",
        "-m windows.gguf -c 16384 -np 4",
        "-m windows.gguf -c 16384 -ub 100",
        "-m windows.gguf -c 8192 -np 2 --swa-full -ctk q8_0",
        "-m uneven.gguf -c 4096 -np 2 -ctk q8_0 -ctv q5_1",
    ],
)  # fmt: skip
def test_the_kv_cache_is_as_the_server_prints_it(llama_binary: Path, models: Path, line: str):
    words = line.split()
    answer, printed = planned(llama_binary, words, models), served(llama_binary, words, models)
    need, caches = answer["need"], printed.caches_mib
    bytes_mib = (need["kv_bytes"] + need["draft_kv_bytes"]) / MIB
    if len(caches) == 1:
        assert f"{bytes_mib:.2f}" == f"{caches[0]:.2f}"
    else:  # each is printed with two digits
        assert bytes_mib == pytest.approx(sum(caches), abs=0.005 * len(caches))
    assert answer["slots"] == len(printed.slots)
    assert {one["n_ctx"] for one in printed.slots} == {answer["slot_tokens"]}
    assert {one["speculative"] for one in printed.slots} == {answer["uses_draft"]}
    assert need["compute_bytes"] / MIB == pytest.approx(sum(printed.compute_mib), rel=0.25)


def test_the_printed_command_starts_locked_and_with_its_draft_at_work(
    llama_binary: Path, models: Path
):
    config = models / "forge.toml"
    config.write_text(
        f'[inference]\nserver = "{llama_binary}"\nmodel = "{models}/70b.gguf"\ncontext = 2048\n'
        f'draft_model = "{models}/3b.gguf"\n'
    )
    env = clean_env() | {"FORGE_CONFIG": str(config)}
    told = subprocess.run(
        [*FORGE, "inference", "command", "--json"], env=env, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    command = json.loads(told.stdout)
    assert command["lacks"] == []
    printed = served(Path(command["argv"][0]), command["argv"][1:], models)
    assert [one["speculative"] for one in printed.slots] == [True] * 4
    assert {one["n_ctx"] for one in printed.slots} == {512}
    weights = sum((models / f"{name}.gguf").stat().st_size for name in ("70b", "3b"))
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if sys.platform == "linux" and (os.geteuid() == 0 or limit == resource.RLIM_INFINITY):
        assert printed.locked_kib * 1024 == pytest.approx(weights, rel=0.05)


def test_a_command_line_that_is_said_not_to_start_does_not(llama_binary: Path, models: Path):
    for line in ("-m tiny.gguf --mlock", "-m tiny.gguf -c many", "-m tiny.gguf -ctv q4_0 -fa off"):
        words = line.split()
        answer = planned(llama_binary, words, models)
        assert any(one["fatal"] for one in answer["surprises"]), line
        port = str(free_port())
        done = subprocess.run(
            [llama_binary, *words, "--port", port], cwd=models, capture_output=True, timeout=60
        )
        assert done.returncode != 0, line


@pytest.mark.parametrize(
    ("more", "wrong"), [([], set()), (["-c", "4096"], {"context", "KV cache"})]
)
def test_a_server_is_verified_against_what_is_configured(
    llama_binary: Path, models: Path, more: list[str], wrong: set[str]
):
    port, config = free_port(), models / "forge.toml"
    config.write_text(
        f'[inference]\nserver = "{llama_binary}"\nmodel = "{models}/70b.gguf"\ncontext = 2048\n'
        f'draft_model = "{models}/3b.gguf"\nurl = "http://127.0.0.1:{port}"\n'
    )
    env = clean_env() | {"FORGE_CONFIG": str(config)}
    server = subprocess.Popen(
        [*FORGE, "inference", "command", "--exec", "--", *more], env=env, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        done = subprocess.run(
            [*FORGE, "inference", "verify", "--wait", "60s", "--json"], env=env,
            capture_output=True, text=True, timeout=90,
        )  # fmt: skip
    finally:
        server.kill()
        server.wait()
    rows = {row["name"]: row["verdict"] for row in json.loads(done.stdout)["rows"]}
    assert {name for name, verdict in rows.items() if verdict == "fail"} - {"locked"} == wrong
    assert rows["draft"] == "ok"
    if os.geteuid() == 0 and sys.platform == "linux":
        assert rows["locked"] == "ok"
        assert done.returncode == (1 if wrong else 0)
