"""The KV cache to the byte, as llama-server allocates it at its start.

    bytes = cells x sum over layers of (key elements in type K + value elements in type V)

`-c` is the total over all slots. It is rounded up to 256 tokens, shared by the slots, and the share
of each is rounded up again, so the total can grow: `-c 1000 -np 3` makes 3 x 512. When the slots
share one pool there is one stream of all cells. `-c 0`, or none, takes what the model was trained
with: for each slot in today's builds, in all for those of before. Layers with a sliding window keep
no more than the window and what one micro-batch adds, unless `--swa-full`. All of this was read in
llama.cpp and compared with what it prints.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from forge.core.gguf_shape import Layer, ModelShape
from forge.core.llama_args import LlamaArgs
from forge.core.llama_build import LlamaBuild

PADDING = 256
AUTOMATIC_SLOTS = 4
TYPES: Mapping[str, tuple[int, int]] = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q8_0": (32, 34),
    "q5_1": (32, 24),
    "q5_0": (32, 22),
    "q4_1": (32, 20),
    "q4_0": (32, 18),
    "iq4_nl": (32, 18),
}
"""By type: how many numbers a block holds, and how many bytes it takes."""


class TypeUnknown(ValueError):
    """There is no such type for a KV cache."""


@dataclass(frozen=True, slots=True)
class Cells:
    """How the cells lie: so many streams of so many. Slots that share one pool are one stream."""

    slots: int
    streams: int
    per_stream: int
    ubatch: int

    @property
    def total(self) -> int:
        """Return the cells of all streams."""
        return self.streams * self.per_stream

    @property
    def is_shared(self) -> bool:
        """Say whether all slots draw on one pool."""
        return self.streams == 1 and self.slots > 1


def padded(count: int) -> int:
    """Round up to what llama.cpp pads to."""
    return -(-count // PADDING) * PADDING


def row_bytes(kind: str, elements: int) -> int:
    """Return what so many numbers take in one type. Raises TypeUnknown."""
    if kind not in TYPES:
        raise TypeUnknown(f"there is no type `{kind}` for a KV cache")
    block, size = TYPES[kind]
    return -(-elements // block) * size


def cells_of(args: LlamaArgs, model: ModelShape, build: LlamaBuild) -> Cells:
    """Lay out the cells of the model's own cache."""
    is_automatic = args.slots is None or args.slots < 0
    slots = AUTOMATIC_SLOTS if is_automatic or not args.slots else args.slots
    is_shared = is_automatic or bool(args.unified)
    asked = _asked_tokens(args, model, build, slots, is_shared)
    total = padded(asked)
    ubatch = min(args.batch, asked, args.ubatch or args.batch)
    if is_shared:
        return Cells(slots, 1, total, ubatch)
    return Cells(slots, slots, padded(total // slots), ubatch)


def _asked_tokens(
    args: LlamaArgs, model: ModelShape, build: LlamaBuild, slots: int, is_shared: bool
) -> int:
    if args.context and args.context > 0:
        return args.context
    if args.context is None and args.context_per_slot:
        return slots * args.context_per_slot
    for_each = build.speculates_by_type and args.fit and not is_shared
    return model.context_tokens * (slots if for_each else 1)


def draft_cells(cells: Cells, args: LlamaArgs, build: LlamaBuild) -> Cells:
    """Lay out the cells of the draft model's cache.

    Today's builds give it one context like the model's. Those of before gave it one for each slot,
    each as long as a slot's, or as `-cd` said: beside a shared pool that is the pool, many times.
    """
    if build.speculates_by_type:
        return cells
    tokens = padded(args.draft_context or cells.per_stream)
    return Cells(cells.slots, cells.slots, tokens, min(cells.ubatch, tokens))


def kv_bytes(
    model: ModelShape, cells: Cells, types: tuple[str, str], *, full: bool, padded_values: bool
) -> int:
    """Return the bytes of a cache. Raises TypeUnknown.

    `full`: layers with a window keep everything as well; `padded_values`: without flash attention,
    the values of all layers are as wide as the widest.
    """
    windowed = min(
        cells.per_stream,
        model.window_tokens * (cells.slots if cells.streams == 1 else 1) + cells.ubatch,
    )
    short_cells = cells.per_stream if full else padded(windowed)
    widest = max((layer.value_elements for layer in model.layers), default=0)
    per_stream = sum(
        (short_cells if layer.has_window else cells.per_stream)
        * _token_bytes(layer, types, widest if padded_values else layer.value_elements)
        for layer in model.layers
    )
    return per_stream * cells.streams


def _token_bytes(layer: Layer, types: tuple[str, str], value_elements: int) -> int:
    return row_bytes(types[0], layer.key_elements) + row_bytes(types[1], value_elements)
