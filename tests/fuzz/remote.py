"""Coverage-guided fuzzing of what a client of `forge serve` may send, or write into a key.

    pip install atheris
    python -m tests.fuzz.remote -max_total_time=600

Whatever comes, there is an answer: an exception that is not one of those foreseen is a finding, and
so is a file outside the area. libFuzzer's options may follow; a corpus directory as well.
"""

import atexit
import contextlib
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable

import atheris  # type: ignore[import-untyped]  # it is not installed for the suite

with atheris.instrument_imports(include=["forge.core", "forge.serve", "forge.host"]):
    import zstandard

    from forge.core import remote_tree
    from forge.core.authorized_keys import KeyRefused, read_line, read_public_key
    from forge.core.remote_command import mode_of
    from forge.core.remote_frames import FROM_CLIENT, FrameReader, FrameRefused, FrameType
    from forge.core.remote_messages import (
        Hello,
        MessageRefused,
        Open,
        from_frame,
        to_frame,
    )
    from forge.core.remote_policy import KeyRules, argv_refusal, environment_refusal
    from forge.serve.channel import Channel
    from forge.serve.session import Session

RULES = KeyRules("fuzz", verbs=frozenset(), max_files=50, max_bytes=100_000)
"""It runs nothing."""

HOME = tempfile.mkdtemp(prefix="fuzz")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
HOST = {"HOME": HOME, "PATH": "", "FORGE_STATE_DIR": os.path.join(HOME, "s")}
HELLO = to_frame(Hello(versions=[1], client="", now_ns=1))
CLIENT_TYPES = sorted(FROM_CLIENT)
DIGEST = remote_tree.digest_of(b"")


def frames(data: atheris.FuzzedDataProvider) -> None:
    reader = FrameReader(FROM_CLIENT)
    try:
        while data.remaining_bytes():
            for frame in reader.feed(data.ConsumeBytes(data.ConsumeIntInRange(0, 300))):
                from_frame(frame)
    except (FrameRefused, MessageRefused):
        pass


def trees(data: atheris.FuzzedDataProvider) -> None:
    raw = data.ConsumeBytes(data.remaining_bytes())
    try:
        entries = remote_tree.decode(raw)
        assert remote_tree.encode(entries) == raw
        remote_tree.patched(entries, remote_tree.decode_patch(raw))
    except remote_tree.TreeInvalid:
        pass


def texts(data: atheris.FuzzedDataProvider) -> None:
    text = data.ConsumeUnicode(data.remaining_bytes())
    mode_of(text)
    argv_refusal(KeyRules("a"), text.split(" "))
    environment_refusal({text[:8]: text[8:]})
    read_line(text)
    with contextlib.suppress(KeyRefused):
        read_public_key(text)


def sessions(data: atheris.FuzzedDataProvider) -> None:
    """A whole connection: frames that are well formed around what may not be."""
    sent = bytearray(HELLO)
    while data.remaining_bytes() and len(sent) < 1 << 20:
        sent += one_frame(data)
    incoming = os.open(os.path.join(HOME, "in"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    outgoing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.write(incoming, sent)
        os.lseek(incoming, 0, os.SEEK_SET)
        Session(Channel(incoming, outgoing), RULES, HOST, "").serve()
    finally:
        os.close(incoming)
        os.close(outgoing)
    assert set(os.listdir(HOME)) <= {"in", "s"}, os.listdir(HOME)
    assert set(os.listdir(HOST["FORGE_STATE_DIR"])) <= {"areas"}
    if data.ConsumeIntInRange(0, 15) == 0:
        shutil.rmtree(HOST["FORGE_STATE_DIR"], ignore_errors=True)


def one_frame(data: atheris.FuzzedDataProvider) -> bytes:
    match data.ConsumeIntInRange(0, 4):
        case 0:
            base = DIGEST if data.ConsumeBool() else None
            tree = remote_tree.digest_of(data.ConsumeBytes(8)) if data.ConsumeBool() else DIGEST
            return to_frame(Open(project="p", checkout="01234567", tree=tree, base=base))
        case 1:
            manifest = a_manifest(data)
            kind = FrameType.MANIFEST if data.ConsumeBool() else FrameType.PATCH
            name = remote_tree.digest_of(manifest)
            opening = to_frame(Open(project="p", checkout="01234567", tree=name))
            packed = zstandard.compress(manifest)
            pack = zstandard.compress(data.ConsumeBytes(20))
            return b"".join(
                (opening, framed(kind, packed), framed(FrameType.SYNC_END, b""),
                 framed(FrameType.PACK, pack), framed(FrameType.SYNC_END, b""))
            )  # fmt: skip
        case 2:
            payload = zstandard.compress(data.ConsumeBytes(data.ConsumeIntInRange(0, 200)))
            return framed(data.PickValueInList(CLIENT_TYPES), payload)
        case _:
            payload = data.ConsumeBytes(data.ConsumeIntInRange(0, 200))
            return framed(data.PickValueInList(CLIENT_TYPES), payload)


def a_manifest(data: atheris.FuzzedDataProvider) -> bytes:
    lines = []
    for _ in range(data.ConsumeIntInRange(0, 5)):
        head = data.PickValueInList(
            [
                f"f 644 1 0 {DIGEST}",
                f"f 644 1 3 {DIGEST}",
                "d 755 1 0 -",
                "l 777 1 0 -",
                "- 0 0 0 -",
            ]
        )
        path, target = data.ConsumeBytes(data.ConsumeIntInRange(0, 9)), b""
        if head[0] == "l" or data.ConsumeIntInRange(0, 9) == 0:
            target = data.ConsumeBytes(data.ConsumeIntInRange(0, 9))
        lines.append((path, head.encode() + b"\0" + path + b"\0" + target + b"\0"))
    return b"".join(line for _, line in sorted(lines))


def framed(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BI", kind, len(payload)) + payload


TARGETS: tuple[Callable[[atheris.FuzzedDataProvider], None], ...] = (
    frames, trees, texts, sessions, sessions, sessions,
)  # fmt: skip


def try_one(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    TARGETS[data.ConsumeIntInRange(0, len(TARGETS) - 1)](data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
