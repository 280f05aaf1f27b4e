"""What `forge inference plan` shows: the parts of the memory, and what is surprising."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forge.cli.render import plain
from forge.core.inference_plan import InferencePlan
from forge.core.inference_surprises import Surprise
from forge.core.units import plural, show_bytes


def plan_view(plan: InferencePlan, surprises: Sequence[Surprise], unasked: str) -> RenderableType:
    """Show a plan; `unasked` says why the server's own build was not asked."""
    parts: list[RenderableType] = [_table(plan)]
    if surprises:
        parts += [Text(), *map(_line, surprises)]
    if unasked:
        parts += [Text(), Text(f"taken for one of today's builds: {plain(unasked)}")]
    return Group(*parts)


def _table(plan: InferencePlan) -> Table:
    need, cells = plan.need, plan.cells
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    slots = (
        "one pool" if cells.is_shared else f"{plural(cells.slots, 'slot')} of {cells.per_stream}"
    )
    types = f"{plan.args.type_k}/{plan.args.type_v}"
    rows = [("weights", need.weights_bytes, plain(plan.model.path))]
    kv = f"{cells.total} tokens, {slots}, {types}"
    rows.append(("KV cache", need.kv_bytes, kv + _about(plan.model.shape.unsure)))
    if plan.draft and plan.draft_cells:
        types = f"{plan.args.draft_type_k}/{plan.args.draft_type_v}"
        kv = f"{plan.draft_cells.total} tokens, {types}{_about(plan.draft.shape.unsure)}"
        rows += [
            ("draft weights", need.draft_weights_bytes, plain(plan.draft.path)),
            ("draft KV cache", need.draft_kv_bytes, kv),
        ]
    rows += [
        ("= from the start", need.resident_bytes, ""),
        ("compute buffers", need.compute_bytes, "an estimate, touched by the first prompts"),
        ("prompt cache", need.prompt_cache_bytes, "at most, as prompts come"),
        ("= in all", need.total_bytes, ""),
    ]
    for label, size_bytes, note in rows:
        table.add_row(label, show_bytes(size_bytes), note)
    return table


def _about(unsure: str) -> str:
    return ", an estimate" if unsure else ""


def _line(one: Surprise) -> Text:
    mark = "it will not start: " if one.fatal else "- "
    hint = f" ({plain(one.hint)})" if one.hint else ""
    return Text(f"{mark}{plain(one.says)}{hint}", "bold" if one.fatal else "")
