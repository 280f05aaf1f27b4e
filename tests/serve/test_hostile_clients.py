"""A client that means harm gets an error, or silence, and nothing outside its area."""

import contextlib
import hashlib
import os
import struct
import time

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.core import remote_tree
from forge.core.remote_frames import GREETING, FrameType, encode, encode_data, limit_of
from forge.core.remote_messages import Attach, Error, Fetch, Hello, Need, Open, Ready, Run, to_frame
from forge.core.remote_tree import Entry, Kind
from forge.errors import NotAllowed
from forge.serve.channel import Channel
from forge.serve.fetching import send_files
from tests.serve.client import CHECKOUT, start_serve, tree_of

FILES = {"Cargo.toml": b"[package]\n", "src/main.rs": b"fn main() {}\n"}
HASH = hashlib.sha256(b"x").hexdigest()
HELLO = to_frame(Hello(versions=[1], client="", now_ns=1))


def ends_with(client, slug):
    """The host's last word is an error of this kind."""
    message = client.message()
    while not isinstance(message, Error):
        message = client.message()
    assert message.slug == slug, message
    assert client.frame() is None
    assert client.ended() == message.exit_code


@pytest.mark.parametrize(
    ("command", "code"),
    [("id", 77), ("forge serve; id", 77), ("scp -t /tmp", 77), ("rsync --server -e x", 77),
     ("forge serve version", 0), ("forge serve ping", 0)],
)  # fmt: skip
def test_what_ssh_was_asked_for_selects_a_mode_or_nothing(serve, home, command, code):
    client = serve(greets=False, env={"SSH_ORIGINAL_COMMAND": command})
    assert client.ended() == code
    out = client.process.stdout.read()
    assert (b"uid=" not in out) and (bool(out) is (code == 0))
    if code:
        assert b"is for `forge serve` alone" in client.told()
    assert not (home / "s").exists()


@pytest.mark.parametrize(
    ("data", "slug"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "protocol-mismatch"),
        (b"\0" * 64, "protocol-mismatch"),
        (to_frame(Open(project="p", checkout=CHECKOUT, tree=HASH)), "protocol-mismatch"),
        (to_frame(Hello(versions=[99], client="", now_ns=1)), "protocol-mismatch"),
        (encode(FrameType.HELLO, b"{}"), "protocol-mismatch"),
        (encode(FrameType.HELLO, b"[" * 60000), "protocol-mismatch"),
        (struct.pack(">BI", FrameType.HELLO, 0xFFFFFFFF), "protocol-mismatch"),  # 4 GiB to come
        (HELLO + struct.pack(">BI", FrameType.RUN, 1 << 30), "protocol-mismatch"),
        (HELLO + HELLO, "protocol-mismatch"),
        (HELLO + to_frame(Fetch(base="tree", paths=["a"])), "protocol-mismatch"),  # no tree yet
        (HELLO + to_frame(Run(argv=["build"])) * 2, "protocol-mismatch"),
        (HELLO + encode(FrameType.STDIN, b"x"), "protocol-mismatch"),
        (HELLO + encode(FrameType.MANIFEST, b"x"), "protocol-mismatch"),
        (HELLO + to_frame(Attach(job="20260101-000000-abcdef")), "no-such-build"),
    ],
)  # fmt: skip
def test_a_client_that_does_not_keep_to_the_protocol_is_told_and_left(serve, data, slug):
    client = serve(greets=False)
    client.send(data)
    ends_with(client, slug)


def test_a_client_that_goes_away_in_the_middle_leaves_nothing_running(serve):
    for cut in (1, 5, len(HELLO) - 1):
        client = serve(greets=False)
        client.send(HELLO[:cut])
        assert client.ended() == os.EX_UNAVAILABLE


def offers(client, manifest: bytes, *, name: str | None = None):
    """Offer a manifest, as it stands."""
    tree = name or remote_tree.digest_of(manifest)
    client.send(Open(project="tiny", checkout=CHECKOUT, tree=tree))
    assert client.message() == Need(manifest=True)
    client.send_data(FrameType.MANIFEST, manifest)
    client.send(encode(FrameType.SYNC_END))


def line(head: str, path: bytes, target: bytes = b"") -> bytes:
    return head.encode() + b"\0" + path + b"\0" + target + b"\0"


FILE = f"f 644 1 1 {HASH}"


@pytest.mark.parametrize(
    "manifest",
    [
        line(FILE, b"../escaped"),
        line(FILE, b"/tmp/escaped"),
        line(FILE, b"a/../../escaped"),
        line("l 777 0 0 -", b"a", b"/etc/passwd"),
        line("l 777 0 0 -", b"a", b"../../../../../../etc/passwd"),
        line("l 777 0 0 -", b"a", b"b") + line(FILE, b"a/escaped"),  # through a link
        line("h 644 0 0 -", b"a", b"/etc/shadow"),  # a hard link
        line("c 666 0 0 -", b"null"),  # a device
        line(f"f 4755 1 1 {HASH}", b"suid"),
        line(FILE, b"a") * 2,
        line(FILE, b"") ,
        b"garbage",
        line(FILE, b"x" * 300),
    ],
)  # fmt: skip
def test_a_manifest_that_leads_out_of_the_area_is_refused_whole(serve, tree, home, manifest):
    client = serve()
    offers(client, manifest)
    ends_with(client, "tree-invalid")
    assert not list(tree.iterdir())
    assert not list(home.rglob("escaped"))


def test_a_manifest_under_another_name_is_refused(serve):
    client = serve()
    offers(client, remote_tree.encode(tree_of(FILES)), name=HASH)
    ends_with(client, "tree-invalid")


@pytest.mark.parametrize(
    "contents",
    [
        b"another content of its length"[:23],
        b"[package]\nfn main() {}\n" + b"more",  # more than was asked for
        b"[package]\n",  # less
        b"",
    ],
)
def test_contents_that_are_not_what_they_should_be_change_nothing(serve, tree, contents):
    client = serve()
    offers(client, remote_tree.encode(tree_of(FILES)))
    assert isinstance(client.message(), Need)
    if contents:
        client.send_data(FrameType.PACK, contents)
    client.send(encode(FrameType.SYNC_END))
    ends_with(client, "tree-invalid")
    assert not list(tree.iterdir())
    assert not list((tree.parent / ".incoming").iterdir())


@pytest.mark.parametrize("kind", [FrameType.MANIFEST, FrameType.PACK])
def test_a_small_frame_that_would_become_gigabytes_is_let_go_early(serve, tree, kind):
    deflater, zeros = zstandard.ZstdCompressor(level=1).compressobj(), bytes(1 << 20)
    bomb = b"".join(deflater.compress(zeros) for _ in range(2048)) + deflater.flush()
    assert len(bomb) < limit_of(kind)
    client = serve(more_bytes=256 << 20)  # a small part of what the bomb has
    entries = tree_of(FILES)
    if kind is FrameType.MANIFEST:
        client.send(Open(project="tiny", checkout=CHECKOUT, tree=HASH))
        assert client.message() == Need(manifest=True)
    else:
        offers(client, remote_tree.encode(entries))
        assert isinstance(client.message(), Need)
    client.send(encode(kind, bomb))
    ends_with(client, "tree-invalid")


def test_a_window_that_would_take_gigabytes_is_refused(serve):
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    deflater = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    client = serve()
    client.send(Open(project="tiny", checkout=CHECKOUT, tree=HASH))
    client.message()
    client.send(encode(FrameType.MANIFEST, deflater.compress(b"x" * 1000) + deflater.flush()))
    client.send(encode(FrameType.SYNC_END))
    ends_with(client, "tree-invalid")


@pytest.mark.parametrize("garbage", [b"not zstd at all", b"\x28\xb5\x2f\xfd" + b"\xff" * 60])
def test_a_stream_that_is_none_is_refused(serve, garbage):
    client = serve()
    client.send(Open(project="tiny", checkout=CHECKOUT, tree=HASH))
    client.message()
    client.send(*encode_data(FrameType.MANIFEST, garbage), encode(FrameType.SYNC_END))
    ends_with(client, "tree-invalid")


def test_a_symlink_that_a_build_has_put_on_the_way_is_no_way_out(serve, tree, home):
    client = serve()
    client.sync(FILES)
    outside = home / "outside"
    outside.mkdir()
    (outside / "main.rs").write_text("mine")
    (tree / "src" / "main.rs").unlink()
    (tree / "src").rmdir()
    os.symlink(outside, tree / "src")
    answer = client.sync(FILES | {"src/main.rs": b"theirs"})
    assert isinstance(answer, Ready)
    assert (outside / "main.rs").read_text() == "mine"
    assert not (tree / "src").is_symlink()
    assert (tree / "src" / "main.rs").read_bytes() == b"theirs"


@pytest.mark.parametrize("path", ["../../.state/manifest", "/etc/passwd", "src/../../x", ""])
def test_no_file_outside_the_tree_is_fetched(serve, path):
    client = serve()
    client.sync(FILES)
    client.send(Fetch(base="tree", paths=[path]))
    ends_with(client, "not-allowed")


def test_no_file_is_fetched_through_a_symlink(serve, tree, home):
    client = serve()
    client.sync(FILES)
    (home / "secret").write_text("mine")
    os.symlink(home, tree / "out")
    os.symlink(home / "secret", tree / "link")
    os.mkfifo(tree / "pipe")
    os.symlink("/dev/zero", tree / "zero")
    found = client.fetch("tree", "out/secret", "link", "pipe", "zero", "src", "Cargo.toml")
    assert found["Cargo.toml"] == b"[package]\n"
    for path in ("out/secret", "pipe", "src"):
        assert found[path].why
    assert found["link"].target == str(home / "secret")  # what it says, and not what is there
    assert found["zero"].target == "/dev/zero"


@pytest.mark.parametrize(
    "asked",
    [
        Run(argv=["install", "x"]),
        Run(argv=["build", "--config", "build.rustc-wrapper='/bin/sh'"]),
        Run(argv=["build", "--target-dir", "/tmp/x"]),
        Run(argv=["+nightly", "build"]),
        Run(argv=["build"], env={"RUSTC": "/bin/sh"}),
        Run(argv=["build"], env={"LD_PRELOAD": "/tmp/x.so"}),
        Run(argv=["build"], env={"CARGO_BUILD_RUSTC_WRAPPER": "/bin/sh"}),
        Run(argv=["build"], env={"FORGE_REAL_CARGO": "/bin/sh"}),
        Run(argv=["build"], env={"TERM": "../../evil"}),
        Run(argv=["build"], cwd="../.."),
        Run(argv=["build"], cwd="/etc"),
    ],
    ids=lambda asked: repr((asked.argv, asked.env, asked.cwd)),
)
def test_what_a_key_may_not_run_is_not_run(serve, asked):
    client = serve()
    client.sync(FILES)
    client.send(asked)
    ends_with(client, "not-allowed")


@pytest.mark.parametrize("cwd", ["missing", "Cargo.toml", "out", "out/s"])
def test_one_runs_in_a_directory_of_the_tree_and_through_no_symlink(serve, tree, home, cwd):
    client = serve()
    client.sync(FILES)
    os.symlink(home, tree / "out")
    client.send(Run(argv=["build"], cwd=cwd))
    ends_with(client, "tree-invalid")


def test_a_key_for_one_project_gets_no_other(serve, home):
    client = serve("--project", "mine")
    client.send(Open(project="tiny", checkout=CHECKOUT, tree=HASH))
    ends_with(client, "not-allowed")
    assert not list(home.glob("s/areas/*/tiny"))


def test_a_key_sees_no_job_of_another(serve, home):
    place = home / "s" / "areas" / "other" / ".jobs" / "20260101-000000-abcdef"
    place.mkdir(parents=True)
    (place / "output").touch()
    (place / "job.json").write_text("{}")
    client = serve()
    client.send(encode(FrameType.JOBS))
    assert client.message().jobs == []
    client.send(Attach(job="20260101-000000-abcdef"))
    ends_with(client, "no-such-build")


def test_the_environment_of_a_login_has_no_say(serve, home):
    evil = home / "evil"
    client = serve(
        env={
            "FORGE_STATE_DIR": str(evil),
            "FORGE_CONFIG": str(evil),
            "PYTHONPATH": str(evil),
            "CARGO_HOME": str(evil),
            "HOME": str(evil),
            "PATH": str(evil),
            "FORGE_IDENTITY": "root",
        }
    )
    client.sync(FILES)
    assert not evil.exists()
    assert (home / "s" / "areas" / "laptop").is_dir()


def test_a_manifest_of_very_many_entries_is_refused_by_its_number(serve):
    client = serve("--max-files", "1000")
    entries = [Entry(f"f{n:05}", Kind.FILE, 0o644, 1, 1, HASH) for n in range(1001)]
    offers(client, remote_tree.encode(entries))
    ends_with(client, "quota-exceeded")


def test_a_flood_of_pings_is_answered_or_ended_and_never_kept(serve):
    client = serve()
    flood = encode(FrameType.PING, b"x" * 16) * 100_000
    began_s = time.monotonic()
    with contextlib.suppress(BrokenPipeError):
        while time.monotonic() - began_s < 20:
            client.send(flood)  # and reads no answer
    assert client.ended() == os.EX_UNAVAILABLE


FRAMES = st.one_of(
    st.binary(max_size=60),
    st.tuples(st.sampled_from(FrameType), st.binary(max_size=40)).map(
        lambda pair: struct.pack(">BI", pair[0], len(pair[1])) + pair[1]
    ),
    st.sampled_from(
        [
            to_frame(Open(project="tiny", checkout=CHECKOUT, tree=HASH)),
            to_frame(Open(project="tiny", checkout=CHECKOUT, tree=HASH, base=HASH)),
            encode(FrameType.SYNC_END),
            encode(FrameType.JOBS),
            encode(FrameType.PING, b"1"),
            to_frame(Run(argv=["install"])),
            encode(FrameType.PACK, zstandard.compress(b"x")),
            encode(FrameType.MANIFEST, zstandard.compress(line(FILE, b"a"))),
            encode(FrameType.MANIFEST, zstandard.compress(line(FILE, b"../a"))),
        ]
    ),
)


@settings(max_examples=40)
@given(st.lists(FRAMES, max_size=8))
def test_no_bytes_bring_the_host_down_with_a_traceback(tmp_path_factory, frames):
    client = start_serve(tmp_path_factory.mktemp("h"))
    try:
        with contextlib.suppress(BrokenPipeError):
            client.send(HELLO, *frames)
        assert client.ended() in (0, 65, 69, 73, 76, 77), client.told()
        assert client.told() == b""
        assert client.process.stdout
        assert client.process.stdout.read().startswith(GREETING)
    finally:
        client.stop()


def test_a_target_dir_in_the_tree_that_a_build_has_made_a_symlink_is_not_followed(home):
    root = home / "tree"
    root.mkdir()
    (home / "outside").mkdir()
    (home / "outside" / "secret").write_text("mine")
    os.symlink("../outside", root / "target")
    ends = os.pipe()
    asked = Fetch(base="target", paths=["secret"])
    for target_dir in (str(root / "target"), None):
        with pytest.raises(NotAllowed):
            send_files(Channel(*ends), str(root), target_dir, asked)
    for end in ends:
        os.close(end)
