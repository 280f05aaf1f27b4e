"""Bytes of a terminal as keys, however they are cut."""

import os
import pty

import pytest

from forge.cli.top_keys import KeyReader
from forge.cli.top_screen import Screen


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"j", ["j"]),
        (b"jjk?", ["j", "j", "k", "?"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA", ["up"]),  # a terminal whose cursor keys are in application mode
        (b"\x1b[5~\x1b[6~", ["page up", "page down"]),
        (b"\x1b[H\x1b[4~", ["home", "end"]),
        (b"\r", ["enter"]),
        (b"\x03", ["ctrl-c"]),
        (b"\x1b[1;2A", []),  # with shift: means nothing, and no letter of it is a key
        (b"\x1b[<0;10;5Mq", ["q"]),  # a mouse
        (b"\x1bc", []),  # alt-c is not c
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\x1b[\x03", ["escape", "[", "ctrl-c"]),  # no sequence after all
        ("ä€q".encode(), ["q"]),
        (b"\xff\x00q", ["q"]),
        (b"\x1b[200~cy\x1b[A\x1b[201~q", ["q"]),  # pasted text ends no build
    ],
)
def test_keys_have_names_whole_and_byte_by_byte(sent, keys):
    assert KeyReader().feed(sent) == keys
    reader = KeyReader()
    assert [key for byte in sent for key in reader.feed(bytes([byte]))] == keys
    assert not reader.is_waiting


def test_a_lone_escape_is_a_key_when_nothing_follows_it():
    reader = KeyReader()
    assert reader.feed(b"\x1b") == []
    assert reader.is_waiting
    assert reader.settle() == ["escape"]
    assert not reader.is_waiting
    assert reader.feed(b"A") == ["A"]


def test_half_a_sequence_that_nobody_ends_is_no_key():
    reader = KeyReader()
    assert reader.feed(b"\x1b[") == []
    assert reader.settle() == []
    assert reader.feed(b"q") == ["q"]


def test_the_rest_of_a_paste_is_waited_for_without_hurry():
    reader = KeyReader()
    assert reader.feed(b"\x1b[200~c") == []
    assert not reader.is_waiting
    assert reader.settle() == []
    assert reader.feed(b"y\x1b[201~") == []
    assert reader.feed(b"q") == ["q"]


def test_keys_come_through_a_terminal_in_pieces():
    outer, inner = pty.openpty()
    reader = KeyReader()
    keys = []
    try:
        with Screen(inner, inner):
            for piece in (b"j\x1b", b"[", b"6", b"~k", b"\x1bO", b"B"):
                os.write(outer, piece)
                keys += reader.feed(os.read(inner, 1024))
            while len(keys) < 4:
                keys += reader.feed(os.read(inner, 1024))
    finally:
        os.close(outer)
        os.close(inner)
    assert keys == ["j", "page down", "k", "down"]
