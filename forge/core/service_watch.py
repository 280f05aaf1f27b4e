"""When a service that died is started again, and when that is given up.

A service is started again by itself only if somebody had it started, never while memory is tight
(to load a model again and again under pressure is a known way to bring a machine down), each time
later than the last, and not for ever: after `MOST` deaths within `WITHIN_S` it is left alone until
a person starts it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

FIRST_S = 1.0
LONGEST_S = 300.0
MOST = 8
WITHIN_S = 1800.0
WELL_S = 120.0
"""A service that has been well for so long begins anew: its next restart is a quick one."""

PATIENCE = 3
"""So many looks in a row must find a service without an answer before that is told. It is never
restarted for it: slow is not dead."""


class Health(StrEnum):
    """How a service is."""

    WELL = "well"  # its process is there, and it is ready
    STARTING = "starting"  # its process is there, and it is not ready yet
    UNREADY = "not ready"  # it was ready, and does not answer any more
    DOWN = "down"  # nobody has started it, or it was stopped
    DIED = "died"  # it was started, and its process is gone
    GIVEN_UP = "given up"  # it died too often
    STRANGER = "stranger"  # somebody else has its port


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at one service found. `died_of` is what could be learnt of a death."""

    pid: int | None
    is_ready: bool
    is_wanted: bool
    died_of: str = ""
    stranger: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one service. Times are the steady clock's seconds."""

    health: Health = Health.DOWN
    pid: int | None = None
    deaths: tuple[float, ...] = ()
    well_since_s: float | None = None
    due_s: float | None = None
    unready: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a look: the new record, whether to start it now, what is news."""

    record: Record
    starts: bool = False
    news: str = ""
    is_death: bool = False


def judge(was: Record, look: Look, now_s: float, *, may_restart: bool, is_tight: bool) -> Verdict:
    """Take one look at one service in. `may_restart`: it is ours to restart, and that is wanted."""
    if look.pid is not None:
        return _alive(was, look, now_s)
    if look.stranger and look.is_wanted:
        news = "" if was.health is Health.STRANGER else f"its port is taken by {look.stranger}"
        return Verdict(
            replace(was, health=Health.STRANGER, pid=None, reason=look.stranger), news=news
        )
    if not look.is_wanted:
        return Verdict(Record())
    return _dead(was, look, now_s, may_restart=may_restart, is_tight=is_tight)


def _alive(was: Record, look: Look, now_s: float) -> Verdict:
    is_new = look.pid != was.pid
    if look.is_ready:
        well_since_s = now_s if is_new or was.well_since_s is None else was.well_since_s
        deaths = () if now_s - well_since_s >= WELL_S else was.deaths
        record = Record(Health.WELL, look.pid, deaths, well_since_s, reason=was.reason)
        return Verdict(record, news="" if was.health is Health.WELL and not is_new else "is well")
    if is_new or was.well_since_s is None:
        news = f"is starting, pid {look.pid}" if is_new else ""
        record = Record(Health.STARTING, look.pid, was.deaths, reason=was.reason)
        return Verdict(record, news=news)
    unready = was.unready + 1
    if unready < PATIENCE:
        return Verdict(replace(was, unready=unready))
    news = "" if was.health is Health.UNREADY else "does not answer any more"
    return Verdict(replace(was, health=Health.UNREADY, unready=unready), news=news)


def _dead(was: Record, look: Look, now_s: float, *, may_restart: bool, is_tight: bool) -> Verdict:
    if was.health is Health.GIVEN_UP:
        return Verdict(was)
    is_news = was.health is not Health.DIED
    deaths = tuple(one for one in was.deaths if now_s - one < WITHIN_S)
    if is_news:
        deaths = (*deaths, now_s)
    reason = look.died_of or was.reason
    news = (f"died: {reason}" if reason else "died") if is_news else ""
    if len(deaths) >= MOST:
        record = Record(Health.GIVEN_UP, None, deaths, reason=reason)
        news = f"died {len(deaths)} times; it is left alone until you start it"
        return Verdict(record, news=news, is_death=is_news)
    due_s = was.due_s if not is_news and was.due_s is not None else now_s + backoff_s(len(deaths))
    record = Record(Health.DIED, None, deaths, None, due_s, reason=reason)
    if may_restart and not is_tight and now_s >= due_s:
        # Counted as starting, so that one that dies before the next look has died once more.
        again = replace(record, health=Health.STARTING, due_s=None)
        news = f"{news or 'is dead'}; it is started again"
        return Verdict(again, starts=True, news=news, is_death=is_news)
    return Verdict(record, news=news, is_death=is_news)


def backoff_s(deaths: int) -> float:
    """Return how long to wait after so many deaths."""
    return min(LONGEST_S, FIRST_S * 2.0 ** max(0, deaths - 1))


def judge_all(
    records: Mapping[str, Record],
    looks: Mapping[str, Look],
    now_s: float,
    *,
    restarts: Mapping[str, bool],
    is_tight: bool,
) -> dict[str, Verdict]:
    """Judge each service that was looked at."""
    return {
        name: judge(
            records.get(name, Record()), look, now_s,
            may_restart=restarts.get(name, False), is_tight=is_tight,
        )
        for name, look in looks.items()
    }  # fmt: skip
