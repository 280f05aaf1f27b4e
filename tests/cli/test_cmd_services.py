"""`forge services` and the `opta-` commands, with a real service."""

import json
import plistlib
import socket
import sys
from pathlib import Path

import pytest

from forge.cli import cmd_services
from forge.config import load
from tests.cli.conftest import Forge
from tests.cli.fakes import a_status
from tests.macos.fixtures import simulated_mac  # noqa: F401  # a fixture

SERVER = (
    "import http.server as h, sys;"
    " h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
)

# What a command starts outlives it on purpose; here the command is a call in our own process.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def web(env, place, forge: Forge):
    """Declare a web server; it is stopped afterwards."""
    (place / "home").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    (place / "forge.toml").write_text(
        f'[services.web]\nruns = "process"\nport = {port}\nmemory = "64MiB"\n'
        f"command = {[sys.executable, '-c', SERVER, str(port)]!r}\n"
        'ready_within = "20s"\n'
        f'ready_url = "http://127.0.0.1:{port}/"\n'
    )
    yield port
    forge("services", "stop")


def test_start_status_logs_restart_stop(forge: Forge, web):
    down = forge("services", "status")
    assert down.code == 1  # not all are well
    assert "down" in down.out
    started = forge("services", "start")
    assert started.code == 0
    assert "web is well" in started.err
    up = forge("services", "status", "--json")
    assert up.code == 0
    (service,) = json.loads(up.out)["services"]
    assert service["ok"]
    assert service["port"] == web
    assert service["uptime_s"] >= 0
    assert service["memory_bytes"] > 0
    assert service["planned_bytes"] == 64 * 1024**2
    table = forge("services", "status").out
    assert str(service["pid"]) in table
    assert "of 64 MiB" in table
    assert "GET / " in forge("services", "logs", "web").out  # the question whether it is ready
    assert forge("services", "restart", "web").code == 0
    (again,) = json.loads(forge("services", "status", "--json").out)["services"]
    assert again["pid"] != service["pid"]
    assert forge("services", "stop").code == 0
    assert "down" in forge("services", "status").out


def test_a_failure_is_one_line_and_an_object_with_json(forge: Forge, place, env):
    (place / "home").mkdir()
    (place / "forge.toml").write_text('[services.x]\nruns = "process"\ncommand = ["no-such"]\n')
    told = forge("services", "start")
    assert told.code == 69
    assert "there is no no-such" in told.err
    assert "Traceback" not in told.err
    error = json.loads(forge("services", "start", "--json").out)["error"]
    assert error["slug"] == "service-failed"


def test_without_screen_a_start_says_the_way_out_and_status_why(forge: Forge, place, env):
    (place / "home").mkdir()
    (place / "forge.toml").write_text('[services.x]\nruns = "screen"\ncommand = ["sleep", "60"]\n')
    env["PATH"] = str(place / "home")
    started = forge("services", "start")
    assert started.code == 69
    assert "there is no screen" in started.err
    assert "set `runs` of the service to process" in started.err
    status = forge("services", "status")
    assert status.code == 1
    assert "there is no screen" in " ".join(status.out.split())


@pytest.fixture
def over_ssh(simulated_mac, place, env, monkeypatch):  # noqa: F811
    """A Mac where nobody is logged in at the screen: launchd takes agents and starts none."""
    monkeypatch.setattr("forge.host.service_launchd.APPEARS_WITHIN_S", 0.3)
    env |= {**simulated_mac.env, "HOME": env["HOME"]}
    agents = place / "home" / "Library" / "LaunchAgents"
    agents.mkdir(parents=True)
    job = {"Label": "com.example.gateway", "ProgramArguments": ["sleep", "60"]}
    (agents / "com.example.gateway.plist").write_bytes(plistlib.dumps(job))
    simulated_mac.fault("launchctl.kickstart", pends=True)
    (place / "forge.toml").write_text(
        '[services.gateway]\nruns = "launchd"\nunit = "com.example.gateway"\n'
        '[services.after]\nruns = "process"\ncommand = ["sleep", "60"]\nafter = ["gateway"]\n'
    )


def test_over_ssh_with_nobody_at_the_screen_a_start_says_what_launchd_does(forge: Forge, over_ssh):
    started = forge("services", "start")
    assert started.code == 69
    assert "launchd has not started com.example.gateway (not running" in started.err
    assert "over SSH" in started.err
    assert "LaunchDaemon" in started.err
    told = json.loads(forge("services", "status", "--json").out)["services"]
    assert [one["state"] for one in told] == ["down", "down"]  # what needs it was not tried
    assert "over SSH" in told[0]["last_error"]["what"]


def test_status_tells_of_the_last_error_and_what_a_daemon_does_about_it(
    forge: Forge, place, env, daemon
):
    (place / "home").mkdir()
    (place / "forge.toml").write_text('[services.x]\nruns = "process"\ncommand = ["no-such"]\n')
    forge("services", "start")
    (told,) = json.loads(forge("services", "status", "--json").out)["services"]
    assert "there is no no-such" in told["last_error"]["what"]
    assert told["health"] is None  # no daemon runs, and none was started to ask
    assert not (place / "state" / "forged.log").exists()
    known = {"name": "x", "health": "given up", "deaths": 8, "reason": "", "again_in_s": None}
    daemon(status=[{"type": "status", "status": {**a_status(), "services": [known]}}] * 2)
    (told,) = json.loads(forge("services", "status", "--json").out)["services"]
    assert (told["health"], told["deaths"]) == ("given up", 8)
    table = forge("services", "status").out.replace("\n", " ")
    assert "left alone after" in " ".join(table.split())


def test_without_services_it_is_said_how_to_get_some(forge: Forge):
    told = forge("services", "status")
    assert told.code == 78
    assert "forge config init --reference" in told.err


def test_watch_is_turned_off_and_on(forge: Forge, web):
    assert "started again" in forge("services", "watch").out
    assert "left alone" in forge("services", "watch", "off").out
    assert "left alone" in forge("services", "watch").out
    assert "started again" in forge("services", "watch", "on").out


def test_stop_warns_of_builds_under_way(forge: Forge, web, daemon):
    daemon(status=[{"type": "status", "status": {**a_status(), "builds": [{"id": "b7"}]}}])
    assert "builds are under way: b7" in forge("services", "stop").err


@pytest.mark.parametrize(("main", "verb"), [
    (cmd_services.start_main, "start"),
    (cmd_services.stop_main, "stop"),
    (cmd_services.status_main, "status"),
])  # fmt: skip
def test_the_opta_commands_are_short_for_forge_services(main, verb, monkeypatch):
    ran = []

    def run(argv, env):
        ran.append(argv)
        return 0

    monkeypatch.setattr("forge.cli.main.run", run)
    monkeypatch.setattr(sys, "argv", [f"opta-{verb}", "--json"])
    assert main() == 0
    assert ran == [["services", verb, "--json"]]


def test_the_reference_hosts_services_are_what_people_there_know(forge: Forge, env, place):
    assert forge("config", "init", "--reference").code == 0
    services = load(Path(env["FORGE_CONFIG"])).services
    assert {name: one.port for name, one in services.items()} == {
        "ram-disk": None, "ai-engine": 8080, "proxy": 4000, "router": 3456, "gateway": 18789,
    }  # fmt: skip
    assert services["router"].unit == "com.claude-code-router"
    assert services["gateway"].unit == "com.clawdbot.gateway"
    assert [services[name].runs for name in ("ai-engine", "proxy")] == ["screen", "screen"]
