"""`forge inference plan` and `command`."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Forge
from tests.llama.models import DRAFT, TINY, write_model
from tests.llama.shapes import RECORDINGS

START = Path(__file__).parents[2] / "hooks" / "llama" / "start"


def fake_server(place: Path, version: str) -> str:
    """A program that tells its options, and otherwise what it was started with."""
    path = place / f"llama-server-{version}"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --help ]; then exec cat {RECORDINGS}/{version}/help.txt; fi\n'
        'echo "$@"; echo "alive $GGML_METAL_RESIDENCY_KEEP_ALIVE_S"\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def configure(place: Path):
    """Write forge.toml for a server of one version, with a small model and its draft."""
    write_model(place / "tiny.gguf", TINY)
    write_model(place / "draft.gguf", DRAFT)

    def write(version: str = "0.3.36", more: str = "") -> str:
        server = fake_server(place, version)
        (place / "forge.toml").write_text(
            f'[inference]\nserver = "{server}"\nmodel = "{place}/tiny.gguf"\n'
            f'draft_model = "{place}/draft.gguf"\n{more}\n'
        )
        return server

    return write


def test_the_configured_server_is_planned_to_the_byte(forge: Forge, configure, place: Path):
    server = configure()
    answer = json.loads(forge("inference", "plan", "--json").out)
    assert answer["need"] == {
        "weights_bytes": (place / "tiny.gguf").stat().st_size,
        "kv_bytes": 36 << 20,
        "draft_weights_bytes": (place / "draft.gguf").stat().st_size,
        "draft_kv_bytes": 18 << 20,
        "compute_bytes": answer["need"]["compute_bytes"],
        "prompt_cache_bytes": 8 << 30,
        "resident_bytes": sum((place / f"{n}.gguf").stat().st_size for n in ("tiny", "draft"))
        + (54 << 20),
        "growth_bytes": answer["need"]["compute_bytes"] + (8 << 30),
        "total_bytes": answer["need"]["resident_bytes"] + answer["need"]["growth_bytes"],
    }
    assert (answer["slots"], answer["slot_tokens"], answer["cells"]) == (4, 32768, 131072)
    assert (answer["uses_draft"], answer["locked"], answer["exact"]) == (True, True, True)
    assert answer["argv"][0] == server
    assert answer["not_asked"] is None


def test_people_see_the_parts_and_what_is_surprising(forge: Forge, configure, place: Path):
    server = configure()
    result = forge(
        "inference", "plan", "--", server, "-m", f"{place}/tiny.gguf", "-md", f"{place}/draft.gguf",
        "-c", "1000", "-np", "3", "--mlock", "--api-key", "secret",
    )  # fmt: skip
    assert result.code == 0
    for line in ("KV cache 2 MiB 1536 tokens, 3 slots of 512, f16/f16", "draft weights 3 MiB",
                 "it will not start: this llama-server does not know `--mlock`",
                 "(it locks the weights with `--load-mode mmap+mlock`)",
                 "- the draft model is loaded and never used", "becomes 1536"):  # fmt: skip
        assert line in " ".join(result.out.split())
    assert "secret" not in result.out + result.err


def test_a_command_line_may_leave_out_the_program_and_take_the_environment(
    forge: Forge, configure, place: Path, env: dict[str, str]
):
    configure("0.3.20")
    env["LLAMA_ARG_CTX_SIZE"] = "4096"
    answer = json.loads(
        forge("inference", "plan", "--json", "--", "-m", f"{place}/tiny.gguf", "--mlock").out
    )
    assert answer["cells"] == 4096
    assert answer["shares_context"]
    assert not [one for one in answer["surprises"] if one["fatal"]]


def test_a_server_that_is_not_installed_can_be_planned(forge: Forge, configure, place: Path):
    configure()
    words = ("--", "no-such-server", "-m", f"{place}/tiny.gguf", "--mlock")
    answer = json.loads(forge("inference", "plan", "--json", *words).out)
    assert answer["not_asked"] == "there is no llama-server `no-such-server`"
    assert "option-unknown" not in {one["key"] for one in answer["surprises"]}
    assert "taken for one of today's builds" in forge("inference", "plan", *words).out


@pytest.mark.parametrize(
    ("words", "code", "slug"),
    [
        (("plan",), 78, "model-unset"),
        (("command",), 78, "model-unset"),
        (("plan", "--", "-m", "/nowhere/model.gguf"), 66, "model-unreadable"),
        (("plan", "--", "-m", "/dev/null"), 66, "model-unreadable"),
        (("plan", "--", "-c", "5"), 66, "model-unreadable"),
    ],
)
def test_without_a_model_it_says_so(forge: Forge, words, code, slug):
    result = forge("inference", words[0], "--json", *words[1:])
    assert result.code == code
    assert json.loads(result.out)["error"]["slug"] == slug
    assert result.err.count("\n") == 1


def test_the_command_is_printed_for_a_shell(forge: Forge, configure, place: Path):
    server = configure(more='args = ["--alias", "my model"]\napi_key_file = "/etc/keys"')
    result = forge("inference", "command", "--", "--verbose")
    assert (result.code, result.err) == (0, "")
    variable, program, *argv = shlex.split(result.out)
    assert variable == "GGML_METAL_RESIDENCY_KEEP_ALIVE_S=2592000"
    assert program == server
    line = " ".join(argv)
    assert line.endswith("--api-key-file /etc/keys --alias my model --verbose")
    for part in ("--port 8080", "-c 131072 -np 4", "-ctkd q4_0", "--load-mode mmap+mlock", "-cb"):
        assert part in line


def test_as_json_the_command_is_a_list_of_words(forge: Forge, configure):
    server = configure("0.3.20", more='args = ["--api-key", "secret"]')
    result = forge("inference", "command", "--json")
    answer = json.loads(result.out)
    assert answer["argv"][0] == server
    assert {"--mlock", "--metrics"} <= set(answer["argv"])
    assert "secret" not in result.out
    assert answer["lacks"] == []


def test_what_the_server_cannot_be_told_is_said(forge: Forge, configure, place: Path):
    server = Path(configure())
    text = server.read_text().replace("exec cat", "exec grep -ve --load-mode -e --metrics")
    server.write_text(text)
    result = forge("inference", "command")
    assert result.code == 0
    assert result.err.count("left out") == 2
    assert "`--mlock`" in result.err


@pytest.mark.parametrize(
    ("server", "code", "slug"),
    [("/nowhere/llama-server", 127, "server-missing"), ("true", 69, "server-unknown")],
)
def test_a_server_that_cannot_be_asked_has_no_command(
    forge: Forge, configure, place, server, code, slug
):
    configure()
    file = place / "forge.toml"
    file.write_text(file.read_text().replace(str(place / "llama-server-0.3.36"), server))
    result = forge("inference", "command", "--json")
    assert (result.code, json.loads(result.out)["error"]["slug"]) == (code, slug)


@pytest.mark.parametrize("wait", ["0", "no"])
def test_the_hook_becomes_the_server_and_verifies_it(
    configure, place: Path, env: dict[str, str], wait: str
):
    configure(more='url = "http://127.0.0.1:9"')  # where nobody listens
    (place / "forge").write_text(
        f"#!{sys.executable} -P\nimport sys\nfrom forge.cli.main import main\nsys.exit(main())\n"
    )
    (place / "forge").chmod(0o755)
    done = subprocess.run(
        [START, "--alias", "x"],
        env={**env, "FORGE": str(place / "forge"), "FORGE_VERIFY_WAIT": wait},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    told, alive = done.stdout.splitlines()
    assert told.startswith(f"-m {place}/tiny.gguf -md {place}/draft.gguf --spec-type draft-simple")
    assert told.endswith("--alias x")
    assert alive == "alive 2592000"
    assert ("answers none" in done.stderr) is (wait == "0")


def test_the_hook_without_a_forge_says_what_to_do(place: Path):
    copy = place / "hook" / "llama" / "start"
    copy.parent.mkdir(parents=True)
    copy.write_text(START.read_text())
    done = subprocess.run(
        ["/bin/sh", copy], env={"PATH": "/usr/bin:/bin", "HOME": str(place), "FORGE": "gone"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (127, "")
    assert "FORGE" in done.stderr


def test_the_plan_of_the_machine_has_the_rows_of_the_model(forge: Forge, configure, place: Path):
    configure(more='cache_ram = "100MiB"\n[host]\nmemory = "64GiB"')
    rows = {row["key"]: row["size_mib"] for row in json.loads(forge("plan", "--json").out)["rows"]}
    assert (rows["model"], rows["draft_model"]) == (5, 3)
    assert 154 < rows["agent_context"] < 400
    assert sum(rows.values()) == 64 * 1024


def test_a_model_that_is_gone_is_a_warning_and_no_more(forge: Forge, configure, place: Path):
    configure(more='[host]\nmemory = "64GiB"')
    (place / "tiny.gguf").unlink()
    result = forge("plan", "--json")
    answer = json.loads(result.out)
    assert result.code == 0
    assert "tiny.gguf: cannot be read" in answer["warning"]
    assert {row["key"]: row["size_mib"] for row in answer["rows"]}["model"] == 0
    assert "warning: the model has no row" in forge("plan").err
    rows = {row["name"]: row for row in json.loads(forge("doctor", "--json").out)["rows"]}
    assert rows["model"]["verdict"] == "warn"


def test_a_server_that_does_not_answer_is_not_verified(forge: Forge, configure):
    configure(more='url = "http://127.0.0.1:9"')
    result = forge("inference", "verify", "--json")
    answer = json.loads(result.out)
    assert (result.code, answer["ok"]) == (1, False)
    assert answer["rows"][0]["finding"].startswith("http://127.0.0.1:9 answers none")
    assert forge("inference", "verify", "--wait", "soon").code == 64
