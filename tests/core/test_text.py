"""Text made fit for where it goes."""

import pytest

from forge.core.text import printable, quoted_for_systemd


@pytest.mark.parametrize(("word", "quoted"), [
    ("a", '"a"'),
    ("a b", '"a b"'),
    ('a"b', r'"a\"b"'),
    ("a\\b", r'"a\\b"'),
    ("100%", '"100%%"'),
])  # fmt: skip
def test_a_word_is_quoted_for_a_unit(word, quoted):
    assert quoted_for_systemd(word) == quoted


def test_control_characters_are_not_shown():
    assert printable("a\x1b[2Jb\n") == "a?[2Jb?"
