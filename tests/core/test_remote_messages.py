"""What frames say is checked field by field, on both ends."""

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.remote_frames import DATA, ECHOED, EMPTY, Frame, FrameReader, FrameType
from forge.core.remote_messages import (
    MESSAGES,
    Attach,
    Error,
    Exit,
    Fetch,
    File,
    FileEnd,
    Hello,
    InfoIs,
    JobList,
    MessageRefused,
    Need,
    Notice,
    Open,
    Ready,
    Run,
    Signal,
    Started,
    StdinTaken,
    Welcome,
    Window,
    from_frame,
    to_frame,
)

DIGEST = "0a" * 32
ALL = [
    Hello(versions=[1], client="0.1.0", now_ns=1),
    Open(project="ripgrep", checkout="0123456789ab", tree=DIGEST),
    Open(project="a", checkout="0123456789ab", tree=DIGEST, base=DIGEST),
    Window(columns=80, rows=24),
    Run(argv=["build", "--bin", "caf\udce9"], cwd="a/b", env={"TERM": "xterm"}, columns=80),
    Signal(name="INT"),
    Fetch(base="target", paths=["debug/hello"]),
    Attach(job="j1"),
    Welcome(version=1, forge="0.1.0", key="laptop", system="Linux", machine="x86_64", now_ns=5),
    Need(blobs=[[0, 3], [7, 1]]),
    Ready(tree=DIGEST, root="/area/tree"),
    Started(target_dir="/m/hello-0123456789ab"),
    StdinTaken(size=4096),
    Exit(code=101, changed=["Cargo.lock"]),
    Exit(signal="KILL"),
    File(path="debug/hello", mode=0o755, mtime_ns=1, size=5),
    FileEnd(digest=DIGEST),
    JobList(jobs=[{"job": "j1"}]),
    InfoIs(info={"cores": 32}),
    Notice(line="a new day"),
    Error(slug="usage-mistake", message="no", hint="yes", exit_code=64),
]


def there_and_back(message):
    (frame,) = FrameReader(FrameType).feed(to_frame(message))
    return from_frame(frame)


@pytest.mark.parametrize("message", ALL, ids=lambda one: one.frame.name)
def test_a_message_comes_out_as_it_went_in(message):
    assert there_and_back(message) == message


def test_every_type_that_is_not_data_has_a_message_and_is_tried_here():
    assert set(MESSAGES) == set(FrameType) - DATA - EMPTY - ECHOED
    assert {type(one) for one in ALL} == set(MESSAGES.values())


def frame_of(kind, **values):
    return Frame(kind, json.dumps(values).encode())


OPEN = {"project": "p", "checkout": "0123456789ab", "tree": DIGEST}


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (FrameType.OPEN, OPEN | {"project": ".."}, "project"),
        (FrameType.OPEN, OPEN | {"project": "a/b"}, "project"),
        (FrameType.OPEN, OPEN | {"project": "-rf"}, "project"),
        (FrameType.OPEN, OPEN | {"project": ".ssh"}, "project"),
        (FrameType.OPEN, OPEN | {"project": "a\n"}, "project"),  # `$` would let it through
        (FrameType.OPEN, OPEN | {"project": "$(id)"}, "project"),
        (FrameType.OPEN, OPEN | {"project": "p" * 65}, "project"),
        (FrameType.OPEN, OPEN | {"checkout": "../other"}, "checkout"),
        (FrameType.OPEN, OPEN | {"tree": DIGEST.upper()}, "tree"),
        (FrameType.OPEN, OPEN | {"base": 5}, "base"),
        (FrameType.OPEN, {"project": "p"}, "missing"),
        (FrameType.HELLO, {"versions": [True], "client": "", "now_ns": 0}, "versions"),
        (FrameType.HELLO, {"versions": [1] * 17, "client": "", "now_ns": 0}, "versions"),
        (FrameType.HELLO, {"versions": [1], "client": "x" * 257, "now_ns": 0}, "client"),
        (FrameType.HELLO, {"versions": [1], "client": "", "now_ns": 1.5}, "now_ns"),
        (FrameType.RUN, {"argv": ["a\0b"]}, "argv"),
        (FrameType.RUN, {"argv": ["\ud800"]}, "argv"),  # stands for no bytes at all
        (FrameType.RUN, {"argv": "build"}, "argv"),
        (FrameType.RUN, {"argv": ["x"] * 4097}, "argv"),
        (FrameType.RUN, {"argv": [], "env": {str(n): "" for n in range(65)}}, "env"),
        (FrameType.RUN, {"argv": [], "env": {"A": None}}, "env"),
        (FrameType.RUN, {"argv": [], "columns": 0}, "columns"),
        (FrameType.RUN, {"argv": [], "has_stdin": 1}, "has_stdin"),
        (FrameType.SIGNAL, {"name": "STOP"}, "name"),
        (FrameType.SIGNAL, {"name": 9}, "name"),
        (FrameType.SIGNAL, {"name": ["INT"]}, "name"),
        (FrameType.FETCH, {"base": "home", "paths": []}, "base"),
        (FrameType.NEED, {"blobs": [[0, 0]]}, "blobs"),
        (FrameType.NEED, {"blobs": [[5, 1], [4, 1]]}, "blobs"),
        (FrameType.NEED, {"blobs": [[0, 1 << 40]]}, "blobs"),
        (FrameType.NEED, {"blobs": [[0, 1, 2]]}, "blobs"),
        (FrameType.NEED, {"blobs": 5}, "blobs"),
        (FrameType.EXIT, {"code": 256}, "code"),
        (FrameType.FILE, {"path": "a", "mode": 0o4755}, "mode"),  # no set-user-id bit travels
    ],
)
def test_a_field_that_does_not_fit_is_refused_by_its_name(kind, values, field):
    with pytest.raises(MessageRefused, match=field):
        from_frame(frame_of(kind, **values))


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b"\xff", b"{", b'{"name":NaN}', b"[" * 60000, b"9" * 60000],
    ids=lambda one: repr(one[:8]),
)
def test_a_payload_that_is_no_object_is_refused(payload):
    with pytest.raises(MessageRefused):
        from_frame(Frame(FrameType.SIGNAL, payload))


def test_a_field_of_a_newer_client_is_ignored():
    assert from_frame(frame_of(FrameType.SIGNAL, name="INT", later=1)) == Signal(name="INT")


def test_what_would_be_refused_is_not_sent():
    with pytest.raises(MessageRefused, match="name"):
        to_frame(Signal(name="STOP"))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({one.name for kind in MESSAGES.values() for one in fields(kind)})


@given(
    st.sampled_from(sorted(MESSAGES)),
    st.dictionaries(st.sampled_from(NAMES), ANY_JSON, max_size=8),
)
def test_no_json_breaks_the_reader(kind, values):
    try:
        message = from_frame(frame_of(kind, **values))
    except MessageRefused:
        return
    assert there_and_back(message) == message
