"""The terminal of a full-screen view: it is given back whatever happens."""

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator

import pytest

from forge.cli.top_screen import ENTER, LEAVE, Screen


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    outer, inner = pty.openpty()
    yield outer, inner
    for end in (outer, inner):
        os.close(end)


def sent(terminal: tuple[int, int]) -> str:
    """What has been sent until now, and nothing that is still under way."""
    outer, inner = terminal
    os.write(inner, b"(end)")
    found = b""
    while not found.endswith(b"(end)"):
        found += os.read(outer, 4096)
    return found.decode().removesuffix("(end)")


def test_a_terminal_is_as_before_even_after_an_exception(terminal):
    _, inner = terminal
    before = termios.tcgetattr(inner)
    with pytest.raises(ZeroDivisionError), Screen(inner, inner):
        assert not termios.tcgetattr(inner)[3] & (termios.ICANON | termios.ECHO)
        assert termios.tcgetattr(inner)[3] & termios.ISIG  # Ctrl-C is still a signal
        _ = 1 / 0
    assert termios.tcgetattr(inner) == before
    assert sent(terminal) == ENTER + LEAVE


def test_it_is_given_back_once(terminal):
    _, inner = terminal
    with Screen(inner, inner) as screen:
        screen.give_back()
    assert sent(terminal) == ENTER + LEAVE


def test_only_lines_that_have_changed_are_drawn(terminal):
    _, inner = terminal
    with Screen(inner, inner) as screen:
        screen.show(["one", "two"])
        assert "one" in sent(terminal)
        screen.show(["one", "2"])
        assert sent(terminal) == "\x1b[2;1H2\x1b[0m"
        screen.show(["one", "2"])
        assert sent(terminal) == ""
        screen.forget()
        screen.show(["one", "2"])
        assert "one" in sent(terminal)


def test_what_the_encoding_lacks_is_replaced(terminal):
    _, inner = terminal
    screen = Screen(inner, inner, "ascii")
    screen.show(["caf\u00e9\u2026"])
    assert "caf??" in sent(terminal)


def test_the_size_is_that_of_the_terminal_and_never_nothing(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "7")
    _, inner = terminal
    screen = Screen(inner, inner)
    assert screen.size() == (80, 24)
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 40, 0, 0))
    assert screen.size() == (40, 10)
