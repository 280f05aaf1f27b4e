"""What a llama-server's command line asks for, as far as it decides about memory and doors.

Old and new spellings are read alike: a server takes some and refuses others, and which is its own
affair (core/llama_build.py). As llama.cpp does: the environment (`LLAMA_ARG_*`) counts before the
command line, the last one of several wins, and `_` in a long option is `-`. Beyond that, `=` is
read too, and what is unknown is passed over: we look at servers that others have started. The
words of a key are never kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

SECRETS = ("--api-key", "--hf-token", "-hft")
HIDDEN = "…"
DEFAULT_CACHE_RAM_MIB = 8192
INT_MAX = (1 << 31) - 1
_YES = ("on", "enabled", "true", "1")
_NO = ("off", "disabled", "false", "0")


@dataclass(frozen=True, slots=True)
class LlamaArgs:
    """A command line as read. None: not given, and the server decides."""

    program: str | None = None
    model: str | None = None
    draft_model: str | None = None
    fetched_model: str | None = None  # from a registry: no file is named
    context: int | None = None  # 0: what the model was trained with
    draft_context: int | None = None
    context_per_slot: int | None = None
    slots: int | None = None
    unified: bool | None = None
    type_k: str = "f16"
    type_v: str = "f16"
    draft_type_k: str = "f16"
    draft_type_v: str = "f16"
    batch: int = 2048
    ubatch: int = 512
    flash: str = "auto"
    swa_full: bool = False
    checkpoints: int = 32
    cache_ram_mib: int = DEFAULT_CACHE_RAM_MIB  # -1: no limit
    spec_types: tuple[str, ...] = ()
    load_mode: str | None = None
    mlock: bool = False
    fit: bool = True
    projector: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    has_api_key: bool = False
    api_key_file: str | None = None
    metrics: bool = False
    unread: tuple[str, ...] = ()  # options whose value is none

    @property
    def is_locked(self) -> bool:
        """Say whether the weights are to be locked."""
        return self.mlock or self.load_mode in ("mlock", "mmap+mlock")


@dataclass(frozen=True, slots=True)
class _Option:
    field: str
    kind: str  # int, text, words, yes (no value), named (its value is not kept)
    names: tuple[str, ...]
    opposites: tuple[str, ...] = ()
    variable: str = ""


_OPTIONS = (
    _Option("model", "text", ("-m", "--model"), (), "LLAMA_ARG_MODEL"),
    _Option(
        "draft_model", "text", ("-md", "--model-draft", "--spec-draft-model"), (),
        "LLAMA_ARG_SPEC_DRAFT_MODEL",
    ),
    _Option("draft_model", "text", (), (), "LLAMA_ARG_MODEL_DRAFT"),
    _Option("fetched_model", "text", ("-hf", "-hfr", "--hf-repo"), (), "LLAMA_ARG_HF_REPO"),
    _Option("fetched_model", "text", ("-mu", "--model-url"), (), "LLAMA_ARG_MODEL_URL"),
    _Option("fetched_model", "text", ("-dr", "--docker-repo"), (), "LLAMA_ARG_DOCKER_REPO"),
    _Option("context", "int", ("-c", "--ctx-size"), (), "LLAMA_ARG_CTX_SIZE"),
    _Option("draft_context", "int", ("-cd", "--ctx-size-draft"), (), "LLAMA_ARG_CTX_SIZE_DRAFT"),
    _Option(
        "context_per_slot", "int", ("--kv-unified-per-slot",), (), "LLAMA_ARG_KV_UNIFIED_PER_SLOT"
    ),
    _Option("slots", "int", ("-np", "--parallel"), (), "LLAMA_ARG_N_PARALLEL"),
    _Option(
        "unified", "yes", ("-kvu", "--kv-unified"), ("-no-kvu", "--no-kv-unified"),
        "LLAMA_ARG_KV_UNIFIED",
    ),
    _Option("type_k", "text", ("-ctk", "--cache-type-k"), (), "LLAMA_ARG_CACHE_TYPE_K"),
    _Option("type_v", "text", ("-ctv", "--cache-type-v"), (), "LLAMA_ARG_CACHE_TYPE_V"),
    _Option(
        "draft_type_k", "text", ("-ctkd", "--cache-type-k-draft", "--spec-draft-type-k"), (),
        "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K",
    ),
    _Option("draft_type_k", "text", (), (), "LLAMA_ARG_CACHE_TYPE_K_DRAFT"),
    _Option(
        "draft_type_v", "text", ("-ctvd", "--cache-type-v-draft", "--spec-draft-type-v"), (),
        "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V",
    ),
    _Option("draft_type_v", "text", (), (), "LLAMA_ARG_CACHE_TYPE_V_DRAFT"),
    _Option("batch", "int", ("-b", "--batch-size"), (), "LLAMA_ARG_BATCH"),
    _Option("ubatch", "int", ("-ub", "--ubatch-size"), (), "LLAMA_ARG_UBATCH"),
    _Option("flash", "text", ("-fa", "--flash-attn"), (), "LLAMA_ARG_FLASH_ATTN"),
    _Option("swa_full", "yes", ("--swa-full",), (), "LLAMA_ARG_SWA_FULL"),
    _Option(
        "checkpoints", "int", ("-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"), (),
        "LLAMA_ARG_CTX_CHECKPOINTS",
    ),
    _Option("cache_ram_mib", "int", ("-cram", "--cache-ram"), (), "LLAMA_ARG_CACHE_RAM"),
    _Option("spec_types", "words", ("--spec-type",), (), "LLAMA_ARG_SPEC_TYPE"),
    _Option("load_mode", "text", ("-lm", "--load-mode"), (), "LLAMA_ARG_LOAD_MODE"),
    _Option("mlock", "yes", ("--mlock",), (), "LLAMA_ARG_MLOCK"),
    _Option("fit", "on", ("-fit", "--fit"), (), "LLAMA_ARG_FIT"),
    _Option("projector", "text", ("-mm", "--mmproj"), (), "LLAMA_ARG_MMPROJ"),
    _Option("host", "text", ("--host",), (), "LLAMA_ARG_HOST"),
    _Option("port", "int", ("--port",), (), "LLAMA_ARG_PORT"),
    _Option("has_api_key", "named", ("--api-key",), (), "LLAMA_API_KEY"),
    _Option("api_key_file", "text", ("--api-key-file",), (), "LLAMA_ARG_API_KEY_FILE"),
    _Option("metrics", "yes", ("--metrics",), (), "LLAMA_ARG_ENDPOINT_METRICS"),
)  # fmt: skip

_BY_NAME: Mapping[str, tuple[_Option, bool]] = {
    **{name: (option, True) for option in _OPTIONS for name in option.names},
    **{name: (option, False) for option in _OPTIONS for name in option.opposites},
}


def read_args(argv: Sequence[str], env: Mapping[str, str] | None = None) -> LlamaArgs:
    """Read a command line, with or without the program before it, and its environment."""
    found: dict[str, Any] = {}
    unread: list[str] = []
    for option in _OPTIONS:
        if option.variable in (env or {}):
            _note(found, unread, option, option.variable, (env or {})[option.variable], True)
    words = list(argv)
    if words and not words[0].startswith("-"):
        found["program"] = words.pop(0)
    for name, value, option, positive in _options(words):
        _note(found, unread, option, name, value, positive)
    return replace(LlamaArgs(), **found, unread=tuple(unread))


def shown_args(argv: Sequence[str]) -> list[str]:
    """Return a command line that may be shown: without the words of keys and tokens."""
    shown: list[str] = []
    for word in argv:
        name, equals, _ = word.partition("=")
        if shown and _normal(shown[-1]) in SECRETS:
            shown.append(HIDDEN)
        elif equals and _normal(name) in SECRETS:
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(word)
    return shown


def option_names(argv: Sequence[str]) -> list[str]:
    """Return what looks like options, and is not the value of one that we know."""
    words = list(argv[1:] if argv and not argv[0].startswith("-") else argv)
    names, is_value = [], False
    for word in words:
        name = _normal(word).partition("=")[0]
        if not is_value and word.startswith("-"):
            names.append(name)
        known = _BY_NAME.get(name)
        is_value = not is_value and known is not None and known[0].kind != "yes" and "=" not in word
    return names


def _options(words: Sequence[str]) -> list[tuple[str, str | None, _Option, bool]]:
    """Pick the options that we know, each with its value; None: it takes none, or has none."""
    found: list[tuple[str, str | None, _Option, bool]] = []
    rest = iter(range(len(words)))
    for at in rest:
        name, equals, given = _normal(words[at]).partition("=")
        if name not in _BY_NAME:
            continue
        option, positive = _BY_NAME[name]
        if equals:
            found.append((name, given, option, positive))
        elif option.field == "flash" and (words[at + 1 :] or ["-"])[0].startswith("-"):
            found.append((name, "on", option, positive))  # a bare switch until late in 2025
        elif option.kind == "yes" or at + 1 == len(words):
            found.append((name, None, option, positive))
        else:
            found.append((name, words[next(rest)], option, positive))
    return found


def _normal(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _note(
    found: dict[str, Any],
    unread: list[str],
    option: _Option,
    name: str,
    value: str | None,
    positive: bool,
) -> None:
    try:
        read = _read(option.kind, value, positive)
    except ValueError:
        unread.append(name)
        return
    if option.kind == "words":
        read = found.get(option.field, ()) + read  # the one option that adds up
    found[option.field] = read


def _read(kind: str, value: str | None, positive: bool) -> Any:
    if kind in ("yes", "on"):
        if value is None:
            return positive
        if value.lower() in _YES:
            return True
        if value.lower() in _NO:
            return False
        raise ValueError
    if not value:
        raise ValueError
    if kind == "named":
        return True
    if kind == "words":
        return tuple(word.strip() for word in value.split(",") if word.strip())
    if kind == "int":
        number = int(value)
        if not -INT_MAX <= number <= INT_MAX:
            raise ValueError
        return number
    return value
