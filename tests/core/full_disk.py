"""A disk that fills up, for tests of what is done then."""

from forge.core import (
    actions,
    disk_events,
    events,
)
from forge.core.disk import DiskUsage
from forge.core.learned import Observation, key_of_growth
from forge.core.tasks import TaskKind
from forge.core.units import MIB
from tests.core.driver import GIB, Driver, settings

TOTAL = 6 * GIB
OTHER = "/src/other"


def usage(free_bytes: int, total_bytes: int = TOTAL) -> DiskUsage:
    return DiskUsage(total_bytes, total_bytes - free_bytes, free_bytes, 1_000_000, 1)


def a_driver(**changes) -> Driver:
    given = {"cores": 4, "grow_disk": False, "spill_dir": "/ssd/spilled", **changes}
    return Driver(settings(**given))


def free(driver: Driver, mib: float, after_s: float = 0.25) -> None:
    """The disk has so much free at the next look."""
    driver.now_s += after_s
    driver.post(disk_events.DiskMeasured(usage(int(mib * MIB))))


def remember(driver: Driver, root: str, wrote_mib: int, verb: str = "build") -> None:
    """Builds of a project have written so much."""
    for state in ("cold", "warm"):
        key = key_of_growth(f"build {verb} dev {state}")
        seen = Observation(root, key, 10.0, 0.0, wrote_mib * 1024)
        driver.state.gates.learned.observe(seen, 0.0)


def paths(driver: Driver, kind: TaskKind) -> list[str]:
    return [one.task.path for one in driver.asked(actions.BeginTask) if one.task.kind is kind]


def end_task(driver: Driver, size_bytes: int = 0, failure: str | None = None) -> None:
    """The last task that was begun is over."""
    task = driver.asked(actions.BeginTask)[-1].task
    if failure:
        driver.post(events.TaskFailed(task.number, "spill-refused", failure))
    else:
        driver.post(events.TaskDone(task.number, size_bytes, 1.0))


def two(driver: Driver, **second) -> tuple[str, str]:
    """Two builds that are known to write 2000 MiB each."""
    remember(driver, "/src/app", 2000)
    remember(driver, OTHER, 2000)
    return driver.run(1, requeues=True), driver.run(2, root=OTHER, requeues=True, **second)
