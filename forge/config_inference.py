"""Settings that say how the llama-server is started, and what it needs."""

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from forge.config_values import (
    Setting,
    count_of,
    one_of,
    read_absolute_path,
    read_name,
    read_size,
    read_words,
    read_yes_no,
)
from forge.core.kv_cache import TYPES
from forge.core.llama_command import Launch


def _not_auto(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_told(value: Any) -> Any:
        if value == "auto":
            raise ValueError
        return read(value)

    return read_told


_TYPES = ", ".join(f'"{kind}"' for kind in TYPES)
_PATH = 'an absolute path, or "auto"'

INFERENCE_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "inference.server", "a path, or a name on PATH", "llama-server",
        "The llama-server that `forge inference command` starts.",
        read_name,
    ),
    Setting(
        "inference.model", _PATH, "auto",
        "The model's GGUF file, or the first file of a split one. Its rows of the memory map are"
        " then found by themselves. `auto`: none is known.",
        read_absolute_path,
    ),
    Setting(
        "inference.draft_model", _PATH, "auto",
        "The draft model's GGUF file. `auto`: none.",
        read_absolute_path,
    ),
    Setting(
        "inference.context", "a whole number from 0 to 1000000000", 131072,
        "Tokens of context of all slots together; 0: what the model was trained with.",
        _not_auto(count_of(0, 1_000_000_000)),
    ),
    Setting(
        "inference.slots", "a whole number from 1 to 256", 4,
        "Requests that the server works on at the same time.",
        _not_auto(count_of(1, 256)),
    ),
    Setting(
        "inference.kv_type", f"one of {_TYPES}", "q4_0",
        "Type of the model's KV cache, for keys and for values.",
        one_of(*TYPES),
    ),
    Setting(
        "inference.draft_kv_type", f"one of {_TYPES}", "q4_0",
        "Type of the draft model's KV cache: a server that is not told takes f16.",
        one_of(*TYPES),
    ),
    Setting(
        "inference.cache_ram", 'a size such as "8GiB"', "8GiB",
        'Most that the server may keep of prompts beside its KV cache; "0MiB": nothing.',
        _not_auto(read_size),
    ),
    Setting(
        "inference.lock", "true or false", True,
        "Whether the weights are locked in memory, in the spelling that the server knows.",
        read_yes_no,
    ),
    Setting(
        "inference.api_key_file", _PATH, "auto",
        "File with the server's API keys, one on a line; Forge asks with the first. `auto`: it asks"
        " for none.",
        read_absolute_path,
    ),
    Setting(
        "inference.args", "a list of words", [],
        "Further words for the server's command line; they come last, and so they win.",
        read_words,
    ),
)  # fmt: skip


class Settings(Protocol):
    """Settings by dotted key."""

    def __getitem__(self, key: str) -> Any:
        """Return the value of a setting."""


def launch_of(cfg: Settings) -> Launch | None:
    """Return how the server is to be started; None when no model is set."""
    if cfg["inference.model"] is None:
        return None
    address = urlsplit(cfg["inference.url"][0])
    return Launch(
        server=cfg["inference.server"],
        model=cfg["inference.model"],
        draft_model=cfg["inference.draft_model"],
        host=address.hostname or "127.0.0.1",
        port=address.port or 80,
        context=cfg["inference.context"],
        slots=cfg["inference.slots"],
        kv_type=cfg["inference.kv_type"],
        draft_kv_type=cfg["inference.draft_kv_type"],
        cache_ram_mib=cfg["inference.cache_ram"],
        is_locked=cfg["inference.lock"],
        api_key_file=cfg["inference.api_key_file"],
        args=cfg["inference.args"],
    )
