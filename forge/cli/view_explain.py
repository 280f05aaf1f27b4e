"""What `forge explain` shows: where the time of one build went."""

from collections.abc import Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from forge.cli.render import Report, new_grid, new_table, plain, project_of
from forge.cli.view_history import show_end, show_peak
from forge.core.account import FORGES_PHASES, Account, account, cores_busy, roots_behind
from forge.core.builds import BuildPhase
from forge.core.units import plural, show_bytes, show_duration, show_duration_short
from forge.core.verdict import name_of, verdict

BEFORE = {
    BuildPhase.QUEUED: "in line",
    BuildPhase.WAITING_FOR_TARGET_DIR: "for the target dir",
    BuildPhase.WAITING_FOR_DISK: "for the disk",
    BuildPhase.WAITING_FOR_SHIM: "for the shim",
}
SHOWN_S = 0.05
MAX_SHOWN_PATH = 20
MAX_SHOWN_BEHIND = 3


def explain_view(build: Report) -> RenderableType:
    """Show where the time of a build went."""
    parts: list[RenderableType] = [_head(build), Text(), Text(plain(verdict(build)), "bold")]
    parts += [Text(), _times(build, account(build))]
    if build.get("slowest"):
        parts += [Text(), _units("slowest", build["slowest"])]
    path = build.get("critical_path") or ()
    if path:
        left = len(path) - MAX_SHOWN_PATH
        head = "critical path" + (f" (its last {MAX_SHOWN_PATH})" if left > 0 else "")
        parts += [Text(), _units(head, path[-MAX_SHOWN_PATH:], numbered=True)]
    return Group(*parts)


def _head(build: Report) -> RenderableType:
    words = " ".join(map(plain, build.get("argv") or ()))
    head = Text(f"{plain(build.get('id'))} ({project_of(build)})", "bold")
    head.append(f"  cargo {words}", "not bold")
    took = show_duration(float(build.get("wall_s") or 0))
    is_over = f"{show_end(build)} after {took}"
    facts = [
        f"{plain(build.get('phase'))}, {took} so far" if build.get("running") else is_over,
        f"began {_clock(build.get('began_at'))}",
        plain(build.get("priority") or "-"),
        f"profile {plain(build.get('profile') or '-')}",
    ]
    if build.get("via") == "adopted":
        facts.append("taken over from an earlier daemon: what was before is not known")
    return Group(head, Text(", ".join(facts)))


def _times(build: Report, spent: Account) -> RenderableType:
    table = new_grid()
    for label, value in (*_before(build, spent), *_while_cargo_ran(build, spent)):
        table.add_row(Text(label), Text(value))
    return table


def _before(build: Report, spent: Account) -> Iterator[tuple[str, str]]:
    """Tell what came before cargo: each phase that took its time."""
    waits = build.get("waits") or {}
    waited_s = spent.in_line_s + spent.forge_s
    yield "before cargo", show_duration(waited_s)
    behind = ", ".join(
        plain(name_of(one["build"], one.get("root"))) for one in build.get("waited_behind") or ()
    )
    for phase, label in BEFORE.items():
        if float(waits.get(phase, 0.0)) >= SHOWN_S:
            is_behind = behind and phase not in FORGES_PHASES
            whom = f", behind {behind}" if is_behind else ""
            yield f"  {label}", show_duration(float(waits[phase])) + whom
    rest_s = waited_s - sum(float(waits.get(phase, 0.0)) for phase in BEFORE)
    if rest_s >= SHOWN_S:
        yield "  being set up", show_duration(rest_s)


def _while_cargo_ran(build: Report, spent: Account) -> Iterator[tuple[str, str]]:
    """Tell what happened while cargo ran, if it did."""
    if spent.running_s < SHOWN_S:
        return
    yield "cargo ran", show_duration(spent.running_s)
    yield from _now(build)
    if not (build.get("units") or build.get("tests")):
        return
    counts = [
        plural(int(build.get(key) or 0), noun)
        for key, noun in (("units", "unit"), ("links", "link"), ("tests", "test"))
        if build.get(key)
    ]
    peak = show_bytes(int(build.get("peak_kib") or 0) * 1024)
    yield "  ran", f"{', '.join(counts)}; largest process {peak}"
    cores = f" of {build['cores']}" if build.get("cores") else ""
    yield "  cores busy", f"{cores_busy(build):.1f}{cores} on average"
    waited = show_duration(float(build.get("waited_s") or 0))
    yield "  units waited", f"{waited} for cores, added up{_behind(build)}"
    if build.get("critical_path"):
        yield "  critical path", _path(spent)
    if "at_gates_s" in build and not build.get("running"):
        yield "  cargo alone", f"{show_duration(spent.cargo_s)} with nothing at its gates"


def _now(build: Report) -> Iterator[tuple[str, str]]:
    """Tell what a build that is under way does now."""
    if build.get("runs_now"):
        yield "  runs now", ", ".join(plain(_file(name)) for name in build["runs_now"])
    if build.get("waits_now"):
        names = ", ".join(plain(_file(name)) for name in build["waits_now"])
        yield "  waits now", f"{names}: {plain(build.get('wait') or '')}"


def _path(spent: Account) -> str:
    parts = [
        f"{show_duration(seconds)} {what}"
        for seconds, what in (
            (spent.path_s, "running"),
            (spent.others_s, "waiting behind other builds"),
            (spent.own_s, "waiting behind its own units"),
            (spent.between_s, "in between"),
        )
        if seconds >= SHOWN_S
    ]
    return ", ".join(parts) or show_duration(0.0)


def _behind(build: Report) -> str:
    roots = roots_behind(build)
    behind = [one for one in build.get("behind") or () if float(one["wait_s"]) >= SHOWN_S]
    names = [
        f"{plain(name_of(one['build'], roots.get(one['build'])))} {show_duration(one['wait_s'])}"
        for one in behind[:MAX_SHOWN_BEHIND]
    ]
    return f"; behind {', '.join(names)}" if names else ""


def _units(head: str, nodes: list[Report], *, numbered: bool = False) -> RenderableType:
    last = "began" if numbered else "kind"
    table = new_table(head, "wait", "run", "cpu", "peak", last)
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    table.columns[0].min_width = 24
    for node in nodes:
        table.add_row(
            plain(_file(node["name"])),
            *(show_duration_short(float(node[key])) for key in ("wait_s", "run_s", "cpu_s")),
            show_peak(node.get("peak_kib")),
            _began(float(node["started_s"])) if numbered else plain(node.get("kind")),
        )
    return table


def _began(started_s: float) -> str:
    """Say when a unit began; before its build if that was taken over from an earlier daemon."""
    return f"at {show_duration_short(started_s)}" if started_s >= 0 else "before"


def _file(name: object) -> str:
    """Name a unit as it is; a link, which is named by its output, by the file."""
    return str(name).rpartition("/")[2]


def _clock(at: object) -> str:
    if not isinstance(at, int | float):
        return "?"
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006  # local
