"""How a build ended, in a word that history shows."""

from enum import StrEnum

from forge.core.builds import Build, BuildPhase


class Outcome(StrEnum):
    """What became of a build."""

    DONE = "done"
    FAILED = "failed"
    SIGNAL = "ended by a signal"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"  # for memory, after cargo had ended; another build carries it on
    GAVE_UP = "gave up"  # it waited as long as it was told to
    LEFT = "left"  # its launcher went away before cargo ran
    UNKNOWN = "unknown"  # its launcher was killed: nobody told how cargo ended


def outcome_of(build: Build) -> Outcome:
    """Say how a build that is over ended."""
    if build.is_cancelled:
        return Outcome.CANCELLED
    if build.phase.is_before_cargo:
        return Outcome.LEFT if build.exit is None else Outcome.GAVE_UP
    if build.is_requeued and build.exit != 0:
        return Outcome.REQUEUED
    if build.exit is not None:
        return Outcome.FAILED if build.exit else Outcome.DONE
    if build.signal is not None:
        return Outcome.SIGNAL
    return Outcome.LEFT if build.phase is BuildPhase.GRANTED else Outcome.UNKNOWN
