"""The Python side of the recorded vectors; the shim's own tests read the same files."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from forge.core import cargo_args, message_reading, messages, wire
from forge.host.shim_build import source_dir

VECTORS = Path(__file__).parent.parent / "data" / "vectors"


def load(name):
    return json.loads((VECTORS / name).read_text())


@pytest.mark.parametrize("case", load("argv.json"), ids=lambda case: " ".join(case["argv"])[:40])
def test_both_sides_see_the_same_kind_and_verb(case):
    args = cargo_args.parse(case["argv"])
    assert (args.kind.value, args.verb) == (case["kind"], case["verb"])


@pytest.mark.parametrize("case", load("wire.json")["texts"], ids=lambda case: case["hex"] or "-")
def test_texts_are_read_and_written_as_recorded(case):
    text = bytes.fromhex(case["hex"]).decode("utf-8", "surrogateescape")
    for written in case["json"]:
        assert json.loads(written) == text
    line = wire.encode({"type": "x", "text": text})
    assert wire.decode(line)["text"] == text


# Python reads deeper nesting than the shim does; no message nests at all.
GARBAGE = [line for line in load("wire.json")["garbage"] if '"deep"' not in line]


@pytest.mark.parametrize("line", GARBAGE)
def test_garbage_is_refused(line):
    with pytest.raises(ValueError, match="line is not"):
        wire.decode(line.encode())


def test_both_sides_send_the_same_variables():
    begin = (source_dir() / "src" / "begin.rs").read_text()
    table = re.search(r"const ENV_SENT: [^=]*= \[(.*?)\];", begin, re.DOTALL)
    assert table is not None
    assert tuple(re.findall(r'"(\w+)"', table[1])) == wire.ENV_SENT


@pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo")
@pytest.mark.parametrize(
    "argv",
    [["test", "--quiet"], ["clippy", "--all-targets", "--", "-D", "warnings"], ["fmt", "--check"]],
    ids=["test", "clippy", "fmt"],
)
def test_the_crate_is_in_order(argv, tmp_path):
    if argv[0] != "test" and shutil.which(f"cargo-{argv[0]}") is None:
        pytest.skip(f"no cargo {argv[0]}")
    command = ["cargo", argv[0], "--manifest-path", str(source_dir() / "Cargo.toml"), *argv[1:]]
    if argv[0] != "fmt":
        command[2:2] = ["--target-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_begin_and_adopt_of_the_shim_are_what_the_daemon_reads():
    """The fields that the shim writes, against the schema; the scenarios show their values."""
    for name, file in (("begin", "begin.rs"), ("adopt", "running.rs")):
        body = (
            (source_dir() / "src" / file)
            .read_text()
            .split(f'Message::first("{name}")', 1)[1]
            .split(";", 1)[0]
        )
        written = set(re.findall(r'\("(\w+)"', body))
        required = {"begin": {"pid", "cwd", "argv", "env"}, "adopt": {"pid", "build", "cargo_pid"}}
        assert required[name] <= written
        assert written <= set(messages.MESSAGES[name].__dataclass_fields__) | {"v"}


@pytest.mark.parametrize("case", load("test_gate.json"), ids=lambda case: " ".join(case["argv"]))
def test_what_the_test_gate_sends_is_what_the_daemon_reads(case):
    if case["test"] is not None:
        whole = {"type": "test", "v": 1, "build": "b7", "pid": 1, "binary": "/t/it", "name": "it"}
        message = message_reading.read(wire.encode({**whole, **case["test"]}), first=True)
        assert isinstance(message, messages.Test)
        assert message.threads == case["test"].get("threads")
        assert message.name == case["test"].get("name", "it")
