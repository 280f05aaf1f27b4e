"""What one build of llama-server knows, read from its `--help`.

Its options change from month to month, and one that is gone ends the server at once: `--mlock` was
the way to lock weights until the autumn of 2026, and `--load-mode` is the only one since. So no
spelling is taken for granted. With the spellings came other behaviour, which is told from them.
"""

import re
from dataclasses import dataclass

_OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")


@dataclass(frozen=True, slots=True)
class LlamaBuild:
    """The options of a build, and the kinds of speculation it names."""

    options: frozenset[str]
    speculates_by_type: bool
    """A draft model is used only if `--spec-type` asks for it; all slots share its context."""
    flash_takes_value: bool = True

    @property
    def locking(self) -> tuple[str, ...]:
        """Return what locks the mapped weights; nothing if this build cannot."""
        if "--load-mode" in self.options:
            return ("--load-mode", "mmap+mlock")
        return ("--mlock",) if "--mlock" in self.options else ()

    def first_of(self, *names: str) -> str | None:
        """Return the first of some spellings that this build knows."""
        return next((name for name in names if name in self.options), None)


CURRENT = LlamaBuild(frozenset({"--load-mode", "--spec-type"}), speculates_by_type=True)
"""What is taken for granted of a build that nobody has asked: it behaves as today's do."""


def read_help(text: str) -> LlamaBuild | None:
    """Read what `llama-server --help` prints; None if that is something else."""
    options = set()
    for line in text.splitlines():
        if line.startswith("-") and not line.startswith("-----"):
            head = re.split(r"\s{2,}", re.sub(r",\s+", ", ", line), maxsplit=1)[0]
            options.update(_OPTION.findall(head))
    if not {"--model", "--ctx-size", "--parallel"} <= options:
        return None
    flash = re.search(r"--flash-attn *(\S?)", text)
    return LlamaBuild(
        frozenset(options),
        speculates_by_type="draft-simple" in text,
        flash_takes_value=bool(flash and flash[1] in "[<{"),
    )
