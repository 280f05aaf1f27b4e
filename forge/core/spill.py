"""What is known of a project that is built on the SSD."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spill:
    """A project on the SSD: where its target dir is, what room it needs, and why it is there.

    `is_there` false: it is yet to be moved. `at` is wall time.
    """

    root: str
    path: str
    needs_bytes: int
    why: str
    at: float
    is_there: bool = False
