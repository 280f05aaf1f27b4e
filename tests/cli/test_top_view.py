"""The picture of `forge top`, at the sizes that people have."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from forge.cli.top_choice import Choice
from forge.cli.top_loop import picture
from forge.cli.top_tables import page_of, short_duration
from forge.cli.top_view import share_lines, top_view
from forge.core.memory_map import propose
from forge.core.moment import Moment
from forge.core.report import status_report
from forge.core.settings import Settings
from forge.core.state import State
from tests.cli.fakes import a_build, a_disk, a_memory, a_report, a_reservation

SIZES = [(80, 24), (120, 40), (40, 10), (20, 4), (200, 60)]
REASON = "waiting for a build to end: 2 at work (b1 (ripgrep), b2 (tokio)), at most 2"


def at_gate(name, since_s=3.0, *, kind="unit", running=True):
    return {"name": name, "id": None, "kind": kind, "running": running, "since_s": since_s,
            "cores": 1}  # fmt: skip


def working(number, **changes):
    shown = [at_gate("syn", 3.0), at_gate("/t/debug/app-12", 73.0, kind="link"),
             at_gate("serde", 1.0, running=False)]  # fmt: skip
    return a_build(
        id=f"b{number}", priority="batch", share_cores=1.5, age_s=200.0, queue=None, wait=None,
        unit_wait=None, cancelled=False, at_gates={"running": 2, "waiting": 1, "shown": shown},
    ) | changes  # fmt: skip


def in_line(number, position):
    return working(
        number, phase="waiting in line", wait=REASON, share_cores=None,
        queue={"position": position, "reason": REASON, "since_s": 12.0, "ahead": []},
        at_gates={"running": 0, "waiting": 0, "shown": []},
    )  # fmt: skip


def a_machine(builds=(), **changes):
    budget = {"capacity": 8, "running_cores": 6, "waiting": 3}
    return a_report(builds=list(builds), budget=budget, limit=2, held=False, held_s=None, **changes)


def many(count):
    return a_machine([working(1), working(2), *(in_line(n, n - 2) for n in range(3, count + 1))])


def lines(report, width=80, height=24, problem="", choice=None, **options):
    console = Console(
        file=io.StringIO(),
        width=width,
        highlight=False,
        markup=False,
        **{"no_color": True} | options,
    )
    view = top_view(report, choice or Choice(), problem, width, height)
    return picture(console, view, width, height)


def text(*args, **kwargs):
    return "\n".join(lines(*args, **kwargs))


ODD = {
    "nothing": {},
    "no builds": a_machine(),
    "one build": a_machine([working(1)]),
    "50 builds": many(50),
    "long names": a_machine([working(1, root="/src/" + "long" * 50, verb="verb" * 30)]),
    "wide names": a_machine([working(1, root="/src/" + "漢字" * 40)]),
    "held": a_machine([working(1)]) | {"held": True, "held_s": 70.0},
    "no disk": a_machine([working(1)], disk=a_disk(phase="absent", total_bytes=None)),
    "an older daemon": a_report(builds=[a_build()]),
}


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("problem", ["", "it is gone"])
def test_every_picture_fills_the_screen_exactly_and_ends_with_its_foot(
    what, problem, width, height
):
    shown = lines(ODD[what], width, height, problem)
    assert len(shown) == height
    assert {cell_len(line) for line in shown} == {width}
    assert shown[-1].startswith("q quit")


def test_the_machine_is_told_in_the_head():
    head = text(many(5)).split("  build ")[0]
    for words in (
        "cores [########--] 6 of 8 busy",
        "builds 2 of 2 at work, 3 in line",
        "RAM disk [##--------] 1.0 GiB of 4.0 GiB",
        "3 at gates wait",
    ):
        assert words in head


def test_nothing_is_shown_that_the_status_does_not_have():
    shown = text(a_machine(disk=a_disk(phase="off", total_bytes=None)))
    assert "RAM disk off" in shown
    assert "memory" not in shown
    assert "held" not in shown
    assert "no build runs" in shown


def test_memory_is_shown_when_the_status_has_it():
    assert "memory 2.0 GiB available" in text(a_machine(memory={"available_bytes": 2 * 1024**3}))


def test_what_commands_hold_is_told_in_the_head():
    reservations = [a_reservation(), a_reservation(running=False)]
    shown = text(a_machine(reservations=reservations))
    assert "2 reservations: 6.0 GiB, 2 cores, 1 waits" in shown
    assert "1 reservation: 6.0 GiB, 2 cores" in text(a_machine(reservations=reservations[:1]))


def test_a_build_has_a_row_with_what_it_has_and_waits_for():
    wait = "waiting for a core: 8 of 8 cores busy; behind b1 (for 3.2 s)"
    gates = {"tests": 3, "tests_running": ["a", "b"]}
    build = working(7, priority="interactive", unit_wait=wait, gates=gates)
    (row,) = [line for line in lines(a_machine([build]), width=120) if "b7    ripgrep" in line]
    cells = "b7 ripgrep test interactive 1.5 2 1 3+2 3m20s a core: 8 of 8 cores busy; behind b1"
    assert " ".join(row.split()).startswith(cells)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"phase": "waiting for the disk", "wait": "waiting for the RAM disk"}, "the RAM disk"),
        ({"phase": "preparing"}, "preparing"),
        ({"cancelled": True}, "cancelled: its end"),
        ({"queue": {"position": 3}}, "its turn: 3 in line"),
    ],
)
def test_what_a_build_waits_for_is_told_in_words(changes, says):
    shown = lines(a_machine([working(1, **changes)]), 120)
    row = next(line for line in shown if "ripgrep" in line)
    assert row.rstrip().endswith(says)


def test_what_is_at_all_gates_is_shown_longest_first_or_that_of_the_selected_build():
    other = working(2, at_gates={"running": 1, "waiting": 0, "shown": [at_gate("tokio", 9.0)]})
    report = a_machine([working(1), other])
    rows = text(report).split("at its gates")[1]
    assert [rows.index(name) for name in ("app-12", "tokio", "syn", "serde")] == sorted(
        rows.index(name) for name in ("app-12", "tokio", "syn", "serde")
    )
    assert "/t/debug" not in rows
    assert "1m13s" in rows
    selected = text(report, choice=Choice(selected="b2")).split("at its gates")[1]
    assert "tokio" in selected
    assert "syn" not in selected


def test_the_line_tells_reasons_and_since_when():
    rows = text(many(4), width=120).split("in line project")[1]
    assert "12s a build to end: 2 at work (b1 (ripgrep), b2 (tokio)), at most 2" in rows


def test_the_selected_build_is_marked_and_always_in_sight():
    report = many(50)
    for number in (1, 2, 25, 50):
        shown = text(report, choice=Choice(selected=f"b{number}"))
        assert f"> b{number} " in shown
    assert "of 50" in shown
    assert ">" not in text(report)


def test_what_is_counted_and_not_told_one_by_one_is_said():
    gates = {"running": 70, "waiting": 30, "shown": [at_gate(f"c{n}") for n in range(50)]}
    assert "of 100" in text(a_machine([working(1, at_gates=gates)]))


def test_held_is_said_in_words():
    assert "held for 1m10s: nothing starts; h lets it go on" in text(ODD["held"])


def test_a_daemon_that_is_gone_is_said_and_the_last_picture_stays():
    shown = text(many(3), problem="no daemon answers on /s: gone", width=120)
    assert "no daemon answers; this is the last picture; trying again: on /s: gone" in shown
    assert "ripgrep" in shown
    first = text({}, problem="it closed", width=120)
    assert "no daemon answers; trying again: it closed" in first
    assert "asking the daemon" in text({})


def test_the_foot_asks_before_a_build_is_cancelled():
    report = a_machine([working(1)])
    assert lines(report, choice=Choice(asked="b1"))[-1].startswith(
        "cancel b1 (`cargo test` in ripgrep)? y/n"
    )
    assert lines(report, choice=Choice(note="done"))[-1].startswith("done ")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10)])
def test_help_fits_and_names_every_key(width, height):
    shown = text(many(3), width, height, choice=Choice(is_help=True, note="x"))
    for key in ("up, down, k, j", "page up, down", "home, end", "escape", "c ", "p ", "h ", "q"):
        assert key in shown
    assert "any key goes back" in shown
    assert "\u2026" not in shown


def test_names_from_outside_cannot_drive_the_terminal():
    evil = "\x1b[2J\n[bold]"
    gates = {"running": 1, "waiting": 0, "shown": [at_gate(evil, kind=evil)]}
    build = working(
        1, root=f"/src/{evil}", verb=evil, unit_wait=evil, priority=evil, at_gates=gates
    )
    shown = text(a_machine([build, working(2, root=evil, queue={"reason": evil, "position": 1})]))
    assert "\x1b" not in shown
    assert "\x1b" not in text({}, problem=evil)
    assert "\x1b" not in text(a_machine([build]), choice=Choice(asked="b1", note=evil))


def test_colour_repeats_what_words_say():
    colour = {"force_terminal": True, "color_system": "standard"}
    assert "\x1b[32m" in text(many(3), no_color=False, **colour)
    plain = text(many(3), no_color=True, **colour)
    assert "\x1b[3" not in plain
    assert "\x1b[7m" in plain  # heads are told by reverse, which is no colour


def test_the_view_takes_what_the_core_reports():
    state = State(Settings(disk=None, memory_map=propose(256 * 1024), cores=32))
    shown = text(status_report(state, Moment(5.0, 100.0)))
    assert "0 of 32 busy" in shown
    assert "RAM disk off" in shown


@pytest.mark.parametrize(
    ("room", "wishes", "given"),
    [
        (20, [5, 5, 5], [5, 5, 5]),
        (20, [5, 50, 50], [5, 7, 8]),  # a short list takes no more than it needs
        (20, [50, 0, 50], [10, 0, 10]),
        (5, [9, 9, 9], [2, 3, 0]),  # a head and no row would tell nothing
        (3, [9, 9, 9], [3, 0, 0]),
        (1, [9, 9, 9], [0, 0, 0]),
        (20, [0, 0, 0], [0, 0, 0]),
    ],
)
def test_lists_share_the_lines(room, wishes, given):
    assert share_lines(room, wishes) == given
    assert sum(given) <= room


@pytest.mark.parametrize(
    ("count", "lines", "at", "rows"),
    [
        (3, 4, 0, (0, 3)),
        (9, 5, 0, (0, 3)),  # head, three rows, and what part that is
        (9, 5, 3, (3, 6)),
        (9, 5, 8, (6, 9)),
        (10, 5, 9, (7, 10)),  # the last page is full
        (9, 2, 4, (4, 5)),
        (9, 1, 4, (0, 0)),
        (0, 5, 0, (0, 0)),
    ],
)
def test_a_list_shows_the_page_with_the_selected_row(count, lines, at, rows):
    found = page_of(count, lines, at)
    assert (found.start, found.stop) == rows


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(-1, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"),
     (86399, "23h59m"), (90000, "1d01h")],
)  # fmt: skip
def test_durations_are_short(seconds, says):
    assert short_duration(seconds) == says


def test_memory_and_the_rung_of_the_ladder_are_shown():
    calm = text(a_machine(memory=a_memory()))
    assert "memory 9.0 GiB available" in calm
    assert "tight" not in calm
    tight = a_machine(memory=a_memory(rung="shut links"))
    for width, height in SIZES:
        assert "memory is tight" in text(tight, width, height), (width, height)
    assert "memory is tight: shut links" in text(tight)
