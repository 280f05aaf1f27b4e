import os
import struct
from dataclasses import replace

import pytest

from forge.core.gguf_shape import Layer
from forge.errors import ModelUnreadable
from forge.host.gguf import KnownModels, read_model
from tests.llama.models import ARRAY, DRAFT, F32, I32, STRING, TINY, U32, header, write_model

BASE = [
    ("general.architecture", STRING, "llama"),
    ("llama.block_count", U32, 2),
    ("llama.context_length", U32, 512),
    ("llama.embedding_length", U32, 64),
    ("llama.attention.head_count", U32, 2),
]
START = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)


def key(name: bytes, kind: int) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind)


def test_a_model_is_read_as_it_was_written(tmp_path):
    path = write_model(tmp_path / "tiny.gguf", TINY)
    model = read_model(str(path))
    assert model.size_bytes == path.stat().st_size
    assert model.shape.layers == (Layer(64, 64),) * 4
    assert (model.shape.vocabulary, model.shape.context_tokens) == (640, 131072)
    assert (model.shape.heads, model.shape.feed_forward) == (8, 512)
    assert model.shape.name == "random weights"


def test_heads_may_differ_by_layer(tmp_path):
    deci = replace(TINY, architecture="deci", kv_heads=(2, 4, 1, 8))
    model = read_model(str(write_model(tmp_path / "deci.gguf", deci)))
    assert [layer.key_elements for layer in model.shape.layers] == [64, 128, 32, 256]


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(tmp_path, version):
    path = tmp_path / "model.gguf"
    path.write_bytes(header(BASE, version=version))
    assert len(read_model(str(path)).shape.layers) == 2


def test_a_split_model_has_the_size_of_all_its_parts(tmp_path):
    first = tmp_path / "model-00001-of-00003.gguf"
    first.write_bytes(header(BASE))
    for number, size in ((2, 1000), (3, 200)):
        (tmp_path / f"model-0000{number}-of-00003.gguf").write_bytes(bytes(size))
    assert read_model(str(first)).size_bytes == first.stat().st_size + 1200
    (tmp_path / "model-00003-of-00003.gguf").unlink()
    with pytest.raises(ModelUnreadable, match=r"model-00003-of-00003.gguf: cannot be read"):
        read_model(str(first))
    (tmp_path / "model-00003-of-00003.gguf").mkdir()
    with pytest.raises(ModelUnreadable, match=r"its part .*00003-of-00003.gguf is no file"):
        read_model(str(first))
    with pytest.raises(ModelUnreadable, match="it is part 2 of 3"):
        other = tmp_path / "model-00002-of-00003.gguf"
        other.write_bytes(header(BASE))
        read_model(str(other))


def test_a_large_vocabulary_is_counted_and_not_kept(tmp_path):
    path = tmp_path / "model.gguf"
    tokens = ("tokenizer.ggml.tokens", ARRAY, (STRING, ["▁token"] * 50_000))
    scores = ("tokenizer.ggml.scores", ARRAY, (F32, [0.0] * 50_000))
    path.write_bytes(header([tokens, scores, *BASE]))
    assert read_model(str(path)).shape.vocabulary == 50_000


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it ends at byte 0"),
        (b"GG", "it ends at byte 2"),
        (b"GGML" + bytes(100), "not in the format GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "other byte order"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "1152921504606846976 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "1152921504606846976 keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2), "it ends at byte 24"),
        (START + struct.pack("<Q", 1 << 62), "a string of 4611686018427387904 bytes"),
        (START + struct.pack("<Q", 60_000), "it ends at byte 32"),
        (START + key(b"k", STRING) + struct.pack("<Q", 1 << 25) + b"x", "it ends at byte"),
        (START + key(b"k", 99), "the unknown type 99"),
        (START + key(b"k", ARRAY) + struct.pack("<IQ", U32, 1 << 60), "values of an array"),
        (START + key(b"k", ARRAY) + struct.pack("<IQ", U32, 1 << 20), "it ends at byte"),
        (START + key(b"k", ARRAY) + struct.pack("<IQ", ARRAY, 1), "an array of arrays"),
        (START + key(b"k", ARRAY) + struct.pack("<IQ", 77, 1), "an array of the unknown type 77"),
        (START + key(b"k", ARRAY) + struct.pack("<IQQ", STRING, 9, 1 << 40), "a string of"),
        (START + key(b"k", ARRAY) + struct.pack("<IQ", STRING, 1 << 23), "it ends at byte"),
        (header([]), "names no architecture"),
        (header(BASE[:-1]), "no `llama.attention.head_count`"),
        (header([*BASE, ("llama.attention.head_count_kv", ARRAY, (I32, [1]))]), "has 1 of 2"),
        (header([*BASE, ("llama.attention.head_count_kv", ARRAY, (I32, [1] * 9999))]), "cannot be"),
    ],
)
def test_what_is_no_good_is_refused_in_one_line(tmp_path, data, says):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelUnreadable, match=says) as caught:
        read_model(str(path))
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_model_that_ends_anywhere_is_refused(tmp_path):
    whole = header(BASE)
    path = tmp_path / "model.gguf"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelUnreadable):
            read_model(str(path))


def test_what_is_no_file_does_not_hold_us(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, says in (
        (tmp_path / "pipe", "it is no file"),
        (tmp_path, "it is no file"),
        (tmp_path / "gone", "No such file"),
        (tmp_path / "gone" / "deeper", "No such file"),
        ("/dev/zero", "it is no file"),
        ("a\0b", "no file can have that name"),
    ):
        with pytest.raises(ModelUnreadable, match=says):
            read_model(str(path))


def test_a_model_is_read_again_only_when_its_file_changes(tmp_path):
    path = write_model(tmp_path / "model.gguf", TINY)
    known = KnownModels()
    first = known.read(str(path))
    assert known.read(str(path)) is first
    write_model(path, DRAFT)
    assert len(known.read(str(path)).shape.layers) == 2
    path.unlink()
    with pytest.raises(ModelUnreadable):
        known.read(str(path))
