"""Shapes of the reference host's models, for tests that need no file."""

from pathlib import Path

from forge.core.gguf_shape import ModelFile, ModelShape, shape_of
from forge.core.llama_build import LlamaBuild, read_help

GIB = 1 << 30
RECORDINGS = Path(__file__).parent.parent / "data" / "llama"


def shape(architecture="llama", **changes) -> ModelShape:
    """Return a shape as a header would give it; `None` takes a key out."""
    own = {
        "block_count": 80,
        "context_length": 131072,
        "embedding_length": 8192,
        "feed_forward_length": 28672,
        "attention.head_count": 64,
        "attention.head_count_kv": 8,
        "attention.key_length": 128,
        "attention.value_length": 128,
        "vocab_size": 128256,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    keys = {f"{architecture}.{key}": value for key, value in own.items() if value is not None}
    return shape_of({"general.architecture": architecture, **keys})


MODEL_70B = ModelFile("/models/70b.gguf", 78 * GIB, shape())
DRAFT_3B = ModelFile(
    "/models/3b.gguf",
    2 * GIB,
    shape(
        block_count=28, embedding_length=3072, feed_forward_length=8192, attention__head_count=24
    ),
)
TINY = ModelFile(
    "/models/tiny.gguf",
    5 << 20,
    shape(
        block_count=4, embedding_length=256, feed_forward_length=512, attention__head_count=8,
        attention__head_count_kv=2, attention__key_length=32, attention__value_length=32,
    ),
)  # fmt: skip


def build_of(version: str) -> LlamaBuild:
    """Return a build as its recorded help tells."""
    build = read_help((RECORDINGS / version / "help.txt").read_text())
    assert build
    return build
