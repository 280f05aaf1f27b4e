"""The command line that starts a llama-server as it is configured, in its own build's spelling."""

from collections.abc import Mapping
from dataclasses import dataclass

from forge.core.kv_cache import TYPES
from forge.core.llama_build import LlamaBuild

KEEP_ALIVE: Mapping[str, str] = {"GGML_METAL_RESIDENCY_KEEP_ALIVE_S": "2592000"}
"""On macOS the weights stop being resident 3 minutes after the last token, unless this says 30
days. Far more would overflow the counter of some builds. Elsewhere nobody reads it."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is to be started."""

    server: str
    model: str
    draft_model: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    context: int = 131072
    slots: int = 4
    kv_type: str = "q4_0"
    draft_kv_type: str = "q4_0"
    cache_ram_mib: int = 8192
    is_locked: bool = True
    api_key_file: str | None = None
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and its environment; `lacks` is what this build cannot be told."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    lacks: tuple[str, ...] = ()


def command_of(launch: Launch, build: LlamaBuild | None) -> Command:
    """Return the command line; without a build that was asked, in the spelling of today's."""
    words = _Words(build)
    words.add(launch.model, "-m", "--model")
    if launch.draft_model:
        words.add(launch.draft_model, "-md", "--spec-draft-model", "--model-draft")
        if build is None or build.speculates_by_type:
            words.add("draft-simple", "--spec-type")
    words.add(launch.host, "--host")
    words.add(str(launch.port), "--port")
    words.add(str(launch.context), "-c", "--ctx-size")
    words.add(str(launch.slots), "-np", "--parallel")
    words.add(launch.kv_type, "-ctk", "--cache-type-k")
    words.add(launch.kv_type, "-ctv", "--cache-type-v")
    if launch.draft_model:
        words.add(launch.draft_kv_type, "-ctkd", "--cache-type-k-draft", "--spec-draft-type-k")
        words.add(launch.draft_kv_type, "-ctvd", "--cache-type-v-draft", "--spec-draft-type-v")
    if TYPES[launch.kv_type][0] > 1:  # such values need it
        takes_value = build is None or build.flash_takes_value
        words.add("on" if takes_value else None, "-fa", "--flash-attn")
    words.add(None, "-cb", "--cont-batching")
    if launch.is_locked:
        words.lock()
    words.add(None, "--metrics")
    words.add(None, "--slots")
    words.add(str(launch.cache_ram_mib), "--cache-ram", "-cram")
    if launch.api_key_file:
        words.add(launch.api_key_file, "--api-key-file")
    return Command((launch.server, *words.found, *launch.args), KEEP_ALIVE, tuple(words.lacks))


class _Words:
    """Words so far. Each option is written in the first spelling that the build knows."""

    def __init__(self, build: LlamaBuild | None) -> None:
        self.build = build
        self.found: list[str] = []
        self.lacks: list[str] = []

    def add(self, value: str | None, *names: str) -> None:
        name = self.build.first_of(*names) if self.build else names[0]
        if name is None:
            self.lacks.append(names[0])
            return
        self.found += [name] if value is None else [name, value]

    def lock(self) -> None:
        locking = self.build.locking if self.build else ("--load-mode", "mmap+mlock")
        if not locking:
            self.lacks.append("--mlock")
        self.found += locking
