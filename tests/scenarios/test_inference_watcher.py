"""Looks at a real llama-server: what it does, what it has, and all that may befall it."""

import concurrent.futures
import os
import shutil
import signal
import sys
import threading
import time

import pytest

from forge.core.inference_seen import Answer
from forge.core.inference_settings import ServerSpec
from forge.host.inference import InferenceWatcher
from tests.llama.build import BINARY
from tests.llama.fake import fake_llama, reply
from tests.llama.models import DRAFT, TINY, write_model
from tests.llama.server import OLD_BINARY, LlamaServer, free_port, llama_server

pytestmark = [
    pytest.mark.real_llama,
    pytest.mark.usefixtures("llama_binary"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes of Linux"),
]
BOTH = pytest.mark.parametrize(
    "binary",
    [
        pytest.param(
            OLD_BINARY, id="old",
            marks=pytest.mark.skipif(not OLD_BINARY.exists(), reason=f"no {OLD_BINARY.name}"),
        ),
        pytest.param(BINARY, id="new"),
    ],
)  # fmt: skip
TWO_SLOTS = ("-c", "4096", "-np", "2", "-t", "1")
PATIENCE_S = 60.0
NOBODY = "65534"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return write_model(place / "tiny.gguf", TINY), write_model(place / "draft.gguf", DRAFT)


@pytest.fixture
def watcher():
    made = InferenceWatcher()
    yield made
    made.close()


def look(watcher, server, key=None, *, deep=True):
    return watcher.look([ServerSpec("ai-engine", server.url, key)], deep=deep)[0]


def look_until(watcher, server, is_so, *, deep=False):
    """Look until what is seen is so, as it takes a server a while."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        seen = look(watcher, server, deep=deep)
        if is_so(seen):
            return seen
        time.sleep(0.05)
    raise AssertionError(f"it never was so: {seen}")


@BOTH
def test_an_idle_server_tells_all(models, watcher, binary):
    with llama_server(models[0], *TWO_SLOTS, binary=binary) as server:
        seen = look(watcher, server)
        served, process = seen.served, seen.process
        assert (served.answer, served.missing) == (Answer.READY, ())
        assert [one.context_tokens for one in served.slots] == [2048, 2048]
        assert (served.busy_slots, served.deferred, served.predicted_tokens_total) == (0, 0, 0)
        assert (served.context_tokens, served.shares_context) == (4096, False)
        assert served.model_path == str(models[0])
        assert (process.pid, seen.no_process, seen.no_need) == (server.pid, "", "")
        model = process.models[0]
        assert model.path == str(models[0])
        assert 0.9 * models[0].stat().st_size < model.resident_bytes == model.size_bytes
        assert process.anonymous_bytes > seen.need.kv_bytes > 0  # it is filled from the start
        assert seen.need.weights_bytes == models[0].stat().st_size


@BOTH
def test_a_server_that_generates_is_busy_and_counts(models, watcher, binary):
    with llama_server(models[0], *TWO_SLOTS, binary=binary) as server:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            request = pool.submit(server.complete, 1500)
            seen = look_until(watcher, server, lambda seen: seen.served.busy_slots)
            decoded = look_until(
                watcher, server,
                lambda seen: any((one.decoded or 0) > 10 for one in seen.served.slots or ()),
            )  # fmt: skip
            assert request.result()["tokens_predicted"] == 1500
        assert sum(one.is_busy for one in seen.served.slots) == 1
        assert decoded.served.answer is Answer.READY
        done = look(InferenceWatcher(), server)
        assert done.served.busy_slots == 0
        assert done.served.predicted_tokens_total == 1500
        assert done.served.predicted_s_total > 0


def test_requests_that_wait_are_seen(models, watcher):
    with (
        llama_server(models[0], *TWO_SLOTS) as server,
        concurrent.futures.ThreadPoolExecutor(5) as pool,
    ):
        requests = [pool.submit(server.complete, 600) for _ in range(5)]
        seen = look_until(watcher, server, lambda seen: (seen.served.deferred or 0) > 0)
        assert seen.served.busy_slots == 2
        for one in requests:
            one.result()


def test_slots_that_share_their_context_are_not_added_up(models, watcher):
    with llama_server(models[0], "-c", "4096", "-np", "2", "-kvu") as server:
        served = look(watcher, server).served
        assert (served.context_tokens, served.shares_context) == (4096, True)
        assert [one.context_tokens for one in served.slots] == [4096, 4096]


def test_a_draft_model_is_seen_beside_the_model(models, watcher):
    words = ("-c", "4096", "-np", "1", "-md", str(models[1]), "--spec-type", "draft-simple")
    with llama_server(models[0], *words) as server:
        seen = look(watcher, server)
        assert [one.is_speculative for one in seen.served.slots] == [True]
        assert {one.path for one in seen.process.models} == {str(path) for path in models}
        assert seen.need.draft_weights_bytes == models[1].stat().st_size
        assert seen.need.draft_kv_bytes > 0


@BOTH
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to lock without a limit")
def test_locked_weights_are_seen(models, watcher, binary):
    lock = ["--mlock"] if binary == OLD_BINARY else ["--load-mode", "mmap+mlock"]
    with llama_server(models[0], "-c", "1024", *lock, binary=binary) as server:
        process = look(watcher, server).process
        assert 0 < process.models[0].size_bytes <= process.locked_bytes


def test_weights_that_are_not_mapped_are_no_file_to_be_resident(models, watcher):
    with llama_server(models[0], "-c", "1024", "--load-mode", "none") as server:
        seen = look(watcher, server)
        assert seen.process.models == ()
        assert seen.process.anonymous_bytes > seen.need.weights_bytes


def test_a_server_that_is_killed_is_gone(models, watcher):
    with llama_server(models[0], *TWO_SLOTS) as server:
        assert look(watcher, server).process is not None
        server.stop()
        seen = look(watcher, server, deep=False)
        assert (seen.served.answer, seen.served.reason) == (Answer.NONE, "connection refused")
        assert (seen.process, seen.need) == (None, None)


def test_a_server_that_is_started_again_with_another_model_is_another(models, watcher):
    with llama_server(models[0], *TWO_SLOTS) as first:
        before = look(watcher, first)
        first.stop()
        words = ("-c", "2048", "-np", "1")
        with llama_server(models[1], *words, port=first.port) as second:
            after = look(watcher, second, deep=False)
            assert after.served.model_path == str(models[1])
            assert after.served.context_tokens == 2048
            assert after.process.pid == second.pid
            assert after.process.started_s >= before.process.started_s
            assert after.need.weights_bytes == models[1].stat().st_size


def test_a_port_that_something_else_has_taken_is_a_strangers(models, watcher):
    with fake_llama(props=reply({"swagger": "2.0"}), slots=reply({"jobs": []})) as other:
        seen = look(watcher, other)
        assert seen.served.answer is Answer.STRANGER
        assert (seen.process, seen.need) == (None, None)


def test_a_key_that_is_wrong_is_said_and_hides_nothing_of_the_process(models, watcher):
    with llama_server(models[0], "-c", "1024", "--api-key", "s3cret") as server:
        wrong = look(watcher, server, "guess")
        assert wrong.served.answer is Answer.READY
        assert wrong.served.missing == tuple(
            f"/{name}: the API key is wrong" for name in ("metrics", "props", "slots")
        )
        assert wrong.process.pid == server.pid
        assert "s3cret" not in repr(wrong)
        right = look(watcher, server, "s3cret")
        assert (right.served.missing, right.served.busy_slots) == ((), 0)


def test_a_server_that_loads_says_so_and_then_is_ready(models, watcher):
    server, answers = LlamaServer(models[0], TWO_SLOTS), set()

    def is_ready(seen):
        answers.add(seen.served.answer)
        return seen.served.answer is Answer.READY

    try:
        server.start(wait=False)
        look_until(watcher, server, is_ready)
        assert answers <= {Answer.NONE, Answer.LOADING, Answer.READY}
    finally:
        server.stop()


def test_a_server_that_hangs_is_slow_and_found_again(models, watcher):
    with llama_server(models[0], *TWO_SLOTS) as server:
        assert look(watcher, server).served.answer is Answer.READY
        os.kill(server.pid, signal.SIGSTOP)
        try:
            seen = [look(watcher, server, deep=False) for _ in range(3)]
            assert {one.served.answer for one in seen} == {Answer.SLOW}
            assert seen[2].served.took_s > seen[0].served.took_s
            assert all(one.process.pid == server.pid for one in seen)  # its memory is still seen
            assert seen[2].process.resident_bytes > 0
            assert seen[2].need is not None
        finally:
            os.kill(server.pid, signal.SIGCONT)
        look_until(watcher, server, lambda seen: seen.served.answer is Answer.READY)


def test_two_servers_are_two(models, watcher):
    with (
        llama_server(models[0], *TWO_SLOTS) as one,
        llama_server(models[1], "-c", "1024", "-np", "1") as other,
    ):
        specs = [ServerSpec("ai-engine", one.url), ServerSpec("second", other.url)]
        seen = watcher.look(specs, deep=True)
        assert [(each.name, each.process.pid) for each in seen] == [
            ("ai-engine", one.pid), ("second", other.pid),
        ]  # fmt: skip
        os.kill(one.pid, signal.SIGSTOP)  # one that hangs keeps the other from nothing
        try:
            seen = watcher.look(specs, deep=False)
            assert [each.served.answer for each in seen] == [Answer.SLOW, Answer.READY]
        finally:
            os.kill(one.pid, signal.SIGCONT)
        assert [each.name for each in watcher.look(specs[1:], deep=False)] == ["second"]


def test_a_model_whose_file_has_vanished_is_still_watched(models, tmp_path):
    model = shutil.copy(models[0], tmp_path / "copy.gguf")
    with llama_server(model, *TWO_SLOTS) as server:
        before = look(InferenceWatcher(), server)
        model.unlink()
        after = look(InferenceWatcher(), server)  # one that has never seen the file
        assert after.process.models == before.process.models
        assert after.need is None
        assert "copy.gguf" in after.no_need


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
)
def test_a_process_of_another_user_is_not_ours_to_inspect(models, watcher):
    """Here the server is ours and the one who looks is not: it is the same, and easier to run."""
    with llama_server(models[0], *TWO_SLOTS) as server:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(int(NOBODY), int(NOBODY), int(NOBODY))
                os.setresuid(int(NOBODY), int(NOBODY), int(NOBODY))
                seen = look(InferenceWatcher(), server)
                told = [seen.served.answer, seen.process, seen.need, seen.no_process, seen.no_need]
                os.write(writer, repr([str(one) for one in told]).encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as answer:
            assert answer.read() == repr(
                [
                    "ready", "None", "None",
                    f"port {server.port} belongs to a process of root, not ours to inspect",
                    "its command line is not known",
                ]
            )  # fmt: skip


def test_a_server_that_is_to_sleep_falls_asleep_though_it_is_watched(models, watcher):
    words = ("-c", "1024", "-np", "1", "--sleep-idle-seconds", "1")
    with llama_server(models[0], *words) as server:
        asleep = look_until(watcher, server, lambda seen: "sleeps" in seen.served.reason)
        assert (asleep.served.answer, asleep.served.busy_slots) == (Answer.READY, 0)
        for _ in range(5):
            assert "sleeps" in look(watcher, server).served.reason


def test_nobody_is_at_a_port_that_nobody_has(watcher):
    seen = look(watcher, LlamaServer(BINARY, port=free_port()))
    assert (seen.served.answer, seen.process) == (Answer.NONE, None)


def test_looks_leave_no_threads_and_no_descriptors_behind(models, watcher):
    with llama_server(models[0], *TWO_SLOTS) as server:
        look(watcher, server)
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        for _ in range(20):
            look(watcher, server)
        assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
