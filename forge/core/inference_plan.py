"""What a llama-server with a given command line will need, part by part.

Weights and KV cache are exact. Compute buffers are an estimate: their parts overlap in ways that
only llama.cpp's allocator knows, and what we reckon was within a tenth of what it printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from forge.core.gguf_shape import ModelFile, ModelShape
from forge.core.inference_need import Need
from forge.core.kv_cache import Cells, cells_of, draft_cells, kv_bytes
from forge.core.llama_args import DEFAULT_CACHE_RAM_MIB, LlamaArgs
from forge.core.llama_build import LlamaBuild
from forge.core.memory_map import MemoryMap
from forge.core.units import MIB, show_mib


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
        most = min(self.cells.per_stream, self.model.shape.context_tokens)
        return min(most, self.args.context_per_slot or most)

    @property
    def uses_draft(self) -> bool:
        """Say whether the draft model will draft. Its memory is taken in either case."""
        asked = any(kind.startswith("draft") for kind in self.args.spec_types)
        return self.draft is not None and (asked or not self.build.speculates_by_type)


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Rows of the memory map that the configured server takes; `warning`: why there are none."""

    mib: Mapping[str, int]
    warning: str = ""

    def warning_beside(self, memory_map: MemoryMap) -> str:
        """Say what is wrong: the warning, or which row of a map is smaller than what it holds."""
        rows = [row for row in memory_map.rows if row.key in self.mib]
        if self.mib and not any(row.size_mib for row in rows):
            total = show_mib(sum(self.mib.values()))
            return f"the configured server takes {total}, for which the memory map has no room"
        for row in rows:
            found_mib = self.mib.get(row.key, 0)
            if found_mib > row.size_mib:
                return (
                    f"the row `{row.tenant}` has {show_mib(row.size_mib)}, and the configured"
                    f" server takes {show_mib(found_mib)}"
                )
        return self.warning


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


def rows_mib(need: Need) -> dict[str, int]:
    """Return the rows of the memory map that a server takes, by key."""
    context_bytes = need.kv_bytes + need.draft_kv_bytes + need.growth_bytes
    sizes = {
        "model": need.weights_bytes,
        "draft_model": need.draft_weights_bytes,
        "agent_context": context_bytes,
    }
    return {key: -(-size_bytes // MIB) for key, size_bytes in sizes.items()}


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
