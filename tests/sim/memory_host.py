"""A virtual host with 256 GiB: builds whose compilers and linkers take memory as they run.

Processes advance by *work*: with k of them on C cores each gets min(1, C/k) of a core. Their memory
grows over the first half of a run and stays until its end. What a policy asks for happens late, as
on a real machine: a cancelled linker is gone after 50 to 200 ms, a paused rustc stops after 5 ms.
Too little memory costs no time here, which favours whoever takes too much.
"""

import heapq
import random
from collections.abc import Callable, Iterator

from tests.sim.memory_day import MOST_DISK_BYTES, Day
from tests.sim.memory_ledger import FIXED_BYTES, TOTAL_BYTES, Figures, Lines, Sample, Tenant
from tests.sim.memory_tasks import Cargo, Policy, Task

CORES = 32
FAR_S = float("inf")
ASLEEP_SHARE = 0.35
"""What a rustc still has of its peak while its linker runs."""
CANCEL_S = (0.05, 0.2)
PAUSE_S = 0.005
STANDSTILL_S = 300.0
"""So long nothing may run while something waits, or it is taken to be a deadlock."""


class Deadlock(AssertionError):
    """Builds wait, and nothing gets on."""


class Host:
    """Runs a day under the policy that is made for it."""

    def __init__(self, day: Day, policy: Callable[["Host"], Policy], *, sample_s: float = 60.0,
                 seed: int = 0) -> None:  # fmt: skip
        self.day, self.sample_s = day, sample_s
        self.figures = Figures()
        self.now_s = self.work = 0.0
        self.cargos: dict[int, Cargo] = {}
        self.tasks: dict[int, Task] = {}
        self.runners = 0
        self.most_runners = 0
        self.ended_s: dict[int, float] = {}
        self.events = 0
        self.longest_standstill_s = 0.0
        self._got_on_s = 0.0
        self._rng = random.Random(seed)
        self._rustcs, self._links = Lines(), Lines()
        self._context, self._hog = Tenant(day.context), Tenant(day.hog)
        self._corners = self._all_corners()
        self._corner_s = next(self._corners)
        self._disk: dict[int, float] = {}  # by project, least recently used first
        self._planned: list[tuple[float, int, Task, int]] = []  # by work
        self._later: list[tuple[float, int, Callable[[], None]]] = []  # by time
        self._count = 0
        self._coming = 0
        self.demand = self._sample().demand
        self.policy = policy(self)

    def go(self) -> "Host":
        """Run until the day is over and every build has ended."""
        while self._is_left():
            rate = min(1.0, CORES / max(1, self.runners))
            done_s, later_s, come_s = self._work_s(rate), self._later_s(), self._come_s()
            due_s = max(self.now_s, self.policy.due_s())
            next_s = min(done_s, later_s, come_s, due_s, self._corner_s)
            self._pass(next_s, rate)
            if next_s == self._corner_s:
                self._corner_s = next(self._corners, FAR_S)
            elif next_s == later_s:
                heapq.heappop(self._later)[2]()
            elif next_s == done_s:
                _, _, task, epoch = heapq.heappop(self._planned)
                if epoch == task.epoch:
                    self._reached(task)
            elif next_s == come_s:
                self._coming += 1
                self.policy.arrive(self._coming - 1)
            else:
                self.policy.tick()
            self._settle()
        return self

    # What a policy may ask for

    @property
    def available_bytes(self) -> int:
        """What is measured: never below nothing, however much too much is used."""
        return max(0, int(TOTAL_BYTES - self.demand))

    def later(self, after_s: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._later, (self.now_s + after_s, self._count, call))

    def used_bytes(self, ticket: int) -> int:
        return int(self.tasks[ticket].bytes_at(self.work)) if ticket in self.tasks else 0

    def begin(self, number: int) -> None:
        """Start a build's cargo."""
        coming = self.day.builds[number]
        project = self.day.projects[coming.project]
        is_cold = coming.project not in self._disk
        stages = project.check if coming.verb == "check" else project.warm
        self._disk[coming.project] = self._disk.pop(coming.project, 0.0)
        cargo = self.cargos[number] = Cargo(coming, stages)
        if is_cold:
            cargo.stages = project.cold if coming.verb == "build" else project.check
            cargo.disk_step = project.disk_bytes / sum(len(stage) for stage in cargo.stages)
        self._next_stage(number)

    def start(self, ticket: int) -> None:
        """Let a rustc or a linker run."""
        task = self.tasks[ticket]
        assert task.started_s is None, f"{task.name} was started twice"
        task.started_s = self.now_s
        task.slope = task.peak_bytes / (task.run_s / 2)
        task.level, task.level_at = 0.0, self.work
        task.full_at, task.done_at = self.work + task.run_s / 2, self.work + task.run_s
        self._lines(task).add(0.0, task.slope, self.work)
        self._run(task)

    def cancel(self, ticket: int) -> None:
        """End a linker, which takes its time, unless it is through by then."""
        task, epoch_s = self.tasks[ticket], self.tasks[ticket].started_s
        self.later(self._rng.uniform(*CANCEL_S), lambda: self._cancelled(task, epoch_s))

    def pause(self, ticket: int) -> None:
        task = self.tasks[ticket]
        self.later(PAUSE_S, lambda: self._pause(task))

    def resume(self, ticket: int) -> None:
        task = self.tasks[ticket]
        self.later(PAUSE_S, lambda: self._resume(task))

    # Builds

    def _next_stage(self, number: int) -> None:
        cargo = self.cargos[number]
        cargo.stage += 1
        if cargo.stage == len(cargo.stages):
            del self.cargos[number]
            self.ended_s[number] = self.now_s
            self.policy.left(number)
            return
        cargo.ready = list(cargo.stages[cargo.stage])
        cargo.left = len(cargo.ready)
        self._ask(number)

    def _ask(self, number: int) -> None:
        cargo = self.cargos[number]
        while cargo.ready and cargo.asked < CORES:
            unit = cargo.ready.pop()
            cargo.asked += 1
            peak = unit.peak_bytes * cargo.coming.noise
            self._admit(Task(0, number, unit.crate, unit.run_s, peak, unit, unit.link))

    def _admit(self, task: Task) -> None:
        self._count += 1
        task.ticket = self._count
        self.tasks[task.ticket] = task
        self.policy.ask(task)

    def _unit_ended(self, task: Task) -> None:
        cargo = self.cargos[task.build]
        cargo.asked -= 1
        cargo.left -= 1
        project = cargo.coming.project
        self._disk[project] = self._disk.get(project, 0.0) + cargo.disk_step
        self._evict()
        if cargo.left:
            self._ask(task.build)
        else:
            self._next_stage(task.build)

    def _evict(self) -> None:
        """Delete the least recently used target dir that no build is in, when the disk is full."""
        busy = {cargo.coming.project for cargo in self.cargos.values()}
        while sum(self._disk.values()) > MOST_DISK_BYTES:
            idle = next((project for project in self._disk if project not in busy), None)
            if idle is None:
                excess = sum(self._disk.values()) - MOST_DISK_BYTES
                self._disk[next(iter(self._disk))] -= excess  # spills to the SSD
            else:
                del self._disk[idle]

    # Processes

    def _reached(self, task: Task) -> None:
        """A process has all the memory that it will have, or has done its work."""
        if task.slope:
            self._lines(task).add(0.0, -task.slope, self.work)
            task.level, task.level_at, task.slope = task.peak_bytes, self.work, 0.0
            self._plan(task)
            return
        self._stop(task)
        link = task.link
        if task.parent or link is None:
            self._end(task)
            return
        kept = task.peak_bytes * ASLEEP_SHARE
        self._rustcs.add(kept - task.level, 0.0, self.work)
        task.level, task.is_asleep = kept, True
        peak = link.peak_bytes * self.cargos[task.build].coming.noise
        self._admit(Task(0, task.build, link.output, link.run_s, peak, task.unit, link, task))

    def _end(self, task: Task) -> None:
        del self.tasks[task.ticket]
        self._lines(task).add(-task.level, 0.0, self.work)
        self.policy.ended(task)
        if task.parent:
            task.parent.is_through = True
            if not task.parent.is_paused:
                self._end(task.parent)
        else:
            self._unit_ended(task)

    def _cancelled(self, task: Task, started_s: float | None) -> None:
        if task.ticket not in self.tasks or task.started_s != started_s:
            return
        if task.is_running:
            self._stop(task)
        self._lines(task).add(-task.bytes_at(self.work), -task.slope, self.work)
        task.level = task.slope = 0.0
        task.started_s, task.is_paused = None, False
        self.policy.cancelled(task)

    def _pause(self, task: Task) -> None:
        if task.is_paused or task.ticket not in self.tasks:
            return
        task.is_paused = True
        if task.is_running:
            self._stop(task)
            level = task.bytes_at(self.work)
            self._lines(task).add(0.0, -task.slope, self.work)
            task.level, task.level_at = level, self.work
            task.slope_then, task.slope = task.slope, 0.0

    def _resume(self, task: Task) -> None:
        if not task.is_paused or task.ticket not in self.tasks:
            return
        task.is_paused = False
        if task.is_through:
            self._end(task)
        elif not task.is_asleep:
            slept = self.work - task.level_at
            task.full_at, task.done_at = task.full_at + slept, task.done_at + slept
            task.level_at, task.slope = self.work, task.slope_then
            self._lines(task).add(0.0, task.slope, self.work)
            self._run(task)

    def _run(self, task: Task) -> None:
        task.is_running = True
        self.runners += 1
        self._plan(task)

    def _stop(self, task: Task) -> None:
        task.is_running = False
        task.epoch += 1
        self.runners -= 1

    def _plan(self, task: Task) -> None:
        self._count += 1
        at = task.full_at if task.slope else task.done_at
        heapq.heappush(self._planned, (at, self._count, task, task.epoch))

    def _lines(self, task: Task) -> Lines:
        return self._links if task.parent else self._rustcs

    # Time

    def _is_left(self) -> bool:
        over = len(self.ended_s) == len(self.day.builds)
        return not over or self.now_s < self.day.long_s

    def _work_s(self, rate: float) -> float:
        if not self._planned:
            return FAR_S
        return self.now_s + max(0.0, self._planned[0][0] - self.work) / rate

    def _later_s(self) -> float:
        return self._later[0][0] if self._later else FAR_S

    def _come_s(self) -> float:
        builds = self.day.builds
        return builds[self._coming].at_s if self._coming < len(builds) else FAR_S

    def _all_corners(self) -> Iterator[float]:
        corners = (*self._context.corners(), *self._hog.corners(), self.day.long_s)
        return iter(sorted(set(corners)))

    def _pass(self, to_s: float, rate: float) -> None:
        passed_s = max(0.0, to_s - self.now_s)
        before = self.demand
        self.now_s = max(self.now_s, to_s)
        self.work += passed_s * rate
        sample = self._sample()
        self.demand = sample.demand
        self.figures.passed(before, self.demand, passed_s)
        self.figures.sample(sample, self.sample_s)

    def _settle(self) -> None:
        """Count what the event has changed, and see that it was allowed and that all gets on."""
        self.events += 1
        before, sample = self.demand, self._sample()
        self.demand = sample.demand
        self.figures.jumped(before, self.demand)
        self.figures.sample(sample, self.sample_s)
        self.most_runners = max(self.most_runners, self.runners)
        if self.runners or not self.tasks:
            self._got_on_s = self.now_s
        stood_s = self.now_s - self._got_on_s
        self.longest_standstill_s = max(self.longest_standstill_s, stood_s)
        if stood_s > STANDSTILL_S:
            raise Deadlock(f"at {self.now_s:.1f} s {len(self.tasks)} wait and nothing runs")
        self.policy.check()

    def _sample(self) -> Sample:
        now_s = self.now_s
        return Sample(
            now_s, FIXED_BYTES, self._context.at(now_s), sum(self._disk.values()),
            self._rustcs.at(self.work), self._links.at(self.work), self._hog.at(now_s),
        )  # fmt: skip
