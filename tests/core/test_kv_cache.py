from dataclasses import replace

import pytest

from forge.core.gguf_shape import LongArray, ShapeUnknown, shape_of
from forge.core.kv_cache import TypeUnknown, cells_of, draft_cells, kv_bytes, row_bytes
from forge.core.llama_args import read_args
from forge.core.llama_build import CURRENT
from tests.llama.shapes import DRAFT_3B, GIB, MODEL_70B, TINY, build_of, shape

MIB = 1 << 20
OLD = build_of("0.3.20")
GEMMA = shape("gemma3", block_count=12, attention__key_length=32, attention__value_length=32,
              attention__head_count_kv=4, attention__sliding_window=512)  # fmt: skip


def kv(model, line, build=CURRENT):
    args = read_args(line.split())
    cells = cells_of(args, model, build)
    types = (args.type_k, args.type_v)
    off = args.flash == "off"
    return kv_bytes(model, cells, types, full=args.swa_full, padded_values=off)


@pytest.mark.parametrize(
    ("line", "mib"),
    [
        ("-c 131072 -np 4 -ctk q4_0 -ctv q4_0", 36),
        ("-c 131072 -np 4 -ctk q8_0 -ctv q8_0", 68),
        ("-c 131072 -np 4", 128),
        ("-c 131072 -np 4 -kvu -ctk q4_0 -ctv q4_0", 36),
        ("-c 131072 -ctk q4_0 -ctv q4_0", 36),  # 4 slots, one pool
        ("-c 131072 -np -1", 128),
        ("-c 1000 -np 3", 1.5),  # 3 x 512: it grows
        ("-c 1 -np 1", 0.25),
        ("-c 0 -np 4", 512),  # the trained context for each slot
        ("-np 4", 512),
        ("-np 4 -fit off", 128),
        ("", 128),  # one pool has it once
        ("--kv-unified-per-slot 4096 -kvu -np 4", 16),
        ("--kv-unified-per-slot 4096 -c 0", 128),
        ("-c 131072 -np 1 -ctk f32 -ctv bf16", 192),
        ("-c 131072 -np 1 -ctk q5_1 -ctv q4_1", 44),
        ("-c 131072 -np 1 -ctk q5_0 -ctv iq4_nl", 40),
    ],
)
def test_a_cache_is_as_large_as_the_server_prints(line, mib):
    assert kv(TINY.shape, line) == mib * MIB


def test_the_caches_of_the_reference_host_are_exact():
    line = "-c 131072 -np 4 -ctk q4_0 -ctv q4_0"
    assert kv(MODEL_70B.shape, line) == 12_079_595_520
    assert kv(MODEL_70B.shape, "-c 131072 -np 4") == 40 * GIB
    assert kv(DRAFT_3B.shape, "-c 131072 -np 4") == 14 * GIB


@pytest.mark.parametrize(
    ("line", "mib"),
    [
        ("-c 16384 -np 4", 16 + 20),  # window 512 and a micro-batch of 512, for each stream
        ("-c 16384", 16 + 12.5),  # one pool: four windows and one micro-batch
        ("-c 16384 -np 2 --swa-full", 16 + 80),
        ("-c 1024 -np 4", 1 + 5),  # no more than there is
        ("-c 16384 -np 4 -ub 100", 16 + 15),  # 612 is rounded up to 768
    ],
)
def test_layers_with_a_window_keep_no_more_than_that(line, mib):
    assert kv(GEMMA, line) == mib * MIB


def test_old_builds_take_the_trained_context_in_all():
    assert kv(TINY.shape, "-c 0 -np 4", OLD) == 128 * MIB


@pytest.mark.parametrize(
    ("line", "build", "total"),
    [
        ("-c 16384 -np 4", CURRENT, 16384),
        ("-c 16384", CURRENT, 16384),
        ("-c 16384 -np 4", OLD, 16384),
        ("-c 16384", OLD, 4 * 16384),  # the whole pool, once for each slot
        ("-c 16384 -cd 1000", OLD, 4 * 1024),
        ("-c 16384 -cd 1000", CURRENT, 16384),  # which does not know -cd
    ],
)
def test_a_draft_has_the_cells_of_the_model_or_some_for_each_slot(line, build, total):
    args = read_args(line.split())
    assert draft_cells(cells_of(args, TINY.shape, build), args, build).total == total


def test_layers_may_differ_and_values_are_padded_without_flash_attention():
    deci = shape("deci", block_count=4, attention__head_count_kv=[2, 4, 0, 8],
                 attention__key_length=32, attention__value_length=32)  # fmt: skip
    assert kv(deci, "-c 256 -np 1") == 256 * 2 * 32 * 2 * 14
    assert kv(deci, "-c 256 -np 1 -fa off") == 256 * 2 * 32 * (14 + 4 * 8)


def test_a_type_that_no_cache_has_is_named():
    assert row_bytes("q4_0", 33) == 36
    with pytest.raises(TypeUnknown, match="`q9_9`"):
        kv(TINY.shape, "-c 256 -ctk q9_9")


@pytest.mark.parametrize(
    ("found", "layers"),
    [
        (shape("gemma3", block_count=7, attention__sliding_window=512), "wwwwwfw"),
        (shape("gemma2", block_count=4), "wfwf"),  # its window is known without a key
        (shape("cohere2moe", block_count=5, attention__sliding_window=9), "fwwwf"),
        (shape("smallthinker", block_count=5, attention__sliding_window=9), "fwwwf"),
        (shape("llama4", block_count=4), "wwwf"),
        (shape("llama4", block_count=4, attention__sliding_window=0), "ffff"),
        (shape("exaone4", block_count=64), "wwwf" * 16),
        (shape("exaone4", block_count=2, attention__sliding_window=9), "ff"),
        (shape("llama", block_count=2, attention__sliding_window=9), "ff"),
        (shape("gemma3", block_count=2, attention__sliding_window=9,
               attention__sliding_window_pattern=2), "wf"),
        (shape("mimo2", block_count=3, attention__sliding_window=9,
               attention__sliding_window_pattern=[True, False, True]), "wfw"),
        (shape("gemma3n", block_count=22, attention__sliding_window=9), "wwwwf" * 4),
        (shape("gemma4", block_count=6, attention__sliding_window=9, attention__shared_kv_layers=4,
               attention__sliding_window_pattern=[1, 1, 0, 1, 1, 0]), "ww"),
        (shape("glm4moe", block_count=3, nextn_predict_layers=1), "ff"),
    ],
)  # fmt: skip
def test_which_layers_have_a_window(found, layers):
    assert "".join("w" if one.has_window else "f" for one in found.layers) == layers


def test_windowed_layers_may_have_heads_of_their_own():
    found = shape("gemma4", block_count=2, attention__sliding_window=9,
                  attention__sliding_window_pattern=[True, False], attention__head_count_kv=[8, 2],
                  attention__key_length_swa=64, attention__value_length_swa=32)  # fmt: skip
    assert [(one.key_elements, one.value_elements) for one in found.layers] == [
        (512, 256),
        (256, 256),
    ]


def test_latent_attention_keeps_no_values():
    found = shape("deepseek2", attention__head_count_kv=1, attention__key_length=576,
                  attention__key_length_mla=192)  # fmt: skip
    assert (found.layers[0].key_elements, found.layers[0].value_elements) == (576, 0)


def test_heads_without_a_length_of_their_own_share_the_embedding():
    found = shape(attention__key_length=None, attention__value_length=None,
                  attention__head_count_kv=None)  # fmt: skip
    assert found.layers[0].key_elements == 64 * 128


@pytest.mark.parametrize(
    ("found", "unsure"),
    [
        (shape(), ""),
        (shape("jamba", ssm__conv_kernel=4), "ssm.conv_kernel"),
        (shape("new-one", attention__sliding_window=9), "new-one"),
    ],
)
def test_a_shape_says_when_it_is_not_sure(found, unsure):
    assert unsure in found.unsure
    assert bool(unsure) == bool(found.unsure)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"block_count": None}, "no `llama.block_count`"),
        ({"block_count": 0}, "cannot be 0"),
        ({"block_count": 1 << 31}, "cannot be 2147483648"),
        ({"block_count": "many"}, "cannot be many"),
        ({"block_count": True}, "cannot be True"),
        ({"attention__head_count": None}, "no `llama.attention.head_count`"),
        ({"attention__head_count_kv": [8, 8]}, "has 2 of 80 values"),
        ({"attention__head_count_kv": LongArray(9999)}, "cannot be LongArray"),
        ({"attention__head_count_kv": 1 << 20, "attention__key_length": 1 << 20}, "1048576 heads"),
        ({"attention__key_length": -1}, "cannot be -1"),
        ({"context_length": 1 << 40}, "context_length"),
    ],
)
def test_absurd_headers_are_refused(changes, says):
    with pytest.raises(ShapeUnknown, match=says):
        shape(**changes)


def test_a_header_without_an_architecture_is_refused():
    with pytest.raises(ShapeUnknown, match="architecture"):
        shape_of({})


def test_a_vocabulary_is_counted_by_its_tokens_when_no_key_tells():
    metadata = {"general.architecture": "llama", "llama.block_count": 1,
                "llama.embedding_length": 32, "llama.attention.head_count": 1,
                "llama.context_length": 512, "tokenizer.ggml.tokens": LongArray(640)}  # fmt: skip
    assert shape_of(metadata).vocabulary == 640
    assert replace(shape_of(metadata), vocabulary=0) == shape_of(
        {**metadata, "tokenizer.ggml.tokens": None}
    )
