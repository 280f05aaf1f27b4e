"""How inference servers are told of: what each does and has, and what builds give up for them."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from forge.cli.render import Report, new_table, plain
from forge.cli.view_history import when
from forge.core.units import plural, show_bytes, show_duration, show_duration_short

STYLES = {"squeezed": "bold red", "busy": "green", "loading": "yellow"}
FAVOURS = {
    "held_loads": ("load", "held heavy work back"),
    "held_builds": ("time", "no build was admitted"),
    "shut_gates": ("time", "gates were shut"),
    "cancelled_links": ("link", "cancelled"),
    "paused_units": ("unit", "paused"),
    "ended_builds": ("build", "ended to go on later"),
}


def inference_view(inference: Report) -> RenderableType:
    """Show all servers, and what is done for them."""
    servers = inference.get("servers") or ()
    lines: list[Text] = []
    for one in servers:
        state = str(one.get("state"))
        lines.append(Text(server_line(one), STYLES.get(state, "")))
        if one.get("state") != "absent":
            lines += [Text(line) for line in _details(one)]
    if not servers:
        lines.append(Text("no server was looked at yet, or none is set"))
    if inference.get("failure"):
        lines.append(Text(f"cannot be looked at: {plain(inference['failure'])}", "red"))
    if kept := kept_words(inference):
        lines.append(Text(f"builds leave it {kept}"))
    if favours := _favours(inference.get("last_24h") or {}):
        lines.append(Text(f"for it in 24 h: {favours}"))
    return Group(*lines)


def server_line(one: Report) -> str:
    """Say what a server does: `busy at http://…: 1 of 4 slots, context 1200 of 131072, …`."""
    said = f"{plain(one.get('state'))} at {plain(one.get('url'))}"
    if one.get("state") == "absent":
        return said + (f": {plain(one['reason'])}" if one.get("reason") else "")
    parts = activity_words(one)
    if one.get("slow_s") is not None:
        hung = "hangs" if one.get("hung") else "has not answered"
        parts.append(f"{hung} for {show_duration(float(one['slow_s']))}")
    return said + (f": {', '.join(parts)}" if parts else "")


def activity_words(one: Report) -> list[str]:
    """Say what is known of slots, context and speed."""
    parts = []
    if one.get("slots") is not None:
        parts.append(f"{one.get('busy_slots') or 0} of {plural(int(one['slots']), 'slot')} busy")
    elif one.get("busy_slots") is not None:
        parts.append(f"{plural(int(one['busy_slots']), 'request')} under way")
    if one.get("deferred"):
        parts.append(f"{one['deferred']} waiting")
    if one.get("context_tokens") and one.get("context_used_tokens") is not None:
        parts.append(f"context {one['context_used_tokens']} of {one['context_tokens']}")
    if one.get("tokens_per_s") is not None:
        parts.append(f"{float(one['tokens_per_s']):.1f} tokens/s")
    return parts


def _details(one: Report) -> list[str]:
    lines = []
    expected = one.get("expected_bytes")
    if expected:
        resident = show_bytes(int(one.get("resident_bytes") or 0))
        line = f"{resident} of {show_bytes(int(expected))} of the model in memory"
        locked = one.get("locked_bytes")
        if locked is not None:
            line += f", {show_bytes(int(locked))} locked" if locked else ", not locked"
        if one.get("swapped_bytes"):
            line += f", {show_bytes(int(one['swapped_bytes']))} swapped out"
        lines.append(line)
    if one.get("promised_bytes"):
        lines.append(f"may still grow by {show_bytes(int(one['promised_bytes']))}")
    if one.get("protection"):
        lines.append(f"protection: {plain(one['protection'])}")
    lines += [f"not known: {plain(what)}" for what in one.get("missing") or ()]
    return [f"  {line}" for line in lines]


def kept_words(inference: Report) -> str:
    """Say what builds leave to servers now; nothing when nothing is."""
    parts = []
    if inference.get("kept_cores"):
        parts.append(plural(int(inference["kept_cores"]), "core"))
    if inference.get("claimed_bytes"):
        parts.append(f"{show_bytes(int(inference['claimed_bytes']))} of its pages")
    if inference.get("promised_bytes"):
        parts.append(f"{show_bytes(int(inference['promised_bytes']))} to grow by")
    if inference.get("holds_heavy"):
        parts.append("all that is heavy, while it loads")
    return ", ".join(parts)


def _favours(day: Report) -> str:
    parts = []
    if day.get("squeezes"):
        parts.append(f"squeezed {plural(int(day['squeezes']), 'time')}")
    if day.get("kept_core_s"):
        parts.append(f"{show_duration(float(day['kept_core_s']))} of cores kept free")
    for name, (noun, what) in FAVOURS.items():
        if day.get(name):
            parts.append(f"{plural(int(day[name]), noun)} {what}")
    return ", ".join(parts)


def top_words(inference: Report) -> str:
    """Say in a few words what servers do; nothing when none is there."""
    here = [one for one in inference.get("servers") or () if one.get("state") != "absent"]
    words = []
    for one in here:
        slots = f" {one.get('busy_slots') or 0}/{one['slots']}" if one.get("slots") else ""
        speed = one.get("tokens_per_s")
        fast = "" if speed is None else f" {float(speed):.1f} tok/s"
        words.append(f"{plain(one.get('state'))}{slots}{fast}")
    kept = inference.get("kept_cores")
    kept_free = f", {plural(int(kept), 'core')} kept free" if kept else ""
    return f"inference {' + '.join(words)}{kept_free}" if words else ""


def squeezed_words(inference: Report) -> str:
    """Say which model lacks memory; nothing when none does."""
    for one in inference.get("servers") or ():
        if one.get("state") == "squeezed":
            missing = show_bytes(int(one.get("missing_bytes") or 0))
            return f"the model at {plain(one.get('url'))} is squeezed: {missing} not in memory"
    return ""


def squeezes_view(squeezes: Sequence[Report], now: datetime) -> RenderableType:
    """Show past squeezes, one a line, with the builds of the time."""
    if not squeezes:
        return Text("no server was ever seen squeezed")
    table = new_table("when", "lasted", "missing", "lowest", "read back", "server", "builds")
    for one in squeezes:
        lasted = one.get("lasted_s")
        builds = [plain(build.get("id")) for build in one.get("builds") or ()]
        table.add_row(
            when(one.get("began_at"), now),
            "?" if lasted is None else show_duration_short(float(lasted)),
            show_bytes(int(one.get("most_missing_bytes") or 0)),
            f"{float(one.get('lowest_share') or 0):.0%}",
            show_bytes(int(one.get("read_back_bytes") or 0)),
            plain(one.get("url")),
            ", ".join(builds) or "none",
        )
    return table
