"""Asking over HTTP, and what all may come back."""

import contextlib
import socket
import time

import pytest

from forge.host import http_get
from forge.host.http_get import Address, HttpGet, NoAnswer
from tests.llama.fake import endless, fake_llama, reply, silent


@contextlib.contextmanager
def asking(page, api_key=None):
    with fake_llama(slots=page) as server:
        http = HttpGet(Address.of(server.url), api_key)
        try:
            yield http, server
        finally:
            http.close()


def get(http, path="/slots", wait_s=10.0):
    return http.get(path, time.monotonic() + wait_s)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", Address("127.0.0.1", 8080, "", False)),
        ("http://[::1]:8080/", Address("::1", 8080, "", False)),
        ("https://ai.example/llama/", Address("ai.example", 443, "/llama", True)),
        ("http://localhost", Address("localhost", 80, "", False)),
    ],
)
def test_a_url_says_where_to_ask(url, address):
    assert Address.of(url) == address


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://a", "http://", "http://a:99999"])
def test_other_urls_are_refused(url):
    with pytest.raises(ValueError):
        Address.of(url)


@pytest.mark.parametrize(
    ("page", "status", "body"),
    [
        (reply(b"[]"), 200, b"[]"),
        (reply(b"no", 404), 404, b"no"),
        (reply(b"", 302, "Location: http://127.0.0.1:9/\r\n"), 302, b""),  # it is not followed
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n", 200, b"[]"),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]", 200, b"[1]"),  # its end is the connection's
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1", 200, b"[1"),  # cut off
    ],
)
def test_a_reply_is_read_to_its_end(page, status, body):
    with asking(page) as (http, _):
        got = get(http)
        assert (got.status, got.body) == (status, body)


@pytest.mark.parametrize(
    "page",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\xff\x16\x03 garbage",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + b"A: b\r\n" * 500 + b"\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"A" * 100_000,
    ],
)
def test_what_is_no_http_is_no_answer(page):
    with asking(page) as (http, _), pytest.raises(NoAnswer):
        get(http)


def test_a_body_without_end_is_read_so_far_and_no_further(monkeypatch):
    monkeypatch.setattr(http_get, "MAX_BODY_BYTES", 1 << 20)
    page = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)
    with asking(page) as (http, _), pytest.raises(NoAnswer, match="has no end"):
        get(http)


@pytest.mark.parametrize(
    "page",
    [
        endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 0.02),
        endless(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.02),
        endless(b"H", b"T", 0.02),
    ],
)
def test_an_answer_in_drips_is_not_waited_for(page):
    with asking(page) as (http, _):
        began_s = time.monotonic()
        with pytest.raises(TimeoutError):
            get(http)
        assert time.monotonic() - began_s < 8.0  # one second, and a busy machine
        assert http.waiting_s is None


def test_a_request_without_an_answer_stays_open_and_is_heard_later():
    answers: list[bytes] = []

    def late(connection):
        while not answers:
            time.sleep(0.01)
        connection.sendall(answers[0])

    with asking(late) as (http, server):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                get(http, wait_s=0.05)
        assert http.waiting_s is not None
        answers.append(reply(b"[1]"))
        got = get(http)
        assert (got.body, server.asked) == (b"[1]", ["/slots"])
        assert got.took_s >= 0.15


def test_another_page_is_asked_for_when_the_open_request_is_answered():
    with asking(silent) as (http, server):
        with pytest.raises(TimeoutError):
            get(http, wait_s=0.05)
        with pytest.raises(TimeoutError):
            get(http, "/props", 0.05)
        assert server.asked == ["/slots"]


def test_a_request_that_is_never_answered_is_made_anew(monkeypatch):
    monkeypatch.setattr(http_get, "GIVE_UP_S", 0.0)
    with asking(silent) as (http, server):
        for _ in range(2):
            with pytest.raises(TimeoutError):
                get(http, wait_s=0.2)
        assert server.asked == ["/slots", "/slots"]


def test_a_connection_that_ends_without_an_answer_is_reset():
    with asking(b"") as (http, _), pytest.raises(ConnectionResetError):
        get(http)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        get(HttpGet(Address.of(f"http://127.0.0.1:{port}")))


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("s3cret", "Authorization: Bearer s3cret\r\n"),
        (None, None),
        ("a\r\nX-Other: b", None),  # a key must not become another header
        ("schlüssel", None),
    ],
)
def test_the_key_is_sent_as_a_bearers(key, sent):
    with asking(reply(b"[]"), key) as (http, server):
        get(http)
        head = server.heads[0]
        assert (sent in head) if sent else ("Authorization" not in head and "X-Other" not in head)
        assert "Connection: close\r\n" in head


def test_a_place_below_a_path_is_asked():
    with fake_llama() as server:
        server.pages["/api/slots"] = reply(b"[2]")
        assert get(HttpGet(Address.of(f"{server.url}/api/"))).body == b"[2]"


def test_a_plain_server_does_not_pass_for_a_safe_one():
    with fake_llama() as server, pytest.raises(NoAnswer, match="no safe connection"):
        get(HttpGet(Address("127.0.0.1", server.port, "", is_tls=True)))
