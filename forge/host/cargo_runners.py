"""Target runners in cargo's configuration: `target.TRIPLE.runner`.

A string is split at blanks, a list is taken as it is; the program's path is found as that of a
wrapper is. The nearest place that has a runner wins, but all must have the same form.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from forge.core.workspace import TargetRunner

Document = tuple[str, dict[str, Any], bool]
"""A file's path, what it says, and whether a `--config` gave it."""


def runners(
    documents: Iterable[Document], program: Callable[[str, str], str | None]
) -> dict[str, TargetRunner]:
    """Return the runner of each target that has one. Documents come nearest first."""
    found: dict[str, TargetRunner] = {}
    for path, document, by_option in documents:
        for name, value in _runner_values(document):
            is_list = isinstance(value, list)
            words = value.split() if isinstance(value, str) else value
            nearest = found.get(name, TargetRunner((), is_list, by_option))
            if not _are_words(words) or nearest.is_list != is_list:
                found[name] = replace(nearest, words=())  # cargo refuses it
            elif name not in found:
                first = program(words[0], path) or words[0]
                found[name] = TargetRunner((first, *words[1:]), is_list, by_option)
    return found


def hides_runner(documents: Iterable[Document]) -> bool:
    """Say whether a runner may be set where we do not look.

    Which `cfg(…)` table holds is for rustc to say, and whether `include` counts depends on the age
    of cargo.
    """
    return any(
        "include" in document
        or any(name.startswith("cfg(") for name, _ in _runner_values(document))
        for _, document, _ in documents
    )


def _runner_values(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    tables = document.get("target")
    for name, table in tables.items() if isinstance(tables, dict) else ():
        if isinstance(table, dict) and "runner" in table:
            yield name, table["runner"]


def _are_words(words: Any) -> bool:
    return isinstance(words, list) and bool(words) and all(isinstance(one, str) for one in words)
