"""Services started in order, each until it is ready, and stopped in reverse: real processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from forge.client.services import NoServices, Services
from forge.errors import ConfigInvalid, UsageMistake
from forge.host.service_doors import ServiceFailed
from forge.host.service_state import read_wishes

SERVER = (
    "import http.server as h, sys;"
    " h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
)


@pytest.fixture
def place():
    path = Path(tempfile.mkdtemp(prefix="fs", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def host(place):
    """Make `Services` of a forge.toml; what they have started is stopped afterwards."""
    env = {
        **os.environ,
        "HOME": str(place),
        "FORGE_STATE_DIR": str(place / "state"),
        "FORGE_CACHE_DIR": str(place / "cache"),
        "FORGE_CONFIG": str(place / "forge.toml"),
    }
    made: list[Services] = []

    def make(text: str) -> Services:
        (place / "forge.toml").write_text(text)
        made.append(Services(env))
        return made[-1]

    yield make
    for one in made:
        one.stop((), lambda *_: None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def declared(name: str, code: str, *words: object, **more: object) -> str:
    command = [sys.executable, "-c", code, *(str(word) for word in words)]
    lines = [f"[services.{name}]", 'runs = "process"', f"command = {command!r}"]
    lines += [f"{key} = {value!r}" for key, value in {"ready_within": "20s", **more}.items()]
    return "\n".join(lines) + "\n"


def web(name: str, port: int, **more: object) -> str:
    url = f"http://127.0.0.1:{port}/"
    return declared(name, SERVER, port, port=port, ready_url=url, **more)


class Heard:
    def __init__(self):
        self.news: list[tuple[str, str]] = []

    def __call__(self, service, what, waited_s):
        self.news.append((service.name, what))

    def of(self, what: str) -> list[str]:
        return [name for name, news in self.news if news == what]


def test_services_are_started_in_order_and_stopped_in_reverse(host):
    services = host(web("proxy", free_port(), after=["engine"]) + web("engine", free_port()))
    heard = Heard()
    standings = services.start((), heard)
    assert [one.service.name for one in standings] == ["engine", "proxy"]
    assert all(one.is_well for one in standings)
    assert heard.of("is well") == ["engine", "proxy"]
    assert all(one.found and one.found.started_at for one in standings)
    again = Heard()
    services.start((), again)
    assert again.news == [("engine", "is well already"), ("proxy", "is well already")]
    stopping = Heard()
    stopped = services.stop((), stopping)
    assert stopping.of("has ended") == ["proxy", "engine"]
    assert {one.state for one in stopped} == {"down"}


def test_one_service_takes_what_it_needs_along_and_nothing_else(host):
    text = web("a", free_port()) + web("b", free_port(), after=["a"]) + web("c", free_port())
    services = host(text)
    services.start(["b"], Heard())
    assert [one.state for one in services.look_at_all()] == ["well", "down", "well"]
    heard = Heard()
    services.stop(["a"], heard)
    assert heard.of("has ended") == ["b", "a"]


@pytest.mark.parametrize(("code", "more", "said"), [
    ("print('no model'); raise SystemExit(3)", {}, "ended after"),
    ("print('no model', flush=True); import time; time.sleep(1); raise SystemExit(3)", {},
     "ended after"),
    ("print('no model', flush=True); import time; time.sleep(60)", {"ready_within": "1s"},
     "was not ready within"),
])  # fmt: skip
def test_the_first_that_fails_ends_the_start_with_its_last_words(host, code, more, said):
    bad = declared("engine", code, port=free_port(), **more)
    services = host(bad + web("proxy", free_port(), after=["engine"]))
    with pytest.raises(ServiceFailed, match=said) as failed:
        services.start((), Heard())
    assert "no model" in (failed.value.hint or "")
    assert services.look(services.declared["proxy"]).state == "down"
    assert read_wishes(services.own_dir).wanted == frozenset()  # nobody starts it again unasked


def test_a_port_that_a_stranger_has_is_told_with_his_name(host):
    port = free_port()
    stranger = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)], stderr=subprocess.DEVNULL
    )
    try:
        services = host(web("engine", port))
        until = time.monotonic() + 10
        while services.look(services.declared["engine"]).state != "port taken":
            assert time.monotonic() < until
        with pytest.raises(ServiceFailed, match=rf"port {port} is taken by .*pid {stranger.pid}"):
            services.start((), Heard())
    finally:
        stranger.terminate()
        stranger.wait()


def test_what_failed_last_is_remembered_when_it_is_well_again(host, place):
    port = free_port()
    broken = declared("engine", "print('no model'); raise SystemExit(3)", port=port)
    with pytest.raises(ServiceFailed):
        host(broken).start((), Heard())
    services = host(web("engine", port))
    (standing,) = services.start((), Heard())
    assert standing.is_well
    assert standing.last_error
    assert "no model" in standing.last_error.what
    assert abs(time.time() - standing.last_error.at) < 60


def test_what_does_not_fit_into_memory_is_not_started(host):
    services = host(web("engine", free_port(), memory="900TiB"))
    with pytest.raises(ServiceFailed, match="by the memory map"):
        services.start((), Heard())
    assert services.look(services.declared["engine"]).state == "down"


def test_two_starts_at_once_start_everything_once(host, place):
    text = web("a", free_port()) + web("b", free_port(), after=["a"])
    one, other = host(text), host(text)
    heard = [Heard(), Heard()]
    threads = [
        threading.Thread(target=each.start, args=((), hears))
        for each, hears in zip((one, other), heard, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    started = heard[0].of("is started") + heard[1].of("is started")
    assert sorted(started) == ["a", "b"]


def test_one_that_was_killed_is_down_and_starts_again(host):
    services = host(web("engine", free_port()))
    (standing,) = services.start((), Heard())
    assert standing.found
    os.kill(standing.found.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while services.look(standing.service).state != "down":
        assert time.monotonic() < until
    (again,) = services.start((), Heard())
    assert again.is_well
    assert again.found
    assert again.found.pid != standing.found.pid


def test_after_a_reboot_in_the_middle_of_a_start_what_was_noted_deceives_nobody(host, place):
    text = web("a", free_port()) + web("b", free_port(), after=["a"])
    services = host(text)
    for standing in services.start((), Heard()):  # then the power goes: nobody ends anything
        assert standing.found
        os.kill(standing.found.pid, signal.SIGKILL)
    stranger = subprocess.Popen(["sleep", "60"])  # it has the pid that was a's
    try:
        note = place / "state" / "services" / "a.json"
        noted = json.loads(note.read_text())
        note.write_text(json.dumps({**noted, "pid": stranger.pid}))
        (place / "state" / "services" / "b.json").write_text('{"pid": ')  # cut short
        again = host(text)
        assert [one.state for one in again.look_at_all()] == ["down", "down"]
        heard = Heard()
        assert all(one.is_well for one in again.start((), heard))
        assert heard.of("is started") == ["a", "b"]
        again.stop((), Heard())
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_version_is_asked_once_for_each_process(host, place):
    script = place / "version"
    script.write_text(f"#!/bin/sh\necho asked >> {place}/asked\necho engine 1.2.3\n")
    script.chmod(0o755)
    services = host(web("engine", free_port(), version=[str(script)]))
    services.start((), Heard())
    assert [one.version for one in services.look_at_all()] == ["engine 1.2.3"]
    services.look_at_all()
    assert (place / "asked").read_text().count("asked") == 1


@pytest.mark.parametrize(("text", "said"), [
    (declared("a", "", after=["b"]) + declared("b", "", after=["a"]), "wait for each other"),
    (declared("a", "", after=["z"]), "declared nowhere"),
    ('[services.a]\nruns = "docker"\n', r":2: `services\.a\.runs` cannot be 'docker'"),
    ('[services.a]\nruns = "screen"\n', r"`services\.a\.command` is missing"),
    ('[services.a]\nruns = "process"\ncomand = ["x"]\n', r":3: services have no `comand`"),
    ("[services]\nwacht = true\n", "there is no setting `services.wacht`"),
])  # fmt: skip
def test_a_wrong_declaration_is_told_with_file_and_line(host, text, said):
    with pytest.raises(ConfigInvalid, match=said):
        host(text)


def test_without_services_the_way_out_is_said(host):
    with pytest.raises(NoServices) as none:
        host("")
    assert "--reference" in (none.value.hint or "")


def test_a_name_that_is_not_declared_is_told_with_those_that_are(host):
    services = host(web("engine", free_port()))
    with pytest.raises(UsageMistake) as mistake:
        services.start(["enigne"], Heard())
    assert "engine" in (mistake.value.hint or "")
