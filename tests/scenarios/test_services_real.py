"""The reference host's services, scaled down, by `opta-start` from nothing: all of them real.

A llama-server with a small random model, LiteLLM's proxy before it, Claude Code Router before that,
and Clawdbot's gateway, without an account. Each is killed and seen to come back.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.daemon.harness import RealDaemon
from tests.llama.build import BINARY
from tests.llama.models import Model, write_model
from tests.scenarios import real_services

pytestmark = [
    pytest.mark.skipif(not shutil.which("screen"), reason="screen is not installed"),
    pytest.mark.real_llama,
    pytest.mark.usefixtures("llama_binary"),
]

CONFIG = """
[disk]
kind = "shm"
size = "128MiB"
mount_point = "{home}/builds"

[services.ram-disk]
runs = "ram-disk"

[services.ai-engine]
runs = "screen"
unit = "{unit}-engine"
command = ["{server}", "-m", "{home}/tiny.gguf", "--port", "{engine}", "-c", "4096", "-np", "4"]
port = {engine}
after = ["ram-disk"]
ready_url = "http://127.0.0.1:{engine}/health"
ready_json = {{ status = "ok" }}

[services.proxy]
runs = "screen"
unit = "{unit}-proxy"
command = ["{litellm}", "--config", "{home}/config.yaml", "--port", "{proxy}", "--host", "{local}"]
env = {{ LITELLM_MASTER_KEY = "{key}" }}
port = {proxy}
after = ["ai-engine"]
ready_url = "http://127.0.0.1:{proxy}/health/liveliness"
ready_within = "3m"

[services.router]
runs = "process"
command = ["{router}", "start"]
port = {router_port}
after = ["proxy"]
ready_within = "2m"

[services.gateway]
runs = "process"
command = {gateway}
port = {gateway_port}
ready_within = "3m"
[services.gateway.env]
TMPDIR = "{home}"
CLAWDBOT_NO_RESPAWN = "1"
CLAWDBOT_SKIP_CHANNELS = "1"
CLAWDBOT_DISABLE_BONJOUR = "1"
"""
STAND_IN = (
    "import http.server as h, sys;"
    " h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
)

LITELLM = """
model_list:
  - model_name: local
    litellm_params:
      model: openai/local
      api_base: "http://127.0.0.1:{engine}/v1"
      api_key: none
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Host:
    """A host with services of its own; `close` stops all of them, and the daemon."""

    def __init__(self) -> None:
        self.engine, self.proxy, self.router = free_port(), free_port(), free_port()
        self.gateway = free_port()
        self.daemon = RealDaemon(config="# written below")
        home = self.daemon.home
        text = CONFIG.format(
            home=home, unit=f"forge-{os.getpid()}", server=BINARY, engine=self.engine,
            litellm=real_services.litellm(), proxy=self.proxy, key=real_services.MASTER_KEY,
            router=real_services.router(), router_port=self.router, local="127.0.0.1",
            gateway=self._gateway(), gateway_port=self.gateway,
        )  # fmt: skip
        self.daemon.config.write_text(text)
        (home / "config.yaml").write_text(LITELLM.format(engine=self.engine))
        settings = home / ".claude-code-router" / "config.json"
        settings.parent.mkdir()
        settings.write_text(json.dumps(self._router_settings()))
        quiet = home / ".clawdbot" / "clawdbot.json"  # it asks nobody whether there is a newer one
        quiet.parent.mkdir()
        settings_of_gateway = {
            "gateway": {"mode": "local"},
            "update": {"checkOnStart": False},
            "logging": {"file": str(home / "gateway.log")},
        }
        quiet.write_text(json.dumps(settings_of_gateway))
        write_model(home / "tiny.gguf", Model(layers=2))
        self.env = {**self.daemon.env, "HOME": str(home)}

    def _gateway(self) -> list[str]:
        """Return the real gateway's command, or that of something that listens on its port."""
        real = real_services.gateway()
        if real is None:
            return [sys.executable, "-c", STAND_IN, str(self.gateway)]
        local = ["--bind", "loopback", "--allow-unconfigured", "--token", "of-this-test"]
        return [*real, "--port", str(self.gateway), *local]

    def _router_settings(self) -> dict[str, object]:
        url = f"http://127.0.0.1:{self.proxy}/v1/chat/completions"
        provider = {
            "name": "local", "api_base_url": url, "api_key": real_services.MASTER_KEY,
            "models": ["local"],
        }  # fmt: skip
        return {
            "PORT": self.router, "HOST": "127.0.0.1", "LOG": False, "NON_INTERACTIVE_MODE": True,
            "Providers": [provider], "Router": {"default": "local,local"},
        }  # fmt: skip

    def forge(self, *words: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-P", "-m", "forge.cli.main", *words]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=400)

    def services(self) -> dict[str, dict[str, object]]:
        told = json.loads(self.forge("services", "status", "--json").stdout)
        return {one["name"]: one for one in told["services"]}

    def close(self) -> None:
        self.forge("services", "stop")
        self.forge("daemon", "stop")
        self.daemon.close()


@pytest.fixture
def host():
    one = Host()
    try:
        yield one
    finally:
        one.close()


def ask(port: int, path: str, question: dict[str, object], **headers: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(question).encode(),
        {"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))


QUESTION: dict[str, object] = {
    "model": "local", "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}],
}  # fmt: skip


def test_everything_starts_from_nothing_answers_comes_back_and_stops(host):
    started = host.forge("services", "start")
    assert started.returncode == 0, started.stderr
    services = host.services()
    assert all(one["ok"] for one in services.values())
    bearer = {"Authorization": f"Bearer {real_services.MASTER_KEY}"}
    answer = ask(host.proxy, "/v1/chat/completions", QUESTION, **bearer)
    assert answer["choices"]
    answer = ask(host.router, "/v1/messages", QUESTION, **{"x-api-key": "any"})
    assert answer["type"] == "message"
    listed = subprocess.run(["screen", "-ls"], capture_output=True, text=True).stdout
    assert f"forge-{os.getpid()}-engine\t" in listed  # `screen -r` finds it

    with urllib.request.urlopen(f"http://127.0.0.1:{host.gateway}/", timeout=30) as page:
        assert page.status == 200

    for name in ("ai-engine", "proxy", "router", "gateway"):
        os.kill(int(str(services[name]["pid"])), signal.SIGKILL)
    until = time.monotonic() + 120
    while not all(one["ok"] for one in host.services().values()):
        assert time.monotonic() < until, host.services()
        time.sleep(1)
    again = host.services()
    assert all(
        again[name]["pid"] != services[name]["pid"] for name in ("ai-engine", "proxy", "gateway")
    )
    news = [one["what"] for one in host.daemon.decisions() if one["decision"] == "service.news"]
    assert sum("it is started again" in what for what in news) >= 4

    stopped = host.forge("services", "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert {one["state"] for one in host.services().values()} == {"down"}
    assert not Path(host.daemon.mount_point).exists()
