"""From a llama-server's command line to what it will need: its models' files are looked at."""

import os
from collections.abc import Mapping, Sequence

from forge.core.inference_plan import FoundRows, InferencePlan, plan_inference, rows_mib
from forge.core.kv_cache import TypeUnknown
from forge.core.llama_args import read_args
from forge.core.llama_build import CURRENT, LlamaBuild
from forge.core.llama_command import Launch, command_of
from forge.errors import ModelUnreadable
from forge.host.gguf import KnownModels


def found_rows(launch: Launch | None) -> FoundRows:
    """Look at the files of the configured models. Never fails: builds run without a model too."""
    if launch is None:
        return FoundRows({})
    try:
        plan = plan_command_line(command_of(launch, None).argv, {})
    except ModelUnreadable as error:
        return FoundRows({}, f"the model has no row of the memory map: {error.message}")
    return FoundRows(rows_mib(plan.need))


def plan_command_line(
    argv: Sequence[str],
    env: Mapping[str, str],
    directory: str = "",
    build: LlamaBuild | None = None,
    models: KnownModels | None = None,
) -> InferencePlan:
    """Return what a server with this command line, environment and directory needs.

    `models` are those that were read before. Raises ModelUnreadable when it cannot be known.
    """
    args = read_args(argv, env)
    known = models or KnownModels()
    if args.model is None:
        what = (
            f"it fetches `{args.fetched_model}` itself" if args.fetched_model else "it has no `-m`"
        )
        raise ModelUnreadable(f"the command line names no model's file: {what}")
    model = known.read(_within(directory, args.model))
    draft = known.read(_within(directory, args.draft_model)) if args.draft_model else None
    projector = _within(directory, args.projector) if args.projector else None
    try:
        return plan_inference(
            args, build or CURRENT, model, draft, _size_bytes(projector) if projector else 0
        )
    except TypeUnknown as error:
        raise ModelUnreadable(f"the KV cache cannot be reckoned: {error}") from None


def _within(directory: str, path: str) -> str:
    return os.path.join(directory, path)


def _size_bytes(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file can have that name"
        raise ModelUnreadable(f"{path}: cannot be read: {reason}") from None
