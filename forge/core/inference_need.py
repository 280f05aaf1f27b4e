"""What an inference server needs of memory, part by part.

The weights and the KV cache are there from the first second: KV is filled with zeros at the start.
What grows later is the prompt cache (`--cache-ram`), up to its limit, and the pages of the compute
buffers that the first prompts touch. All sizes are bytes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """The parts of one server's memory, in bytes."""

    weights_bytes: int
    kv_bytes: int
    draft_weights_bytes: int = 0
    draft_kv_bytes: int = 0
    compute_bytes: int = 0
    prompt_cache_bytes: int = 0

    @property
    def models_bytes(self) -> int:
        """Return the weights of model and draft: mapped from files, and to stay resident."""
        return self.weights_bytes + self.draft_weights_bytes

    @property
    def resident_bytes(self) -> int:
        """Return what is to be resident from the start on."""
        return self.models_bytes + self.kv_bytes + self.draft_kv_bytes

    @property
    def growth_bytes(self) -> int:
        """Return what may still be added after the start."""
        return self.compute_bytes + self.prompt_cache_bytes

    @property
    def total_bytes(self) -> int:
        """Return the most that the server may come to hold."""
        return self.resident_bytes + self.growth_bytes
