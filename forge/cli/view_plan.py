"""What `forge plan` shows: bars, a table and the account. One letter stands for each tenant."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forge.core.memory_map import Row, Tenancy
from forge.core.plan import MachineUse, Plan, TenantUse
from forge.core.units import show_bytes, show_mib

MOST_CELLS = 64
FEWEST_CELLS = 10
BESIDE_BAR = len("planned  []")
LETTERS = {
    "model": "A",
    "draft_model": "D",
    "ram_disk": "R",
    "agent_context": "C",
    "operating_system": "O",
    "linker_buffer": "L",
}
STYLES = {Tenancy.WIRED: "magenta", Tenancy.DYNAMIC: "cyan", Tenancy.RESERVED: "green"}

Piece = tuple[str, str, int]
"""A letter, its colour and how much it stands for."""


def plan_view(plan: Plan, title: str, why_not: str, width: int) -> RenderableType:
    """Show a plan on so many columns; `why_not` says why nothing was measured, if so."""
    cells = max(FEWEST_CELLS, min(MOST_CELLS, width - BESIDE_BAR))
    parts: list[RenderableType] = [
        Text(f"{title}: {show_mib(plan.memory_map.total_mib)} of memory", "bold"),
        Text(),
        _bar("planned", _planned_pieces(plan), cells),
    ]
    if plan.use:
        parts += [_bar("now", _used_pieces(plan, plan.use), cells), Text(_LEGEND)]
    parts += [Text(), _table(plan), Text(), _account(plan)]
    if why_not:
        parts += [Text(), Text(f"this is only planned: {why_not}")]
    return Group(*parts)


_LEGEND = "         capitals: in use, small: promised and not yet touched, dots: available"


def cells_of(sizes: Sequence[int], cells: int) -> list[int]:
    """Share cells in proportion to sizes; whoever has anything gets one, if there are enough."""
    total = sum(sizes)
    if not total:
        return [0] * len(sizes)
    given = [size * cells // total for size in sizes]
    by_need = sorted(range(len(sizes)), key=lambda n: given[n] * total - sizes[n] * cells)
    for n in by_need[: cells - sum(given)]:
        given[n] += 1
    for n, size in enumerate(sizes):
        richest = max(range(len(sizes)), key=lambda n: given[n])
        if size and not given[n] and given[richest] > 1:
            given[richest] -= 1
            given[n] = 1
    return given


def _bar(label: str, pieces: Sequence[Piece], cells: int) -> Text:
    line = Text(f"{label:<9}[")
    given = cells_of([size for *_, size in pieces], cells)
    for (letter, style, _), count in zip(pieces, given, strict=True):
        line.append(letter * count, style)
    return line.append("]")


def _planned_pieces(plan: Plan) -> list[Piece]:
    return [(LETTERS[row.key], STYLES[row.kind], row.size_mib) for row in plan.memory_map.rows]


def _used_pieces(plan: Plan, use: MachineUse) -> list[Piece]:
    """Return what is in use, then what is promised of the rest, then what is still available."""
    rows = [(row, tenant) for row, tenant in plan.rows() if tenant]
    used = [(LETTERS[row.key], STYLES[row.kind], tenant.used_bytes) for row, tenant in rows]
    room_bytes = use.available_bytes
    promised = []
    for row, tenant in rows:
        part_bytes = min(room_bytes, tenant.promised_bytes)
        promised.append((LETTERS[row.key].lower(), STYLES[row.kind], part_bytes))
        room_bytes -= part_bytes
    return [*used, *promised, (".", "dim", room_bytes)]


def _table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("", "tenant", "kind"):
        table.add_column(head, overflow="fold")
    for head in ("planned", "now", "promised") if plan.use else ("planned",):
        table.add_column(head, justify="right", no_wrap=True)
    for row, tenant in plan.rows():
        table.add_row(LETTERS[row.key], row.tenant, row.kind, *_sizes(row, tenant, plan.use))
    return table


def _sizes(row: Row, tenant: TenantUse | None, use: MachineUse | None) -> list[str]:
    planned = show_mib(row.size_mib) if row.size_mib else "none"
    if use is None:
        return [planned]
    if tenant is None:
        whole = "A" if row.key == "draft_model" and use.model else "O"
        return [planned, f"part of {whole}" if row.size_mib else "-", "-"]
    promised = show_bytes(tenant.promised_bytes) if tenant.promised_bytes else "-"
    return [planned, show_bytes(tenant.used_bytes), promised]


def _account(plan: Plan) -> RenderableType:
    """Show what is left, and how that comes about."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    low_water = ("low water", show_bytes(plan.low_water_bytes), "below it, builds give way")
    if plan.use is None:
        table.add_row(*low_water)
        return table
    use, left_bytes = plan.use, plan.use.left_bytes(plan.low_water_bytes)
    table.add_row("available", show_bytes(use.available_bytes), f"of {show_bytes(use.total_bytes)}")
    table.add_row("- promised", show_bytes(use.promised_bytes), "not yet touched")
    table.add_row(f"- {low_water[0]}", *low_water[1:])
    if left_bytes >= 0:
        table.add_row("= left", show_bytes(left_bytes), "nobody was promised it")
    else:
        table.add_row(
            "= short", show_bytes(-left_bytes), "more is promised than there is", style="red"
        )
    return table
