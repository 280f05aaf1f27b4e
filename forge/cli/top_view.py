"""The picture of `forge top`: a pure function of the status, what was chosen, and the size.

From top to bottom: the machine, the builds, what is at their gates, the line, and one line for
questions. The three lists share the lines that the others leave, the smallest wish first, so that
a short list never takes room from a long one. Nothing is shown that the status does not have.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from forge.cli.render import plain
from forge.cli.top_choice import Choice, Report, build_of, builds_of, project_of
from forge.cli.top_tables import builds_table, gates_table, line_table, short_duration
from forge.cli.view_inference import squeezed_words, top_words
from forge.cli.view_memory import tight_words
from forge.core.units import plural, show_bytes, show_mib

BAR_CELLS = 10
BARS_FROM = 70
GAP = "   "
MIN_LIST_LINES = 2
KEYS = ("q quit", "? help", "up/down select", "c cancel", "p priority", "h hold")
HELP = (
    ("up, down, k, j", "select a build"),
    ("page up, down", "ten builds further"),
    ("home, end", "the first, the last"),
    ("a, escape", "select none: all gates"),
    ("c", "cancel the selected"),
    ("p", "interactive or batch"),
    ("h", "hold, or go on"),
    ("q, ctrl-c", "quit"),
)


def top_view(
    report: Report, choice: Choice, problem: str, width: int, height: int
) -> RenderableType:
    """Show one picture of at most `height` lines. `problem`: why the daemon does not answer."""
    foot = _foot(report, choice, width)
    if choice.is_help:
        return _above_foot([_help(width)], len(HELP), foot, height)
    if not report:
        return _above_foot([_fit(problem_line(problem, is_first=True), width)], 1, foot, height)
    head = _head(report, problem, width, max(1, height // 4))
    lists, used = _lists(report, choice, width, height - len(head) - 1)
    return _above_foot([*head, *lists], len(head) + used, foot, height)


def problem_line(problem: str, *, is_first: bool = False) -> Text:
    """Say that there is no daemon, which is no reason to end: one may come back."""
    if not problem:
        return Text("asking the daemon")
    shown = "" if is_first else "; this is the last picture"
    why = plain(problem.removeprefix("no daemon answers "))
    return Text(f"no daemon answers{shown}; trying again: {why}", "bold reverse")


def share_lines(room: int, wishes: Sequence[int]) -> list[int]:
    """Share lines among lists that wish for so many: equally, but nobody gets more than it wishes.

    A list that would get fewer than a head and a row gets none, the last one first.
    """
    given = [0] * len(wishes)
    open_ = [n for n, wish in enumerate(wishes) if wish]
    while open_ and room < MIN_LIST_LINES * len(open_):
        open_.pop()
    for place, n in enumerate(sorted(open_, key=lambda n: wishes[n])):
        given[n] = min(wishes[n], room // (len(open_) - place))
        room -= given[n]
    return given


def _lists(
    report: Report, choice: Choice, width: int, room: int
) -> tuple[list[RenderableType], int]:
    builds = builds_of(report)
    selected = build_of(report, choice.selected)
    looked_at = [selected] if selected else builds
    in_line = [one for one in builds if one.get("queue")]
    at_gates = sum(len((one.get("at_gates") or {}).get("shown") or ()) for one in looked_at)
    wishes = [len(rows) + 1 if rows else 0 for rows in (builds, range(at_gates), in_line)]
    if not builds:
        return [Text("no build runs")], 1
    lines = share_lines(room, wishes)
    lists = (
        builds_table(builds, choice.selected, width, lines[0]),
        gates_table(looked_at, width, lines[1]),
        line_table(in_line, width, lines[2]),
    )
    shown = [one for one, given in zip(lists, lines, strict=True) if given]
    gaps = max(0, len(shown) - 1)
    if sum(lines) + gaps > room:
        return shown, sum(lines)
    return [part for one in shown for part in (Text(), one)][1:], sum(lines) + gaps


def _head(report: Report, problem: str, width: int, most: int) -> list[Text]:
    """Show the machine in about `most` lines at most; what is urgent is never left out."""
    urgent = []
    if problem:
        urgent.append(_fit(problem_line(problem), width))
    if report.get("held"):
        since = short_duration(float(report.get("held_s") or 0))
        line = f"held for {since}: nothing starts; h lets it go on"
        urgent.append(_fit(Text(line, "bold reverse"), width))
    if tight := tight_words(report.get("memory") or {}):
        urgent.append(_fit(Text(f"memory is {tight}", "bold reverse"), width))
    if squeezed := squeezed_words(report.get("inference") or {}):
        urgent.append(_fit(Text(squeezed, "bold reverse"), width))
    return [*_flow(_facts(report, width), width)[: max(1, most - len(urgent))], *urgent]


def _facts(report: Report, width: int) -> Iterable[Text]:
    budget = report.get("budget") or {}
    capacity, busy = int(budget.get("capacity") or 0), int(budget.get("running_cores") or 0)
    if capacity:
        yield _fact("cores", busy, capacity, f"{busy} of {capacity} busy", width)
    in_line = sum(1 for one in report.get("builds") or () if one.get("queue"))
    at_work = len(report.get("builds") or ()) - in_line
    limit = f" of {report['limit']}" if report.get("limit") else ""
    yield Text(f"builds {at_work}{limit} at work, {in_line} in line")
    reservations = report.get("reservations") or ()
    if reservations:
        yield Text(_reserved(reservations))
    yield _disk(report.get("disk") or {}, width)
    if budget.get("waiting"):
        yield Text(f"{budget['waiting']} at gates wait")
    memory = report.get("memory") or {}
    if memory.get("available_bytes") is not None:
        yield Text(f"memory {show_bytes(int(memory['available_bytes']))} available")
    if words := top_words(report.get("inference") or {}):
        yield Text(words)
    if report.get("stopping"):
        yield Text("the daemon ends")


def _reserved(reservations: Sequence[Report]) -> str:
    """Say what commands hold, and how many wait: `2 reservations: 6.0 GiB, 4 cores, 1 waits`."""
    held = [one for one in reservations if one.get("running")]
    memory = show_mib(sum(int(one.get("memory_mib") or 0) for one in held))
    cores = plural(sum(int(one.get("cores") or 0) for one in held), "core")
    waiting = len(reservations) - len(held)
    waits = f", {waiting} {'waits' if waiting == 1 else 'wait'}" if waiting else ""
    return f"{plural(len(reservations), 'reservation')}: {memory}, {cores}{waits}"


def _disk(disk: Mapping[str, Any], width: int) -> Text:
    total, used = int(disk.get("total_bytes") or 0), int(disk.get("used_bytes") or 0)
    if not total:
        return Text(f"RAM disk {plain(disk.get('phase') or 'off')}")
    return _fact("RAM disk", used, total, f"{show_bytes(used)} of {show_bytes(total)}", width)


def _fact(label: str, part: int, whole: int, words: str, width: int) -> Text:
    """Show a share in words, and as a bar where there is room."""
    text = Text(f"{label} ")
    if width >= BARS_FROM and whole:
        filled = round(min(1.0, part / whole) * BAR_CELLS)
        text.append("[").append("#" * filled, "green").append("-" * (BAR_CELLS - filled), "dim")
        text.append("] ")
    return text.append(words)


def _flow(parts: Iterable[Text], width: int) -> list[Text]:
    """Put parts side by side, in as many lines as it takes."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(GAP) + part.cell_len <= width:
            lines[-1].append(GAP).append_text(part)
        else:
            lines.append(part)
    return [_fit(line, width) for line in lines]


def _foot(report: Report, choice: Choice, width: int) -> Text:
    if choice.is_help:
        return _fit(Text("any key goes back", "dim"), width)
    build = build_of(report, choice.asked)
    if build:
        verb = plain(build.get("verb") or "?")
        name = f"{plain(choice.asked)} (`cargo {verb}` in {plain(project_of(build))})"
        return _fit(Text(f"cancel {name}? y/n", "bold"), width)
    if choice.note:
        return _fit(Text(plain(choice.note)), width)
    return _flow((Text(key, "dim") for key in KEYS), width)[0]


def _help(width: int) -> RenderableType:
    return Group(*(_fit(Text(f"{keys:<16}{meaning}"), width) for keys, meaning in HELP))


def _above_foot(
    parts: Sequence[RenderableType], used: int, foot: Text, height: int
) -> RenderableType:
    blank = [Text()] * max(0, height - 1 - used)
    return Group(*parts, *blank, foot)


def _fit(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line
