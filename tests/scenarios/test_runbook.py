"""From a bare machine to a running configuration by the runbook, word for word, scaled down.

The lines are those of docs/operations.md. Scaled are the ports, the model and the rows of the
memory map, which the runbook says to change; systemd is a program that notes what it was asked.
"""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.harness import ROOT, RealDaemon
from tests.llama.build import BINARY
from tests.llama.models import Model, write_model

RUNBOOK = ROOT / "docs" / "operations.md"

pytestmark = [
    pytest.mark.real_cargo,
    pytest.mark.skipif(not shutil.which("cargo"), reason="cargo is not installed"),
    pytest.mark.skipif(not shutil.which("screen"), reason="screen is not installed"),
    pytest.mark.real_llama,
    pytest.mark.skipif(sys.platform != "linux", reason="its manager is systemd"),
]

SCALED = """
[disk]
kind = "shm"
size = "256MiB"
mount_point = "{home}/builds"

[inference]
url = "http://127.0.0.1:{port}"
server = "{server}"
model = "{home}/model.gguf"
draft_model = "{home}/draft.gguf"
cache_ram = "64MiB"

[services.ram-disk]
runs = "ram-disk"

[services.ai-engine]
runs = "screen"
unit = "forge-runbook-{pid}"
command = ["forge", "inference", "command", "--exec"]
port = {port}
after = ["ram-disk"]
ready_url = "http://127.0.0.1:{port}/health"
ready_json = {{ status = "ok" }}
memory = ["model", "draft_model", "agent_context"]
"""


def lines_of(section: str) -> list[str]:
    """Return the commands of one section of the runbook, in order."""
    text = RUNBOOK.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [
        line.strip().partition("  #")[0].strip()
        for line in text.splitlines()
        if line.startswith("    ")
    ]


@pytest.fixture
def machine(llama_binary):
    daemon = RealDaemon(config="")
    daemon.config.unlink()
    home = daemon.home
    bin_dir = home / "bin"
    bin_dir.mkdir()
    for name in ("systemctl", "loginctl"):
        (bin_dir / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {home}/asked\n')
        (bin_dir / name).chmod(0o755)
    write_model(home / "model.gguf", Model(layers=2))
    write_model(home / "draft.gguf", Model(layers=1, seed=2))
    shutil.copytree(ROOT / "tests" / "data" / "workspace", home / "project")
    venv = Path(sys.executable).parent
    path = f"{venv}{os.pathsep}{bin_dir}{os.pathsep}{os.environ['PATH']}"
    real_home = Path.home()
    daemon.env |= {
        "HOME": str(home), "PATH": path, "SHELL": "/bin/sh",
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(real_home / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(real_home / ".rustup")),
    }  # fmt: skip
    yield daemon
    for words in (["services", "stop"], ["daemon", "stop"]):
        subprocess.run([str(venv / "forge"), *words], env=daemon.env, capture_output=True)
    daemon.close()


def test_the_runbook_leads_from_nothing_to_a_running_machine_and_back(machine):
    def run(line: str) -> str:
        done = subprocess.run(
            ["sh", "-c", line], env=machine.env, cwd=machine.home / "project",
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"`{line}` of the runbook: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    said = {}
    for line in lines_of("From nothing"):
        said[line] = run(line)
        if line.endswith("--reference"):
            with socket.create_server(("127.0.0.1", 0)) as sock:
                port = sock.getsockname()[1]
            machine.config.write_text(
                SCALED.format(home=machine.home, port=port, server=BINARY, pid=os.getpid())
            )
    assert "model.gguf" in said["forge inference command"]
    assert "ai-engine is well" in said["opta-start"]
    assert "well" in said["opta-status"]
    assert "OPENAI_BASE_URL" in said["forge endpoints"]
    assert "project" in said["forge status"]
    assert "enable --now forged.service" in (machine.home / "asked").read_text()

    assert "ai-engine has ended" in run("opta-stop")
    for line in lines_of("Removal")[1:]:
        run(line)
    left = [path for path in machine.home.rglob("*") if path.suffix in (".service", ".1", ".5")]
    assert left == []


@pytest.mark.parametrize("section", ["From nothing", "Every day", "Another model", "Removal"])
def test_each_line_of_the_runbook_begins_with_a_command_that_there_is(section):
    lines = lines_of(section)
    assert lines
    for line in lines:
        word, *rest = line.split()
        assert word in ("forge", "opta-start", "opta-stop", "opta-status", "screen", "$EDITOR")
        if word == "forge":
            told = subprocess.run(
                [sys.executable, "-m", "forge.cli.main", *rest[:1], "--help"],
                cwd=ROOT, capture_output=True, text=True,
            )  # fmt: skip
            assert told.returncode == 0, line
