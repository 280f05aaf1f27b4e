import pytest

from forge.core.gguf_shape import ModelFile
from forge.core.inference_plan import plan_inference
from forge.core.inference_surprises import surprises_of
from forge.core.llama_args import read_args
from forge.core.llama_build import CURRENT
from tests.llama.shapes import DRAFT_3B, GIB, MODEL_70B, TINY, build_of, shape

NEW, OLD = build_of("0.3.36"), build_of("0.3.20")
MIB = 1 << 20
REFERENCE = "-m M -md D -c 131072 -np 4 -ctk q4_0 -ctv q4_0 -cb"
GEMMA = ModelFile("G", 1, shape("gemma3", attention__sliding_window=512))
ODD_HEADS = ModelFile("O", 1, shape(attention__key_length=80, attention__value_length=80))

RECURRENT = ModelFile("R", 1, shape("jamba", ssm__conv_kernel=4))


def planned(line, model=MODEL_70B, build=NEW):
    args = read_args(line.split())
    return plan_inference(args, build, model, DRAFT_3B if args.draft_model else None)


def test_the_parts_of_the_reference_hosts_server():
    need = planned(REFERENCE).need
    assert need.weights_bytes == 78 * GIB
    assert need.draft_weights_bytes == 2 * GIB
    assert need.kv_bytes == 12_079_595_520
    assert need.draft_kv_bytes == 14 * GIB
    assert need.prompt_cache_bytes == 8 * GIB
    assert need.resident_bytes == 80 * GIB + 12_079_595_520 + 14 * GIB


@pytest.mark.parametrize(
    ("line", "bytes_"),
    [("", 8 * GIB), ("--cache-ram 0", 0), ("--cache-ram 512", GIB // 2), ("-cram -1", 8 * GIB)],
)
def test_the_prompt_cache_may_grow_to_its_limit(line, bytes_):
    assert planned(f"-m M {line}").need.prompt_cache_bytes == bytes_


@pytest.mark.parametrize(
    ("line", "model", "build", "printed_mib"),
    [
        ("-c 131072 -np 4", TINY, NEW, 36.51),
        ("-c 131072", TINY, NEW, 132.51),
        ("-c 16384 -np 4", TINY, NEW, 8.51),
        ("-c 16384 -np 4 -fa off", TINY, NEW, 74.76),
        ("-c 16384 -np 4 -ub 128", TINY, NEW, 2.13),
        ("-c 0 -np 4", TINY, OLD, 98.51),
    ],
)
def test_compute_buffers_are_estimated_within_a_tenth(line, model, build, printed_mib):
    estimate_mib = planned(f"-m M {line}", model, build).need.compute_bytes / MIB
    assert printed_mib * 0.9 <= estimate_mib <= printed_mib * 1.1


def test_old_builds_make_a_draft_context_for_each_slot():
    one = planned("-m M -c 16384 -np 1", build=OLD).need.compute_bytes
    two = planned("-m M -md D -c 16384 -np 1", build=OLD).need.compute_bytes
    four = planned("-m M -md D -c 65536 -np 4", build=OLD).need.compute_bytes
    assert four - one == 4 * (two - one)


def test_a_projector_belongs_to_the_weights():
    plan = plan_inference(read_args(["-m", "M"]), NEW, TINY, projector_bytes=7)
    assert plan.need.weights_bytes == TINY.size_bytes + 7


@pytest.mark.parametrize(
    ("line", "model", "build", "key", "word"),
    [
        (f"{REFERENCE} --mlock", MODEL_70B, NEW, "option-unknown", "`--mlock`"),
        ("-m M -lm mmap+mlock", TINY, OLD, "option-unknown", "`-lm`"),
        ("-m M --draft-max 3 --no-such", TINY, NEW, "option-unknown", "`--no-such`"),
        ("-m M -c many", TINY, NEW, "value-unread", "`-c`"),
        ("-m M -ctk q4_0", ODD_HEADS, NEW, "type-unfit", "a head of 80"),
        ("-m M -ctv q4_0 -fa off", TINY, NEW, "type-unfit", "flash attention"),
        (REFERENCE, MODEL_70B, NEW, "draft-unused", "16.0 GiB for nothing"),
        (REFERENCE, MODEL_70B, NEW, "draft-kv", "14.0 GiB in f16, the model's 11.2 GiB"),
        ("-m M -md D -c 16384", TINY, OLD, "draft-contexts", "65536 cells"),
        ("-m M --spec-type draft-mtp", TINY, NEW, "draft-missing", "draft-mtp"),
        ("-m M", TINY, NEW, "context-unset", "131072 tokens in all, or less"),
        ("-m M -c 0 -np 4", TINY, NEW, "context-unset", "524288 tokens in all"),
        ("-m M -c 1000 -np 3", TINY, NEW, "context-rounded", "1536: 3 x 512"),
        ("-m M -c 4096", TINY, NEW, "slots-share", "one pool of 4096"),
        ("-m M -c 131072 -np 4", TINY, NEW, "slot-context", "each of 4 has 32768"),
        ("-m M -c 524288 -np 2", TINY, NEW, "context-beyond", "of the 262144"),
        ("-m M", TINY, NEW, "prompt-cache", "8.0 GiB"),
        ("-m M -cram -1", TINY, NEW, "prompt-cache", "without limit"),
        ("-m M", GEMMA, NEW, "checkpoints", "32 checkpoints"),
        ("-m M", RECURRENT, NEW, "shape-unsure", "estimate"),
        ("-m M", TINY, NEW, "not-locked", "not locked"),
        ("-m M --api-key secret", TINY, NEW, "key-shown", "API key"),
        ("-m M", TINY, NEW, "metrics-off", "--metrics"),
    ],
)  # fmt: skip
def test_what_is_surprising_is_said(line, model, build, key, word):
    argv = line.split()
    found = [one for one in surprises_of(planned(line, model, build), argv) if one.key == key]
    assert any(word in one.says for one in found)
    assert "secret" not in str(found)


def test_a_command_line_without_surprises_has_none():
    line = (
        "-m M -md D -c 131072 -np 1 -ctk q4_0 -ctv q4_0 -ctkd q4_0 -ctvd q4_0 --cache-ram 0"
        " --spec-type draft-simple -lm mmap+mlock --metrics"
    )
    assert surprises_of(planned(line), line.split()) == ()
    assert planned(line).uses_draft
    assert planned(line).slot_tokens == 131072


def test_what_prevents_a_start_comes_first_with_the_spelling_that_works():
    first, *rest = surprises_of(planned(f"{REFERENCE} --mlock"), f"{REFERENCE} --mlock".split())
    assert first.fatal
    assert first.hint == "it locks the weights with `--load-mode mmap+mlock`"
    assert not any(one.fatal for one in rest)


def test_a_build_that_nobody_asked_is_not_said_to_refuse_anything():
    plan = planned(f"{REFERENCE} --mlock", build=CURRENT)
    assert "option-unknown" not in {one.key for one in surprises_of(plan, REFERENCE.split())}


def test_a_draft_that_is_used_is_not_called_unused():
    assert planned(REFERENCE, build=OLD).uses_draft
    assert not planned("-m M").uses_draft


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("-c 131072 -np 4", 32768),
        ("-c 524288 -np 2", 131072),
        ("-c 8192", 8192),
        ("--kv-unified-per-slot 512 -np 4", 512),
    ],
)
def test_a_slot_has_its_part_and_no_more_than_the_model_was_trained_with(line, tokens):
    assert planned(f"-m M {line}", TINY).slot_tokens == tokens
