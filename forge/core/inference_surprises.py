"""What people do not expect of the llama-server they start, found before it is started."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from forge.core.inference_plan import InferencePlan
from forge.core.kv_cache import TYPES
from forge.core.llama_args import option_names
from forge.core.units import MIB, plural, show_bytes

_WORD = re.compile(r"--?[a-zA-Z][\w-]*")


@dataclass(frozen=True, slots=True)
class Surprise:
    """One thing to know: its key, what it is, and what can be done. `fatal`: no start at all."""

    key: str
    says: str
    hint: str | None = None
    fatal: bool = False


def surprises_of(plan: InferencePlan, argv: Sequence[str] = ()) -> tuple[Surprise, ...]:
    """Return what is surprising, what prevents a start first. `argv` is looked at for options."""
    found = [
        *_unknown_options(plan, argv),
        *_unfit_types(plan),
        *_draft(plan),
        *_context(plan),
        *_growth(plan),
        *_locking(plan),
        *_doors(plan),
    ]
    return tuple(sorted(found, key=lambda one: not one.fatal))


def _unknown_options(plan: InferencePlan, argv: Sequence[str]) -> Iterator[Surprise]:
    known = plan.build.options
    if "--model" not in known:
        return  # nobody has asked this build
    for name in option_names(argv):
        if not _WORD.fullmatch(name) or name in known:
            continue
        locks = name in ("--mlock", "--load-mode", "-lm")
        instead = " ".join(plan.build.locking) if locks else ""
        yield Surprise(
            "option-unknown",
            f"this llama-server does not know `{name}`, and ends at once",
            f"it locks the weights with `{instead}`" if instead else None,
            fatal=True,
        )
    for name in plan.args.unread:
        yield Surprise("value-unread", f"the value of `{name}` cannot be read", fatal=True)


def _unfit_types(plan: InferencePlan) -> Iterator[Surprise]:
    """llama.cpp refuses caches whose blocks do not divide a head."""
    args = plan.args
    sides = [
        ("-ctk", args.type_k, plan.model.shape.key_length),
        ("-ctv", args.type_v, plan.model.shape.value_length),
    ]
    if plan.draft:
        sides += [
            ("-ctkd", args.draft_type_k, plan.draft.shape.key_length),
            ("-ctvd", args.draft_type_v, plan.draft.shape.value_length),
        ]
    for option, kind, length in sides:
        block = TYPES[kind][0]
        if length % block:
            says = (
                f"`{option} {kind}` has blocks of {block}, which do not divide a head of {length}"
            )
            yield Surprise("type-unfit", says, f"`{option} f16`", fatal=True)
        elif "v" in option and block > 1 and args.flash == "off":
            says = f"`{option} {kind}` needs flash attention, and `-fa off` has none"
            yield Surprise("type-unfit", says, "`-fa on`", fatal=True)


def _draft(plan: InferencePlan) -> Iterator[Surprise]:
    need, args = plan.need, plan.args
    if plan.draft is None:
        if any(kind.startswith("draft") for kind in args.spec_types):
            kinds = ",".join(args.spec_types)
            says = (
                f"`--spec-type {kinds}` has no draft model (`-md`): what it takes is not reckoned"
            )
            yield Surprise("draft-missing", says)
        return
    if not plan.uses_draft:
        takes = show_bytes(need.draft_weights_bytes + need.draft_kv_bytes)
        yield Surprise(
            "draft-unused",
            f"the draft model is loaded and never used: it takes {takes} for nothing",
            "`--spec-type draft-simple`",
        )
    types, draft_types = (args.type_k, args.type_v), (args.draft_type_k, args.draft_type_v)
    if need.draft_kv_bytes > need.kv_bytes:
        yield Surprise(
            "draft-kv",
            f"the draft model's KV cache is the larger one: {show_bytes(need.draft_kv_bytes)} in"
            f" {' and '.join(sorted(set(draft_types)))}, the model's {show_bytes(need.kv_bytes)};"
            " -ctk and -ctv do not hold for it",
            f"`-ctkd {types[0]} -ctvd {types[1]}`" if draft_types != types else None,
        )
    if plan.draft_cells and plan.draft_cells.total > plan.cells.total:
        yield Surprise(
            "draft-contexts",
            f"each of {plural(plan.cells.slots, 'slot')} gets a draft context as long as the whole"
            f" pool: {plan.draft_cells.total} cells beside {plan.cells.total}",
            f"`-np {plan.cells.slots}`, or a smaller `-cd`",
        )


def _context(plan: InferencePlan) -> Iterator[Surprise]:
    cells, args, shape = plan.cells, plan.args, plan.model.shape
    if not args.context and not args.context_per_slot:
        yield Surprise(
            "context-unset",
            f"the context is what the model was trained with: {cells.total} tokens in all"
            + (", or less if that does not fit" if args.context is None and args.fit else ""),
            "`-c TOKENS`",
        )
    elif args.context and cells.total != args.context:
        yield Surprise(
            "context-rounded",
            f"a context of {args.context} tokens becomes {cells.total}: {cells.streams} x"
            f" {cells.per_stream}",
        )
    if cells.is_shared:
        yield Surprise(
            "slots-share",
            f"{cells.slots} slots share one pool of {cells.per_stream} tokens",
            f"`-np {cells.slots}` gives each its own" if args.slots is None else None,
        )
    elif cells.slots > 1:
        yield Surprise(
            "slot-context",
            f"the context is for all slots together: each of {cells.slots} has {cells.per_stream}"
            " tokens",
        )
    if cells.per_stream > shape.context_tokens and not cells.is_shared:
        yield Surprise(
            "context-beyond",
            f"a slot uses {shape.context_tokens} tokens, for which the model was trained, of the"
            f" {cells.per_stream} that memory is taken for",
        )
    if shape.unsure:
        yield Surprise("shape-unsure", f"the KV cache is an estimate: {shape.unsure}")


def _growth(plan: InferencePlan) -> Iterator[Surprise]:
    limit_mib = plan.args.cache_ram_mib
    if limit_mib < 0:
        says = "the prompt cache grows without limit; reckoned as 8.0 GiB"
        yield Surprise("prompt-cache", says, "`--cache-ram MIB`")
    elif limit_mib:
        says = f"the prompt cache may grow to {show_bytes(limit_mib * MIB)} beside the KV cache"
        yield Surprise("prompt-cache", says, "`--cache-ram MIB`; 0 is none")
    if plan.model.shape.window_tokens and plan.args.checkpoints > 0:
        yield Surprise(
            "checkpoints",
            f"each slot may keep {plan.args.checkpoints} checkpoints of its windows, which are not"
            " reckoned",
            "`--ctx-checkpoints N`",
        )


def _locking(plan: InferencePlan) -> Iterator[Surprise]:
    if plan.args.is_locked:
        return
    with_what = " ".join(plan.build.locking)
    yield Surprise(
        "not-locked",
        "the weights are not locked: under pressure the system drops them, and reads them again"
        " for every token",
        f"`{with_what}`" if with_what else None,
    )


def _doors(plan: InferencePlan) -> Iterator[Surprise]:
    if plan.args.has_api_key:
        says = "the API key stands on the command line, which every user can read"
        yield Surprise("key-shown", says, "`--api-key-file FILE`")
    if not plan.args.metrics:
        says = "without `--metrics` nobody can see how many tokens the server makes"
        yield Surprise("metrics-off", says, "`--metrics`")
