"""The shape of a language model, as far as it decides about memory.

It is read from the metadata of a GGUF file, whose keys are named after the architecture:
`llama.block_count`. Each layer keeps keys and values for every token it can see. Most layers see
the whole context; those with a sliding window see its last tokens only, and which ones these are
is told by the header for some architectures, and by a rule in llama.cpp for the others. Where the
header speaks of what we do not reckon with (recurrent layers and their like), the shape says so:
what is reckoned from it is then an estimate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_LAYERS = 512  # llama.cpp's own bound
MOST_ELEMENTS = 1 << 24  # of one layer's keys, for one token; the largest models have some 10 000
MOST_TOKENS = 1 << 31

_PERIODS: Mapping[str, tuple[int, int, bool]] = {
    "afmoe": (0, 4, False),
    "cohere2": (0, 4, False),
    "cohere2moe": (0, 4, True),
    "exaone-moe": (128, 4, False),
    "gemma2": (4096, 2, False),
    "gemma3": (0, 6, False),
    "gemma3n": (0, 5, False),
    "gpt-oss": (0, 2, False),
    "laguna": (0, 4, True),
    "mellum": (0, 4, False),
    "muse-glimmer": (0, 4, False),
    "olmo2": (0, 4, False),
    "plamo3": (0, 8, False),
    "smallthinker": (0, 4, True),
}
"""By architecture: the window when the header has none, every how many layers one sees all, and
whether that is the first of them."""

_IGNORES_WINDOW = ("llama", "phi3", "qwen2", "qwen3", "mistral3")
"""Architectures that llama.cpp gives no windows, whatever the header says."""

_BEYOND_US = (
    "ssm.", "wkv.", "shortconv.", "full_attention_interval", "kda.", "attention.indexer.", "linear",
    "attention.key_length_mla_swa", "router_layer",
)  # fmt: skip
"""Parts of keys that tell of layers which keep something else than keys and values."""


class ShapeUnknown(ValueError):
    """The metadata do not describe a model that we can reckon with."""


@dataclass(frozen=True, slots=True)
class LongArray:
    """Stands for an array of which only the length was read."""

    length: int


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer keeps of one token: how many numbers as key, how many as value."""

    key_elements: int
    value_elements: int
    has_window: bool = False


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model. `window_tokens` is 0 without sliding windows; `unsure` says why it may be wrong."""

    architecture: str
    name: str
    layers: tuple[Layer, ...]
    context_tokens: int
    embedding: int
    feed_forward: int
    heads: int
    key_length: int
    value_length: int
    vocabulary: int
    window_tokens: int = 0
    unsure: str = ""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model as it lies on the disk: in one file, or in several that begin with `path`."""

    path: str
    size_bytes: int
    shape: ModelShape


def shape_of(metadata: Mapping[str, Any]) -> ModelShape:
    """Read a shape from GGUF metadata. Raises ShapeUnknown."""
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise ShapeUnknown("it names no architecture")
    read = _Reader(metadata, architecture)
    blocks = read.number("block_count", low=1, high=MOST_LAYERS)
    embedding = read.number("embedding_length", low=1, high=MOST_ELEMENTS)
    heads = read.per_layer("attention.head_count", blocks, None)
    most_heads = max(heads)
    per_head = embedding // most_heads if most_heads else 0
    key = read.number("attention.key_length", default=per_head, high=MOST_ELEMENTS)
    value = read.number("attention.value_length", default=per_head, high=MOST_ELEMENTS)
    window, windowed = _windows(read, blocks)
    return ModelShape(
        architecture=architecture,
        name=_name(metadata),
        layers=_layers(read, blocks, heads, (key, value), windowed),
        context_tokens=read.number("context_length", low=1, high=MOST_TOKENS),
        embedding=embedding,
        feed_forward=max(read.per_layer("feed_forward_length", blocks, 0)),
        heads=most_heads,
        key_length=key,
        value_length=value,
        vocabulary=_vocabulary(read, metadata),
        window_tokens=window,
        unsure=_unsure(read, window),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    metadata: Mapping[str, Any]
    architecture: str

    def get(self, key: str) -> Any:
        return self.metadata.get(f"{self.architecture}.{key}")

    def number(self, key: str, *, default: int | None = None, low: int = 0, high: int) -> int:
        value = self.get(key)
        if value is None and default is not None:
            return default
        return self._checked(key, value, low, high)

    def per_layer(self, key: str, blocks: int, default: int | None) -> tuple[int, ...]:
        """Return a number for each layer: headers give one for all, or an array."""
        value = self.get(key)
        if value is None and default is not None:
            return (default,) * blocks
        if not isinstance(value, list):
            return (self._checked(key, value, 0, MOST_ELEMENTS),) * blocks
        if len(value) < blocks:
            raise ShapeUnknown(f"`{self.architecture}.{key}` has {len(value)} of {blocks} values")
        return tuple(self._checked(key, one, 0, MOST_ELEMENTS) for one in value[:blocks])

    def _checked(self, key: str, value: Any, low: int, high: int) -> int:
        full = f"{self.architecture}.{key}"
        if value is None:
            raise ShapeUnknown(f"it has no `{full}`")
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ShapeUnknown(f"`{full}` cannot be {str(value)[:40]}")
        return value


def _layers(
    read: _Reader,
    blocks: int,
    heads: Sequence[int],
    lengths: tuple[int, int],
    windowed: Sequence[bool],
) -> tuple[Layer, ...]:
    key, value = lengths
    if read.get("attention.head_count_kv") is None:
        kv_heads = tuple(heads)
    else:
        kv_heads = read.per_layer("attention.head_count_kv", blocks, None)
    window_key = read.number("attention.key_length_swa", default=key, high=MOST_ELEMENTS)
    window_value = read.number("attention.value_length_swa", default=value, high=MOST_ELEMENTS)
    if read.get("attention.key_length_mla"):
        value = window_value = 0  # its values are in its keys
    found = []
    for n in range(_layers_with_cache(read, blocks)):
        each_key, each_value = (window_key, window_value) if windowed[n] else (key, value)
        if kv_heads[n] * max(each_key, each_value) > MOST_ELEMENTS:
            raise ShapeUnknown(f"layer {n} has {kv_heads[n]} heads of {max(each_key, each_value)}")
        found.append(Layer(kv_heads[n] * each_key, kv_heads[n] * each_value, windowed[n]))
    return tuple(found)


def _layers_with_cache(read: _Reader, blocks: int) -> int:
    """Return how many layers keep anything; the others share, or predict further tokens."""
    if read.architecture == "gemma3n":
        return min(blocks, 20)
    shared = read.number("attention.shared_kv_layers", default=0, high=MOST_LAYERS)
    further = read.number("nextn_predict_layers", default=0, high=MOST_LAYERS)
    return max(0, blocks - shared - further)


def _windows(read: _Reader, blocks: int) -> tuple[int, tuple[bool, ...]]:
    """Return the window in tokens, and which layers have it."""
    none = (0, (False,) * blocks)
    if read.architecture in _IGNORES_WINDOW:
        return none
    window, period, first_sees_all = _PERIODS.get(read.architecture, (0, 0, False))
    told = read.get("attention.sliding_window")
    if read.architecture == "llama4" and told != 0:
        window, period = 8192, 4  # chunks of a fixed size, whatever the header says
    elif read.architecture == "exaone4" and blocks == 64:
        window, period = read.number("attention.sliding_window", default=4096, high=MOST_TOKENS), 4
    else:
        window = read.number("attention.sliding_window", default=window, high=MOST_TOKENS)
        if read.architecture == "smallthinker" and window:
            window = 4096
    pattern = read.get("attention.sliding_window_pattern")
    if not window:
        return none
    if isinstance(pattern, list) and len(pattern) >= blocks:
        return window, tuple(bool(one) for one in pattern[:blocks])
    if isinstance(pattern, int) and not isinstance(pattern, bool):
        period = pattern
    if not 0 < period <= MOST_LAYERS:
        return none
    last = 0 if first_sees_all else period - 1
    return window, tuple(n % period != last for n in range(blocks))


def _unsure(read: _Reader, window: int) -> str:
    for key in read.metadata:
        tail = key.removeprefix(f"{read.architecture}.")
        if tail != key and tail.startswith(_BEYOND_US):
            return f"`{key}` tells of layers that keep more than keys and values"
    told = read.get("attention.sliding_window")
    if told and not window and read.architecture not in _IGNORES_WINDOW:
        return f"which layers of `{read.architecture}` have a sliding window is not known"
    return ""


def _name(metadata: Mapping[str, Any]) -> str:
    name = metadata.get("general.name")
    return name if isinstance(name, str) else ""


def _vocabulary(read: _Reader, metadata: Mapping[str, Any]) -> int:
    told = read.get("vocab_size")
    if isinstance(told, int) and not isinstance(told, bool) and 0 < told <= MOST_ELEMENTS:
        return told
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, LongArray):
        return min(tokens.length, MOST_ELEMENTS)
    return len(tokens) if isinstance(tokens, list) else 0
