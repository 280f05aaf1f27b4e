"""What a llama-server with a given command line will need, part by part.

Weights and KV cache are exact. Compute buffers are an estimate: their parts overlap in ways that
only llama.cpp's allocator knows, and what we reckon was within a tenth of what it printed.
"""

from dataclasses import dataclass

from forge.core.gguf_shape import ModelFile, ModelShape
from forge.core.inference_need import Need
from forge.core.kv_cache import Cells, cells_of, draft_cells, kv_bytes
from forge.core.llama_args import DEFAULT_CACHE_RAM_MIB, LlamaArgs
from forge.core.llama_build import LlamaBuild
from forge.core.units import MIB


@dataclass(frozen=True, slots=True)
class InferencePlan:
    """A command line, the models it names, and what comes of them."""

    args: LlamaArgs
    build: LlamaBuild
    model: ModelFile
    draft: ModelFile | None
    cells: Cells
    draft_cells: Cells | None
    need: Need

    @property
    def slot_tokens(self) -> int:
        """Return the context that one slot can use: never more than the model was trained with."""
        return min(self.cells.per_stream, self.model.shape.context_tokens)

    @property
    def uses_draft(self) -> bool:
        """Say whether the draft model will draft. Its memory is taken in either case."""
        asked = any(kind.startswith("draft") for kind in self.args.spec_types)
        return self.draft is not None and (asked or not self.build.speculates_by_type)


def plan_inference(
    args: LlamaArgs,
    build: LlamaBuild,
    model: ModelFile,
    draft: ModelFile | None = None,
    projector_bytes: int = 0,
) -> InferencePlan:
    """Reckon what a server will need. Raises TypeUnknown for a KV cache of no known type."""
    cells = cells_of(args, model.shape, build)
    beside = draft_cells(cells, args, build) if draft else None
    is_plain = args.flash == "off"
    types, draft_types = (args.type_k, args.type_v), (args.draft_type_k, args.draft_type_v)
    need = Need(
        weights_bytes=model.size_bytes + projector_bytes,
        kv_bytes=kv_bytes(model.shape, cells, types, full=args.swa_full, padded_values=is_plain),
        compute_bytes=_compute_bytes(model.shape, cells, build, is_plain),
        prompt_cache_bytes=_prompt_cache_bytes(args),
    )
    if draft and beside:
        contexts = 1 if build.speculates_by_type else beside.slots
        compute_bytes = contexts * _compute_bytes(draft.shape, beside, build, is_plain)
        need = Need(
            need.weights_bytes,
            need.kv_bytes,
            draft.size_bytes,
            kv_bytes(draft.shape, beside, draft_types, full=args.swa_full, padded_values=is_plain),
            need.compute_bytes + compute_bytes,
            need.prompt_cache_bytes,
        )
    return InferencePlan(args, build, model, draft, cells, beside, need)


def _prompt_cache_bytes(args: LlamaArgs) -> int:
    """Return the limit of the prompt cache; without one, the default stands for it."""
    limit_mib = args.cache_ram_mib
    return (DEFAULT_CACHE_RAM_MIB if limit_mib < 0 else limit_mib) * MIB


def _compute_bytes(model: ModelShape, cells: Cells, build: LlamaBuild, is_plain: bool) -> int:
    """Estimate the buffers of one context: masks as long as the streams, and activations.

    Without flash attention the scores of all heads are laid out beside the mask.
    """
    mask = 2 if build.speculates_by_type else 6  # bytes for each cell and token of a micro-batch
    if is_plain:
        mask = 4 * (model.heads + 1)
    widest = max(3 * model.feed_forward, 4 * model.heads * model.key_length)
    lengths = cells.per_stream
    if model.window_tokens:
        lengths += min(cells.per_stream, model.window_tokens * cells.slots + cells.ubatch)
    return cells.ubatch * (lengths * mask + 4 * (widest + 3 * model.embedding))
