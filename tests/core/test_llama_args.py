from dataclasses import asdict

import pytest

from forge.core.llama_args import LlamaArgs, option_names, read_args, shown_args
from forge.core.llama_build import read_help
from tests.llama.shapes import RECORDINGS, build_of

VERSIONS = ("0.3.20", "0.3.36")


def changed(args: LlamaArgs) -> dict[str, object]:
    """Return what is not as it is without any options."""
    plain = asdict(LlamaArgs())
    return {key: value for key, value in asdict(args).items() if value != plain[key]}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("llama-server", {"program": "llama-server"}),
        ("/opt/llama-server -c 8192", {"program": "/opt/llama-server", "context": 8192}),
        ("-c 8192", {"context": 8192}),
        ("--ctx-size 8192", {"context": 8192}),
        ("--ctx_size 8192", {"context": 8192}),  # llama.cpp takes it as well
        ("--ctx-size=8192", {"context": 8192}),
        ("-c 1 -c 2", {"context": 2}),
        ("-c 0", {"context": 0}),
        ("-m a.gguf -md b.gguf", {"model": "a.gguf", "draft_model": "b.gguf"}),
        ("--model a.gguf --model-draft b.gguf", {"model": "a.gguf", "draft_model": "b.gguf"}),
        ("--spec-draft-model b.gguf", {"draft_model": "b.gguf"}),
        ("-hf someone/model:Q8_0", {"fetched_model": "someone/model:Q8_0"}),
        ("-np 4 -kvu", {"slots": 4, "unified": True}),
        ("--parallel 4 --no-kv-unified", {"slots": 4, "unified": False}),
        ("-ctk q4_0 -ctv q8_0", {"type_k": "q4_0", "type_v": "q8_0"}),
        ("-ctkd q4_0 -ctvd q8_0", {"draft_type_k": "q4_0", "draft_type_v": "q8_0"}),
        ("--spec-draft-type-k q4_0", {"draft_type_k": "q4_0"}),
        ("--cache-type-v-draft q4_0", {"draft_type_v": "q4_0"}),
        ("-fa", {"flash": "on"}),
        ("-fa on -c 5", {"flash": "on", "context": 5}),
        ("-fa -c 5", {"flash": "on", "context": 5}),  # the bare switch of 2025
        ("-fa off", {"flash": "off"}),
        ("--mlock", {"mlock": True}),
        ("-lm mmap+mlock", {"load_mode": "mmap+mlock"}),
        ("--cache-ram 0", {"cache_ram_mib": 0}),
        ("-cram -1", {"cache_ram_mib": -1}),
        ("--spec-type draft-simple", {"spec_types": ("draft-simple",)}),
        ("--spec-type a,b --spec-type c", {"spec_types": ("a", "b", "c")}),
        ("--port 9 --host ::1 --metrics", {"port": 9, "host": "::1", "metrics": True}),
        ("--api-key secret", {"has_api_key": True}),
        ("--api-key=secret", {"has_api_key": True}),
        ("--api-key-file keys", {"api_key_file": "keys"}),
        ("-ub 64 -b 128 --swa-full", {"ubatch": 64, "batch": 128, "swa_full": True}),
        ("-fit off -cd 7", {"fit": False, "draft_context": 7}),
        ("--mmproj p.gguf", {"projector": "p.gguf"}),
        ("--temp -1 --unheard-of -c 3", {"context": 3}),  # unknown options are passed over
        ("-c many", {"unread": ("-c",)}),
        ("-c 99999999999", {"unread": ("-c",)}),
        ("-c", {"unread": ("-c",)}),
        ("-fit perhaps", {"unread": ("-fit",)}),
    ],
)  # fmt: skip
def test_a_command_line_is_read(line, expected):
    assert changed(read_args(line.split())) == expected


@pytest.mark.parametrize(
    ("env", "line", "expected"),
    [
        ({"LLAMA_ARG_CTX_SIZE": "4096"}, "", {"context": 4096}),
        ({"LLAMA_ARG_CTX_SIZE": "4096"}, "-c 1", {"context": 1}),  # the command line wins
        (
            {"LLAMA_ARG_KV_UNIFIED": "0", "LLAMA_ARG_MLOCK": "on"},
            "",
            {"unified": False, "mlock": True},
        ),
        ({"LLAMA_ARG_CACHE_TYPE_K_DRAFT": "q4_0"}, "", {"draft_type_k": "q4_0"}),
        ({"LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K": "q8_0"}, "", {"draft_type_k": "q8_0"}),
        ({"LLAMA_API_KEY": "secret"}, "", {"has_api_key": True}),
        ({"LLAMA_ARG_N_PARALLEL": "two"}, "", {"unread": ("LLAMA_ARG_N_PARALLEL",)}),
        ({"HOME": "/root"}, "", {}),
    ],
)
def test_the_environment_counts_before_the_command_line(env, line, expected):
    assert changed(read_args(line.split(), env)) == expected


@pytest.mark.parametrize("build", VERSIONS)
def test_every_spelling_of_a_build_that_matters_is_read(build):
    """What `--help` shows beside an option that we read is another spelling of it."""
    for line in (RECORDINGS / build / "help.txt").read_text().splitlines():
        names = set(option_names([word.strip(",") for word in line.split("  ")[0].split()]))
        if names & {"--ctx-size", "--parallel", "--model-draft", "--cache-ram", "--flash-attn"}:
            read = {tuple(changed(read_args(["x", name, "1"]))) for name in names}
            assert len(read) == 1


def test_keys_are_never_shown():
    line = "llama-server --api-key one --api_key two --api-key=three -hft four -m a.gguf"
    shown = " ".join(shown_args(line.split()))
    assert shown == "llama-server --api-key … --api_key … --api-key=… -hft … -m a.gguf"
    assert not {"one", "two", "three", "four"} & set(shown.replace("=", " ").split())
    assert "five" not in repr(read_args(["--api-key", "five"], {"LLAMA_API_KEY": "five"}))


def test_options_are_told_from_values():
    line = "llama-server -m -odd.gguf -c 4 --temp -1 --mlock --port=8080 -cram -1"
    assert option_names(line.split()) == ["-m", "-c", "--temp", "-1", "--mlock", "--port", "-cram"]


@pytest.mark.parametrize(
    ("build", "locking", "by_type"),
    [
        ("0.3.20", ("--mlock",), False),
        ("0.3.36", ("--load-mode", "mmap+mlock"), True),
    ],
)
def test_a_build_is_known_by_its_help(build, locking, by_type):
    read = build_of(build)
    assert read.locking == locking
    assert read.speculates_by_type is by_type
    assert read.flash_takes_value
    assert {"-c", "-np", "-ctk", "-ctkd", "--cache-ram", "--metrics", "-fa", "-cb"} <= read.options
    assert read.first_of("--spec-draft-type-k", "-ctkd") in read.options
    assert read.first_of("--never") is None


def test_the_help_of_something_else_is_none():
    assert read_help("usage: cat [FILE]\n  -n, --number  number all lines\n") is None
    assert read_help("") is None


def test_a_flash_switch_of_2025_takes_no_value():
    text = "-m, --model F\n-c, --ctx-size N\n-np, --parallel N\n-fa, --flash-attn      enable it\n"
    build = read_help(text)
    assert build
    assert not build.flash_takes_value
    assert build.locking == ()
