"""A real llama-server beside a real daemon: seen as it comes, works, changes and goes."""

import http.server
import os
import signal
import threading
from datetime import datetime
from time import time

import pytest

from tests.daemon.clients import open_build, project, replies
from tests.daemon.harness import RealDaemon
from tests.llama.models import Model, write_model
from tests.llama.server import LlamaServer, free_port, llama_server

pytestmark = [pytest.mark.real_llama, pytest.mark.usefixtures("llama_binary")]

CORES = 4
GIVEN_BACK_S = 1.0
SLACK_S = 1.5
"""What a loaded machine may add."""


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("gguf") / "small.gguf", Model().of_size(48 << 20))


@pytest.fixture(scope="session")
def other_model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("gguf") / "other.gguf", Model(layers=2))


def a_daemon(tmp_path, url, more=""):
    return RealDaemon(
        f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{tmp_path / "builds"}"\n'
        f'[builds]\ngates = false\n[host]\ncores = {CORES}\n[inference]\nurl = "{url}"\n{more}'
    )


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def daemon(tmp_path, port):
    one = a_daemon(tmp_path, f"http://127.0.0.1:{port}")
    one.start()
    connection = open_build(one, project(tmp_path, "app"))
    replies(connection)
    connection.send({"type": "started", "pid": os.getpid()})
    yield one
    one.close()


def inference(daemon):
    return daemon.status()["inference"]


def server_of(daemon):
    (one,) = inference(daemon)["servers"] or [{"state": None}]
    return one


def whole_servers(daemon, count):
    """All servers, once so many are there and their memory was looked at."""
    servers = inference(daemon)["servers"]
    is_done = len(servers) == count and all(s["slots"] and s["expected_bytes"] for s in servers)
    return servers if is_done else None


def wait_state(daemon, *states):
    return daemon.wait_for(lambda: server_of(daemon)["state"] in states, f"state {states}")


def kept_since(daemon, at_s):
    """What was kept, by the log, from a moment on: (seconds after it, cores)."""
    found = []
    for one in daemon.decisions():
        if one["decision"] == "inference.kept_cores":
            after_s = datetime.fromisoformat(one["at"]).timestamp() - at_s
            if after_s > 0:
                found.append((after_s, one["kept"]))
    return found


class Loading(http.server.BaseHTTPRequestHandler):
    """Answers as a server that loads."""

    def do_GET(self):
        body = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
        self.send_response(503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


def test_it_is_seen_to_load_wait_work_and_be_killed_and_cores_come_back(daemon, port, model):
    loading = http.server.ThreadingHTTPServer(("127.0.0.1", port), Loading)
    threading.Thread(target=loading.serve_forever, daemon=True).start()
    wait_state(daemon, "loading")
    assert inference(daemon)["holds_heavy"] is True
    loading.shutdown()
    loading.server_close()
    with llama_server(model, port=port) as server:
        wait_state(daemon, "idle")
        done = threading.Thread(target=server.complete, args=(300, "hello", 120.0))
        done.start()
        wait_state(daemon, "busy")
        daemon.wait_for(lambda: inference(daemon)["kept_cores"] == 1, "a core is kept")
        daemon.wait_for(lambda: (server_of(daemon)["tokens_per_s"] or 0) > 0, "it has a speed")
        assert daemon.status()["budget"]["capacity"] == CORES - 1
        done.join()
        ended_s = time()
        daemon.wait_for(lambda: inference(daemon)["kept_cores"] == 0, "cores come back")
        (after_s, kept) = kept_since(daemon, ended_s)[-1]
        assert kept == 0 and after_s < GIVEN_BACK_S + SLACK_S
        told = daemon.wait_for(lambda: server_of(daemon).get("expected_bytes"), "its memory")
        assert abs(told - model.stat().st_size) < (1 << 20)
    wait_state(daemon, "absent")
    assert server_of(daemon)["pid"] is None
    changes = [one for one in daemon.decisions() if one["decision"] == "inference.changed"]
    states = [one["state"] for one in changes]
    assert states == ["loading", *(["absent"] if states[1] == "absent" else []),
                      *(["loading"] if states.count("loading") > 1 else []),
                      "idle", "busy", "idle", "absent"]  # fmt: skip


def test_another_model_at_the_same_port_begins_anew(daemon, port, model, other_model):
    with llama_server(model, port=port):
        wait_state(daemon, "idle")
        first = daemon.wait_for(lambda: server_of(daemon).get("expected_bytes"), "its memory")
    with llama_server(other_model, port=port):
        daemon.wait_for(
            lambda: server_of(daemon).get("expected_bytes") not in (None, first), "the other one"
        )
        assert server_of(daemon)["state"] == "idle"


def test_a_server_that_is_stopped_keeps_its_state_and_nothing_else_waits_for_it(
    daemon, port, model
):
    with llama_server(model, port=port) as server:
        wait_state(daemon, "idle")
        _stop(server)
        daemon.wait_for(lambda: server_of(daemon)["slow_s"] is not None, "it is slow")
        assert server_of(daemon)["state"] == "idle"
        assert daemon.status()["memory"]["failure"] is None
        _go_on(server)
        daemon.wait_for(lambda: server_of(daemon)["slow_s"] is None, "it answers again")


def test_two_servers_one_of_which_wants_a_key_are_told_apart(tmp_path, model, other_model):
    key = tmp_path / "key"
    key.write_text("secret\n")
    args = ("-t", "1", "-np", "1", "-c", "1024")
    with (
        llama_server(model, *args) as first,
        llama_server(other_model, *args, "--api-key", "secret") as second,
    ):
        one = a_daemon(tmp_path, "", f'api_key_file = "{key}"\n')
        one.config.write_text(
            one.config.read_text().replace('url = ""', f'url = ["{first.url}", "{second.url}"]')
        )
        try:
            one.start()
            told = one.wait_for(lambda: whole_servers(one, 2), "both servers, whole")
            assert [s["state"] for s in told] == ["idle", "idle"]
            assert told[0]["expected_bytes"] > told[1]["expected_bytes"] > 0
            assert "secret" not in (one.home / "state" / "forged.log").read_text()
        finally:
            one.close()


def _stop(server: LlamaServer):
    assert server.process
    os.kill(server.process.pid, signal.SIGSTOP)


def _go_on(server: LlamaServer):
    assert server.process
    os.kill(server.process.pid, signal.SIGCONT)
