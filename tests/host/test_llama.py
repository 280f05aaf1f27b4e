"""What a llama-server says of itself, asked of servers that answer as one does, or as none does."""

import time

import pytest

from forge.core.inference_seen import Answer, Slot
from forge.core.inference_settings import ServerSpec
from forge.host import llama
from forge.host.llama import LlamaServer
from tests.llama.fake import (
    KEY_WRONG,
    LOADING,
    METRICS,
    OFF,
    PROPS,
    SLOT,
    endless,
    fake_llama,
    reply,
    silent,
)


def server_at(url, key=None, clock=time.monotonic):
    return LlamaServer(ServerSpec("ai-engine", url, key), clock)


def look(fake, key=None, *, sleeps=False):
    server = server_at(fake.url, key)
    try:
        return server.look(sleeps=sleeps)
    finally:
        server.close()


class Clock:
    """A steady clock that the test moves on."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def test_a_server_that_is_ready_tells_what_it_does():
    with fake_llama() as fake:
        served = look(fake)
        assert served.answer is Answer.READY
        assert served.slots == (Slot(0, 512, False, False),)
        assert (served.busy_slots, served.deferred) == (0, 0)
        assert (served.model_path, served.build) == ("/m/a.gguf", "b1")
        assert served.missing == ()
        assert served.took_s is not None


def test_props_and_metrics_are_asked_for_seldom(clock):
    with fake_llama() as fake:
        server = server_at(fake.url, clock=clock)
        for _ in range(4):
            assert server.look(sleeps=False).answer is Answer.READY
        assert fake.asked == ["/props", "/slots", "/metrics", "/slots", "/slots", "/slots"]
        clock.now_s += llama.METRICS_S
        server.look(sleeps=False)
        clock.now_s += llama.PROPS_S
        server.look(sleeps=False)
        assert fake.asked[6:] == ["/slots", "/metrics", "/props", "/slots", "/metrics"]


def test_requests_may_wait_while_all_slots_are_busy(clock):
    waiting = METRICS.replace(b"deferred 0", b"deferred 3")
    with fake_llama(slots=reply([SLOT | {"is_processing": True}]), metrics=reply(waiting)) as fake:
        server = server_at(fake.url, clock=clock)
        served = server.look(sleeps=False)
        assert (served.busy_slots, served.deferred) == (1, 3)
        clock.now_s += llama.METRICS_FULL_S
        server.look(sleeps=False)
        assert fake.asked.count("/metrics") == 2
        fake.pages["/slots"] = reply([SLOT])  # nobody waits for a slot that is free
        served = server.look(sleeps=False)
        assert (served.busy_slots, served.deferred) == (0, 0)
        assert fake.asked.count("/metrics") == 2


@pytest.mark.parametrize(
    ("pages", "key", "busy_slots", "missing"),
    [
        ({"metrics": OFF}, None, 0, ("/metrics: off (start it with --metrics)",)),
        ({"slots": OFF}, None, 0, ("/slots: off (start it with --slots)",)),
        (
            {"slots": OFF, "metrics": OFF}, None, None,
            ("/metrics: off (start it with --metrics)", "/slots: off (start it with --slots)"),
        ),
        (
            {"slots": KEY_WRONG, "metrics": KEY_WRONG, "props": KEY_WRONG}, "bad", None,
            tuple(f"/{name}: the API key is wrong" for name in ("metrics", "props", "slots")),
        ),
        (
            {"slots": KEY_WRONG, "metrics": OFF, "props": KEY_WRONG}, None, None,
            (
                "/metrics: off (start it with --metrics)",
                "/props: it wants an API key", "/slots: it wants an API key",
            ),
        ),
        ({"metrics": reply(b"up 1\n")}, None, 0, ("/metrics: not those of a llama-server",)),
    ],
)  # fmt: skip
def test_a_server_is_ready_though_it_does_not_tell_all(pages, key, busy_slots, missing):
    with fake_llama(**pages) as fake:
        served = look(fake, key)
        assert served.answer is Answer.READY
        assert (served.busy_slots, served.missing) == (busy_slots, missing)


def test_what_is_refused_is_asked_for_again_after_a_while(clock):
    with fake_llama(slots=KEY_WRONG, props=KEY_WRONG, metrics=KEY_WRONG) as fake:
        server = server_at(fake.url, "bad", clock)
        for _ in range(3):
            server.look(sleeps=False)
        assert fake.asked.count("/slots") == fake.asked.count("/props") == 1
        assert fake.asked.count("/metrics") == 1
        fake.pages |= {"/slots": reply([SLOT]), "/props": reply(PROPS), "/metrics": reply(METRICS)}
        clock.now_s += llama.REFUSED_S
        assert server.look(sleeps=False).missing == ()


@pytest.mark.parametrize(
    ("pages", "reason"),
    [
        ({"props": reply({"error": "none"}, 404)}, "it answers /props with HTTP 404"),
        ({"props": reply(b"", 302, "Location: /other\r\n")}, "it answers /props with HTTP 302"),
        ({"props": reply(b"<html>hello</html>")}, "its /props are not those of a llama-server"),
        ({"slots": reply({"jobs": []})}, "its /slots are not those of a llama-server"),
        ({"slots": reply(b"[]")}, "its /slots are not those of a llama-server"),
        ({"slots": reply(b"busy", 503)}, "it answers /slots with HTTP 503"),  # as a proxy says it
        ({"props": b"220 mail.example ESMTP\r\n"}, "it does not speak HTTP"),
        (
            {"slots": OFF, "metrics": OFF, "health": reply({"status": "up"})},
            "its /health is not that of a llama-server",
        ),
    ],
)
def test_another_service_is_a_stranger(pages, reason):
    with fake_llama(**pages) as fake:
        served = look(fake)
        assert (served.answer, served.reason) == (Answer.STRANGER, reason)


def test_an_answer_without_end_is_a_strangers():
    with fake_llama(props=endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (1 << 20))) as fake:
        served = look(fake)
        assert (served.answer, served.reason) == (
            Answer.STRANGER, "its answer to /props has no end",
        )  # fmt: skip


def test_a_server_that_loads_says_so_for_minutes(clock):
    with fake_llama() as fake:
        fake.answer(LOADING)
        server = server_at(fake.url, clock=clock)
        for _ in range(5):
            clock.now_s += 60.0
            assert server.look(sleeps=False).answer is Answer.LOADING
        fake.pages |= {"/slots": reply([SLOT]), "/props": reply(PROPS), "/metrics": reply(METRICS)}
        assert server.look(sleeps=False).answer is Answer.READY


def test_a_silent_server_is_slow_and_has_one_request_of_ours():
    with fake_llama() as fake:
        server = server_at(fake.url)
        assert server.look(sleeps=False).answer is Answer.READY
        fake.answer(silent)
        waited = [server.look(sleeps=False) for _ in range(3)]
        assert [one.answer for one in waited] == [Answer.SLOW] * 3
        assert waited[0].took_s < waited[1].took_s < waited[2].took_s
        assert fake.asked == ["/props", "/slots", "/metrics", "/slots"]
        server.close()


def test_a_slow_answer_is_heard_by_a_later_look():
    def late(connection):
        time.sleep(llama.LOOK_S * 1.5)
        connection.sendall(reply([SLOT]))

    with fake_llama(slots=late) as fake:
        server = server_at(fake.url)
        answers = [server.look(sleeps=False).answer for _ in range(2)]
        assert answers == [Answer.SLOW, Answer.READY]
        assert fake.asked.count("/slots") == 1


def test_nobody_is_there_and_then_somebody_is_and_then_nobody():
    with fake_llama() as fake:
        server = server_at(fake.url)
        assert server.look(sleeps=False).answer is Answer.READY
        fake.close()
        served = server.look(sleeps=False)
        assert (served.answer, served.reason) == (Answer.NONE, "connection refused")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 70, "a..b"])
def test_a_host_that_is_not_to_be_found_has_nobody(host):
    served = server_at(f"http://{host}:8080").look(sleeps=False)
    assert served.answer is Answer.NONE
    assert served.reason


def test_a_connection_that_is_cut_is_tried_once_more():
    cuts = [b""]

    def cut_once(connection):
        connection.sendall(cuts.pop() if cuts else reply([SLOT]))

    with fake_llama(slots=cut_once) as fake:
        assert look(fake).answer is Answer.READY
        assert fake.asked == ["/props", "/slots", "/slots", "/metrics"]


def test_another_server_is_asked_for_its_props_at_once():
    with fake_llama() as fake:
        server = server_at(fake.url)
        server.look(sleeps=False)
        fake.pages["/props"] = reply(PROPS | {"model_path": "/m/b.gguf"})
        assert server.look(sleeps=False).model_path == "/m/a.gguf"
        server.forget()
        assert server.look(sleeps=False).model_path == "/m/b.gguf"


@pytest.mark.parametrize(
    ("sleeps", "asked"),
    [
        (True, ["/props", "/metrics"] * 2),  # /slots would keep it awake
        (None, ["/props", "/slots", "/metrics", "/props", "/slots"]),  # nobody knows: look first
        (False, ["/props", "/slots", "/metrics", "/slots"]),
    ],
)
def test_a_server_that_may_sleep_is_not_kept_awake(sleeps, asked):
    with fake_llama() as fake:
        server = server_at(fake.url)
        for _ in range(2):
            assert server.look(sleeps=sleeps).busy_slots == 0
        assert fake.asked == asked


def test_a_server_that_sleeps_is_not_woken_up():
    with fake_llama(props=reply(PROPS | {"is_sleeping": True})) as fake:
        served = look(fake, sleeps=None)
        assert (served.answer, served.busy_slots, served.slots) == (Answer.READY, 0, None)
        assert served.reason.startswith("it sleeps")
        assert fake.asked == ["/props"]


def test_an_older_server_knows_no_sleep():
    older = {name: value for name, value in PROPS.items() if name != "is_sleeping"}
    with fake_llama(props=reply(older)) as fake:
        server = server_at(fake.url)
        for _ in range(2):
            server.look(sleeps=None)
        assert fake.asked.count("/props") == 1
