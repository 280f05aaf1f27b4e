"""Writes a llama model of random weights, of a size that is asked for, with nothing but Python.

It knows nothing, and costs as much memory and as many cores for each token as one that does.
"""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

ALIGN = 32
VOCAB = 512
F32, F16 = 0, 1
STRING, ARRAY, U32, I32, FLOAT, BOOL = 8, 9, 4, 5, 6, 7


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's shape: `ff` is what is made larger to reach a size."""

    layers: int = 8
    emb: int = 512
    heads: int = 8
    ff: int = 1024
    context: int = 32768

    @property
    def head_dim(self) -> int:
        return self.emb // self.heads

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...], int]]:
        """Yield name, dimensions and type of each tensor."""
        emb, ff = self.emb, self.ff
        yield "token_embd.weight", (emb, VOCAB), F16
        yield "output_norm.weight", (emb,), F32
        yield "output.weight", (emb, VOCAB), F16
        for n in range(self.layers):
            for name in ("attn_norm", "ffn_norm"):
                yield f"blk.{n}.{name}.weight", (emb,), F32
            for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
                yield f"blk.{n}.{name}.weight", (emb, emb), F16
            for name in ("ffn_gate", "ffn_up"):
                yield f"blk.{n}.{name}.weight", (emb, ff), F16
            yield f"blk.{n}.ffn_down.weight", (ff, emb), F16


def shape_of(size_mib: int, *, layers: int = 8, emb: int = 512) -> Shape:
    """Return a shape whose weights are about so many MiB."""
    fixed = 2 * (2 * emb * VOCAB + layers * 4 * emb * emb)
    ff = max(256, ((size_mib << 20) - fixed) // (2 * 3 * emb * layers) // 256 * 256)
    return Shape(layers=layers, emb=emb, ff=ff)


def write_gguf(file: Path, shape: Shape) -> Path:
    """Write the model."""
    tensors = list(shape.tensors())
    values = _values(shape)
    with file.open("wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)))
        for key, kind, value in values:
            out.write(_string(key) + struct.pack("<I", kind) + _value(kind, value))
        offset = 0
        for name, dims, kind in tensors:
            out.write(_string(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims))
            out.write(struct.pack("<IQ", kind, offset))
            offset += _padded(_bytes_of(dims, kind))
        out.write(b"\0" * (-out.tell() % ALIGN))
        for _, dims, kind in tensors:
            _write_weights(out, _bytes_of(dims, kind), kind)
    return file


def _values(shape: Shape) -> list[tuple[str, int, Any]]:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256))]
    tokens += [f"w{n}" for n in range(VOCAB - len(tokens))]
    types = [2, 3, 3, *[6] * 256, *[1] * (VOCAB - 259)]
    arch, tok = "llama", "tokenizer.ggml"
    return [
        ("general.architecture", STRING, "llama"),
        (f"{arch}.context_length", U32, shape.context),
        (f"{arch}.embedding_length", U32, shape.emb),
        (f"{arch}.block_count", U32, shape.layers),
        (f"{arch}.feed_forward_length", U32, shape.ff),
        (f"{arch}.attention.head_count", U32, shape.heads),
        (f"{arch}.attention.head_count_kv", U32, shape.heads),
        (f"{arch}.attention.key_length", U32, shape.head_dim),
        (f"{arch}.attention.value_length", U32, shape.head_dim),
        (f"{arch}.rope.dimension_count", U32, shape.head_dim),
        (f"{arch}.rope.freq_base", FLOAT, 10000.0),
        (f"{arch}.attention.layer_norm_rms_epsilon", FLOAT, 1e-5),
        (f"{arch}.vocab_size", U32, VOCAB),
        (f"{tok}.model", STRING, "llama"),
        (f"{tok}.tokens", ARRAY, (STRING, tokens)),
        (f"{tok}.scores", ARRAY, (FLOAT, [-float(n) for n in range(VOCAB)])),
        (f"{tok}.token_type", ARRAY, (I32, types)),
        (f"{tok}.unknown_token_id", U32, 0),
        (f"{tok}.bos_token_id", U32, 1),
        (f"{tok}.eos_token_id", U32, 2),
        (f"{tok}.add_bos_token", BOOL, True),
        (f"{tok}.add_space_prefix", BOOL, False),
    ]


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _string(value)
    if kind == ARRAY:
        inner, items = value
        head = struct.pack("<IQ", inner, len(items))
        return head + b"".join(_value(inner, one) for one in items)
    return struct.pack({U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}[kind], value)


def _bytes_of(dims: tuple[int, ...], kind: int) -> int:
    count = 1
    for one in dims:
        count *= one
    return count * (4 if kind == F32 else 2)


def _padded(count: int) -> int:
    return count + -count % ALIGN


def _write_weights(out: BinaryIO, count: int, kind: int) -> None:
    rng = random.Random(count)
    if kind == F32:
        block = struct.pack("<f", 1.0) * 1024
    else:
        block = b"".join(struct.pack("<e", rng.gauss(0.0, 0.02)) for _ in range(65536))
    left = _padded(count)
    while left > 0:
        out.write(block[: min(left, len(block))])
        left -= len(block)
