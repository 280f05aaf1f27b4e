from dataclasses import replace

import pytest

from forge.core.inference_plan import plan_inference
from forge.core.inference_surprises import surprises_of
from forge.core.llama_args import read_args
from forge.core.llama_build import LlamaBuild
from forge.core.llama_command import Launch, command_of
from tests.llama.shapes import DRAFT_3B, MODEL_70B, build_of

REFERENCE = Launch("llama-server", "/models/70b.gguf", "/models/3b.gguf")


@pytest.mark.parametrize(
    ("version", "locking", "speculation"),
    [("0.3.36", "--load-mode mmap+mlock", " --spec-type draft-simple"), ("0.3.20", "--mlock", "")],
)
def test_each_build_is_spoken_to_in_its_own_words(version, locking, speculation):
    made = command_of(REFERENCE, build_of(version))
    assert " ".join(made.argv) == (
        f"llama-server -m /models/70b.gguf -md /models/3b.gguf{speculation} --host 127.0.0.1"
        " --port 8080 -c 131072 -np 4 -ctk q4_0 -ctv q4_0 -ctkd q4_0 -ctvd q4_0 -fa on -cb"
        f" {locking} --metrics --slots --cache-ram 8192"
    )
    assert made.lacks == ()
    assert made.env == {"GGML_METAL_RESIDENCY_KEEP_ALIVE_S": "2592000"}


@pytest.mark.parametrize("version", ["0.3.20", "0.3.36"])
def test_the_reference_hosts_command_starts_and_holds_no_bad_surprise(version):
    build = build_of(version)
    argv = command_of(REFERENCE, build).argv
    plan = plan_inference(read_args(argv), build, MODEL_70B, DRAFT_3B)
    assert plan.uses_draft
    assert plan.args.is_locked
    assert {one.key for one in surprises_of(plan, argv)} == {"slot-context", "prompt-cache"}


def test_without_a_build_it_is_todays_spelling():
    assert command_of(REFERENCE, None).argv == command_of(REFERENCE, build_of("0.3.36")).argv


def test_what_is_set_is_in_the_command_and_further_words_come_last():
    launch = replace(
        REFERENCE, draft_model=None, kv_type="f16", is_locked=False, cache_ram_mib=0,
        api_key_file="/keys", args=("--port", "9"),
    )  # fmt: skip
    argv = " ".join(command_of(launch, None).argv)
    for absent in ("-md", "--spec-type", "-ctkd", "-fa", "--load-mode"):
        assert absent not in argv
    for there in ("-ctk f16", "--cache-ram 0", "--api-key-file /keys"):
        assert there in argv
    assert argv.endswith(" --port 9")


def test_what_a_build_cannot_be_told_is_named():
    old = LlamaBuild(
        frozenset({"-m", "--port", "-c", "-np", "-fa"}), False, flash_takes_value=False
    )
    made = command_of(REFERENCE, old)
    assert " ".join(made.argv) == "llama-server -m /models/70b.gguf --port 8080 -c 131072 -np 4 -fa"
    assert {"-md", "-ctk", "--mlock", "--metrics", "--cache-ram"} <= set(made.lacks)
