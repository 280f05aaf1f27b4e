"""The host's paths become the client's, wherever the pieces of a stream end."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.remote_paths import PathRewriter

HOST, HERE = "/srv/areas/a/tree", "/home/me/my work"
TARGET, TARGET_HERE = "/ram/w-1f", "/home/me/my work/target"
PATHS = {HOST: HERE, TARGET: TARGET_HERE}

CASES = [
    (b"", b""),
    (b"no path here / at all", b"no path here / at all"),
    (b"(/srv/areas/a/tree)", b"(/home/me/my work)"),
    (b"/srv/areas/a/tree/src/x.rs:1:2", b"/home/me/my work/src/x.rs:1:2"),
    (b"/srv/areas/a/tree", b"/home/me/my work"),
    (b"/srv/areas/a/tree-2/x", b"/srv/areas/a/tree-2/x"),  # another directory
    (b"/srv/areas/a/trees", b"/srv/areas/a/trees"),
    (b"-L/ram/w-1f/debug", b"-L/home/me/my work/target/debug"),
    (b"path+file:///srv/areas/a/tree#0.1", b"path+file:///home/me/my%20work#0.1"),
    (b"\xff/srv/areas/a/tree\xff", b"\xff/home/me/my work\xff"),
]


@pytest.mark.parametrize(("told", "shown"), CASES)
def test_paths_are_replaced_and_nothing_else(told, shown):
    rewriter = PathRewriter(PATHS)
    assert rewriter.feed(told) + rewriter.flush() == shown


def test_what_may_begin_a_path_is_kept_back_and_nothing_more():
    rewriter = PathRewriter(PATHS)
    assert rewriter.feed(b"in /srv/are") == b"in "
    assert rewriter.keeps_something
    assert rewriter.feed(b"as/b") == b"/srv/areas/b"
    assert not rewriter.keeps_something
    assert rewriter.feed(b"prompt/") == b"prompt"
    assert rewriter.flush() == b"/"


def test_in_json_a_path_is_written_as_json_writes_it():
    rewriter = PathRewriter({HOST: '/a "b"\\c'}, is_json=True)
    line = json.dumps({"path": f"{HOST}/x", "url": f"file://{HOST}"}).encode()
    told = json.loads(rewriter.feed(line) + rewriter.flush())
    assert told == {"path": '/a "b"\\c/x', "url": "file:///a%20%22b%22%5Cc"}


def test_without_a_difference_nothing_is_kept():
    rewriter = PathRewriter({HOST: HOST, "": "/x"})
    assert rewriter.feed(b"/srv/are") == b"/srv/are"


@given(
    st.lists(st.sampled_from([one for one, _ in CASES] + [b"/srv", b"areas/a/", b"/tree"])),
    st.integers(1, 9),
)
def test_it_does_not_matter_where_pieces_end(parts, size):
    whole = b" ".join(parts)
    at_once, in_pieces = PathRewriter(PATHS), PathRewriter(PATHS)
    expected = at_once.feed(whole) + at_once.flush()
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert b"".join(map(in_pieces.feed, pieces)) + in_pieces.flush() == expected
