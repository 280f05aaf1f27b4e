"""Write small language models of random weights, as GGUF files that a real llama-server loads.

    python -m tests.llama.models tiny.gguf                     5 MB, 4 layers
    python -m tests.llama.models large.gguf --size-mb 1024     about 1 GB

They have a vocabulary of their own, so that one can draft for another. What they write is
nonsense, and hardly ever comes to an end by itself: ask for `"ignore_eos": true` all the same.
"""

import argparse
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TENSOR_F32, TENSOR_F16 = 0, 1
ALIGNMENT = 32
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
SPECIAL = 3
SILENT = SPECIAL + 256  # the first rows of the output matrix are zero: those tokens are not written
POOL_BYTES = 1 << 23
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}> {% endif %}"
)


@dataclass(frozen=True)
class Model:
    """The shape of a model. `kv_heads` may differ by layer, for the architecture `deci`."""

    architecture: str = "llama"
    layers: int = 4
    embedding: int = 256
    heads: int = 8
    kv_heads: int | tuple[int, ...] = 2
    head_length: int = 32
    feed_forward: int = 512
    context: int = 131072
    vocabulary: int = 640
    window: int = 0  # for gemma3
    seed: int = 1

    def of_size(self, size_bytes: int) -> "Model":
        """Return the model with a feed-forward part that fills so many bytes."""
        rest = sum(
            2 * rows * columns for _, (rows, columns) in replace(self, feed_forward=0).matrices()
        )
        width = (size_bytes - rest) // (2 * 3 * self.layers * self.embedding)
        return replace(self, feed_forward=max(256, width // 256 * 256))

    def kv_heads_of(self, layer: int) -> int:
        return self.kv_heads if isinstance(self.kv_heads, int) else self.kv_heads[layer]

    def matrices(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Name each matrix with its rows and columns, in the order of the file."""
        yield "token_embd.weight", (self.vocabulary, self.embedding)
        for n in range(self.layers):
            values = self.kv_heads_of(n) * self.head_length
            queries = self.heads * self.head_length
            yield f"blk.{n}.attn_q.weight", (queries, self.embedding)
            yield f"blk.{n}.attn_k.weight", (values, self.embedding)
            yield f"blk.{n}.attn_v.weight", (values, self.embedding)
            yield f"blk.{n}.attn_output.weight", (self.embedding, queries)
            yield f"blk.{n}.ffn_gate.weight", (self.feed_forward, self.embedding)
            yield f"blk.{n}.ffn_up.weight", (self.feed_forward, self.embedding)
            yield f"blk.{n}.ffn_down.weight", (self.embedding, self.feed_forward)
        yield "output.weight", (self.vocabulary, self.embedding)

    def vectors(self) -> Iterator[tuple[str, int]]:
        """Name each vector, all of ones."""
        for n in range(self.layers):
            yield f"blk.{n}.attn_norm.weight", self.embedding
            yield f"blk.{n}.ffn_norm.weight", self.embedding
            if self.architecture == "gemma3":
                yield f"blk.{n}.post_attention_norm.weight", self.embedding
                yield f"blk.{n}.post_ffw_norm.weight", self.embedding
                yield f"blk.{n}.attn_q_norm.weight", self.head_length
                yield f"blk.{n}.attn_k_norm.weight", self.head_length
        yield "output_norm.weight", self.embedding

    def metadata(self) -> list[tuple[str, int, Any]]:
        """Return the keys of the header, each with its type."""
        kv_heads = self.kv_heads
        own = [
            ("block_count", U32, self.layers),
            ("context_length", U32, self.context),
            ("embedding_length", U32, self.embedding),
            ("feed_forward_length", U32, self.feed_forward),
            ("attention.head_count", U32, self.heads),
            ("attention.head_count_kv", U32, kv_heads)
            if isinstance(kv_heads, int)
            else ("attention.head_count_kv", ARRAY, (I32, kv_heads)),
            ("attention.key_length", U32, self.head_length),
            ("attention.value_length", U32, self.head_length),
            ("attention.layer_norm_rms_epsilon", F32, 1e-5),
            ("rope.dimension_count", U32, self.head_length),
            ("rope.freq_base", F32, 10000.0),
            ("vocab_size", U32, self.vocabulary),
        ]
        if self.window:
            own.append(("attention.sliding_window", U32, self.window))
        pieces = vocabulary(self.vocabulary)
        return [
            ("general.architecture", STRING, self.architecture),
            ("general.name", STRING, "random weights"),
            *((f"{self.architecture}.{key}", kind, value) for key, kind, value in own),
            ("tokenizer.ggml.model", STRING, "llama"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, [piece for piece, _ in pieces])),
            ("tokenizer.ggml.scores", ARRAY, (F32, [-float(n) for n in range(len(pieces))])),
            ("tokenizer.ggml.token_type", ARRAY, (I32, [kind for _, kind in pieces])),
            ("tokenizer.ggml.unknown_token_id", U32, 0),
            ("tokenizer.ggml.bos_token_id", U32, 1),
            ("tokenizer.ggml.eos_token_id", U32, 2),
            ("tokenizer.ggml.add_bos_token", BOOL, True),
            ("tokenizer.chat_template", STRING, CHAT_TEMPLATE),
        ]


TINY = Model()
DRAFT = Model(layers=2, seed=2)
LIKE_70B = Model(layers=80, kv_heads=8, head_length=128, embedding=64, feed_forward=64)
LIKE_3B = Model(layers=28, kv_heads=8, head_length=128, embedding=64, feed_forward=64, seed=2)


def vocabulary(size: int) -> list[tuple[str, int]]:
    """Return pieces of text with their kinds: some that are special, all bytes, and syllables."""
    pieces = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    pieces += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = ["▁", *letters, *".,;:!?'\"()[]{}<>=+-*/\\_#%&|^~@$`0123456789", *letters.upper()]
    text += [first + second for first in letters for second in "aeiouy"]
    text += ["▁" + syllable for syllable in text[1:]]
    assert len(pieces) + len(text) >= size >= len(pieces) + 100, "so many pieces are there"
    return pieces + [(piece, NORMAL) for piece in text[: size - len(pieces)]]


def write_model(path: Path, model: Model) -> Path:
    """Write a model; return its path."""
    with open(path, "wb") as out:
        _write(out, model)
    return path


def header(metadata: Sequence[tuple[str, int, Any]], tensors: int = 0, version: int = 3) -> bytes:
    """Return the beginning of a GGUF file."""
    keys = b"".join(
        _string(key) + struct.pack("<I", kind) + _value(kind, value)
        for key, kind, value in metadata
    )
    return b"GGUF" + struct.pack("<IQQ", version, tensors, len(metadata)) + keys


def _write(out: BinaryIO, model: Model) -> None:
    vectors, matrices = list(model.vectors()), list(model.matrices())
    infos, offset = [], 0
    for name, length in vectors:
        infos.append(_info(name, (length,), TENSOR_F32, offset))
        offset += _aligned(4 * length)
    for name, (rows, columns) in matrices:
        infos.append(_info(name, (columns, rows), TENSOR_F16, offset))
        offset += _aligned(2 * rows * columns)
    out.write(header(model.metadata(), len(infos)) + b"".join(infos))
    out.write(bytes(_aligned(out.tell()) - out.tell()))
    for _, length in vectors:
        _pad(out, out.write(struct.pack("<f", 1.0) * length))
    noise = _Noise(model.seed)
    for name, (rows, columns) in matrices:
        silent = SILENT if name == "output.weight" else 0
        written = out.write(bytes(2 * silent * columns))
        written += noise.write(out, 2 * (rows - silent) * columns, columns)
        _pad(out, written)


class _Noise:
    """Random numbers of about one size and either sign, cut from one pool at random places."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.low = self.random.randbytes(POOL_BYTES // 2)
        self.high = self.random.randbytes(POOL_BYTES // 2)
        self.pools: dict[int, bytes] = {}

    def write(self, out: BinaryIO, count: int, columns: int) -> int:
        """Write so many bytes of halves whose square adds up to about 1 over the columns."""
        exponent = 15 - columns.bit_length() // 2
        if exponent not in self.pools:
            self.pools[exponent] = self._pool(exponent)
        pool = self.pools[exponent]
        left = count
        while left:
            start = self.random.randrange(0, POOL_BYTES, 2)
            left -= out.write(pool[start : start + left])
        return count

    def _pool(self, exponent: int) -> bytes:
        """Return halves in binary: a sign, this exponent, and a fraction by chance."""
        table = bytes((byte & 0x80) | exponent << 2 | (byte & 3) for byte in range(256))
        pool = bytearray(POOL_BYTES)
        pool[0::2] = self.low
        pool[1::2] = self.high.translate(table)
        return bytes(pool)


def _info(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return _string(name) + sizes + struct.pack("<IQ", kind, offset)


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def _pad(out: BinaryIO, written: int) -> None:
    out.write(bytes(_aligned(written) - written))


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _string(value)
    if kind == ARRAY:
        element, values = value
        start = struct.pack("<IQ", element, len(values))
        return start + b"".join(_value(element, one) for one in values)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def main() -> None:
    """Write the model that the command line describes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--layers", type=int, default=TINY.layers)
    parser.add_argument("--seed", type=int, default=TINY.seed)
    parser.add_argument("--size-mb", type=int, help="widen it until it has so many 10^6 bytes")
    asked = parser.parse_args()
    model = replace(TINY, layers=asked.layers, seed=asked.seed)
    if asked.size_mb:
        model = replace(model, embedding=1024, heads=32).of_size(asked.size_mb * 10**6)
    write_model(asked.path, model)


if __name__ == "__main__":
    main()
