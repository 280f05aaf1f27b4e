"""What leaves the RAM disk when room is wanted: what is least worth its bytes, and unused.

What a target dir is worth is what it would cost to be without it: the seconds of its cold build,
times the chance that somebody builds it again soon, for each byte that it takes. Cost and bytes
are measured. The chance is reckoned from how often it was used, and how long it was not: a checkout
that is built twice a day and was not for a week is done with, most likely; one that is built once a
week is not.

Finer things go before whole target dirs where they are worth less for each byte: what another
toolchain has left there, or incremental data of a profile that nobody builds. Pinned ones stay, and
nothing that is in use goes, ever. A checkout that does not exist any more has nobody to miss it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

HORIZON_S = 1800.0
"""How soon a use counts. Room is made again and again: the next half hour matters most."""

SESSION_S = 1800.0
"""Builds come in sessions. Within one, the next build is minutes away; after so long it is over."""

IN_SESSION = 0.95
"""The chance that a session which is not over goes on."""

PRIOR_S = 8 * 3600.0
"""One of one session is taken for one that has a session each eight hours, until it has not."""

LEAST_COST_S = 1.0
"""To rebuild anything at all costs a moment of somebody's attention."""

SAVED_SHARE = 0.05
"""What a snapshot restores costs so much of what it costs to build it (measured: 0.2 s to 29 s)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a target dir that can go alone: `paths` below it, and why it is of little use.

    `cost_s` is what it costs to be without it when the target dir is built again.
    """

    paths: tuple[str, ...]
    size_bytes: int
    cost_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target dir as eviction sees it. Times are seconds since the epoch.

    `rebuild_s` is what its cold build costs; `has_checkout` false: its project is gone; `is_saved`:
    a snapshot has it as it is. `busy`: a build or another process uses it, and who.
    """

    path: str
    size_bytes: int
    created_at: float
    last_used_at: float
    sessions: int
    rebuild_s: float
    has_checkout: bool = True
    is_pinned: bool = False
    is_saved: bool = False
    busy: str = ""
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing to evict: a whole target dir, or with `parts` these alone, and why."""

    path: str
    parts: tuple[str, ...]
    size_bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to go, in order, and how much of what was wanted that makes room for."""

    choices: tuple[Choice, ...]
    wanted_bytes: int

    @property
    def freed_bytes(self) -> int:
        """Return what is free afterwards that was not before."""
        return sum(one.size_bytes for one in self.choices)

    @property
    def is_enough(self) -> bool:
        """Say whether it makes the room that was wanted."""
        return self.freed_bytes >= self.wanted_bytes


def is_new_session(sessions: int, idle_s: float) -> bool:
    """Say whether a use after so long begins a session; the first one does."""
    return sessions == 0 or idle_s > SESSION_S


def chance_of_use(one: Candidate, now_s: float) -> float:
    """Return the chance that a target dir is used again within the horizon, from 0 to 1.

    Sessions are taken for a Poisson process whose rate is not known. What was seen is `sessions`
    in the time from the first to now, so a long silence lowers the rate; how much longer it is than
    the usual gap says how likely it is that it will never end.
    """
    age_s = max(0.0, now_s - one.created_at)
    idle_s = max(0.0, now_s - one.last_used_at)
    rate = one.sessions / (age_s + PRIOR_S)
    gap_s = (max(0.0, one.last_used_at - one.created_at) + PRIOR_S) / max(1, one.sessions)
    is_alive = math.exp(-idle_s / (8.0 * gap_s))
    later = is_alive * (1.0 - math.exp(-rate * HORIZON_S))
    if idle_s > SESSION_S:
        return later
    return later + (1.0 - later) * IN_SESSION * (1.0 - idle_s / SESSION_S)


def worth_per_byte(one: Candidate, now_s: float) -> float:
    """Return seconds that are lost, most likely, for each byte that is freed."""
    if not one.has_checkout:
        return 0.0
    cost_s = max(LEAST_COST_S, one.rebuild_s * (SAVED_SHARE if one.is_saved else 1.0))
    return cost_s * chance_of_use(one, now_s) / max(1, one.size_bytes)


def plan_eviction(candidates: Iterable[Candidate], wanted_bytes: int, now_s: float) -> Plan:
    """Choose what is to go until so many bytes are free, the least worth first.

    A piece and its target dir are two choices; where both are made, the piece is not counted
    twice. What turns out not to be needed stays.
    """
    left = [one for one in candidates if not one.is_pinned and not one.busy and one.size_bytes > 0]
    ranked: list[tuple[tuple[bool, float, float, str], Candidate, Piece | None]] = []
    for one in left:
        chance = chance_of_use(one, now_s) if one.has_checkout else 0.0
        for part in one.pieces if one.has_checkout else ():
            worth = part.cost_s * chance / max(1, part.size_bytes)
            ranked.append(((True, worth, one.last_used_at, one.path), one, part))
        worth = worth_per_byte(one, now_s)
        ranked.append(((one.has_checkout, worth, one.last_used_at, one.path), one, None))
    ranked.sort(key=lambda entry: entry[0])
    chosen: dict[str, list[Choice]] = {}
    freed_bytes = 0
    for (_, _, _, path), one, piece in ranked:
        if freed_bytes >= wanted_bytes:
            break
        before = chosen.get(path, [])
        if any(not choice.parts for choice in before):
            continue  # it goes as a whole already
        if piece:
            choice = Choice(path, piece.paths, piece.size_bytes, piece.why)
            chosen[path] = [*before, choice]
            freed_bytes += choice.size_bytes
            continue
        freed_bytes += one.size_bytes - sum(choice.size_bytes for choice in before)
        chosen.pop(path, None)  # it comes last now
        chosen[path] = [Choice(path, (), one.size_bytes, _why(one, now_s))]
    choices = [choice for choices in chosen.values() for choice in choices]
    return Plan(tuple(_needed(choices, freed_bytes, wanted_bytes)), wanted_bytes)


def merged(choices: Iterable[Choice]) -> list[Choice]:
    """Put what goes of one target dir together: it is locked once."""
    found: dict[str, Choice] = {}
    for one in choices:
        before = found.get(one.path)
        if before:
            why = before.why if one.why in before.why else f"{before.why}; {one.why}"
            size_bytes = before.size_bytes + one.size_bytes
            one = Choice(one.path, (*before.parts, *one.parts), size_bytes, why)
        found[one.path] = one
    return list(found.values())


def _needed(choices: list[Choice], freed_bytes: int, wanted_bytes: int) -> list[Choice]:
    """Leave out what is not needed for the room, since a larger one came after it.

    What is worth most comes last, and so is spared first.
    """
    needed = []
    for choice in reversed(choices):
        if freed_bytes - choice.size_bytes >= wanted_bytes:
            freed_bytes -= choice.size_bytes
        else:
            needed.append(choice)
    return needed[::-1]


def _why(one: Candidate, now_s: float) -> str:
    if not one.has_checkout:
        return "its checkout does not exist any more"
    days = max(0.0, now_s - one.last_used_at) / 86400
    idle = f"{days:.1f} days" if days >= 1 else f"{days * 24:.1f} hours"
    saved = ", and it is saved" if one.is_saved else ""
    return f"not used for {idle}, {one.rebuild_s:.0f} s to build again{saved}"
