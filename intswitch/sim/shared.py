"""Several jobs on one tree of switches in virtual time: what they do to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intswitch.sim.contents import from_seed
from intswitch.sim.payloads import SeedPlan, checks_of, new_plan, vector
from intswitch.sim.report import JobReport, SharedReport, link_figures
from intswitch.sim.simulated import (
    ANYWHERE,
    TIMEOUT,
    Simulated,
    SimulationError,
    Task,
    sum_of,
)
from switch.config import JobConfig
from switch.protocol import ElementType, Overflow, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedJob:
    """A job, and the vector that it sums."""

    workers: tuple[int, ...]
    """Which workers of the tree its own are, by their rank in the job."""
    num_elements: int
    element_type: ElementType = ElementType.INT32
    result_type: ElementType | None = None
    """None: element_type."""
    start: float = 0.0
    """Virtual seconds from the beginning of an aggregation at which it begins."""
    num_slots: int = 128
    """Its own, at every switch that it passes through."""
    slot_bytes: int = 1024
    window: int | None = None
    """Chunks outstanding at most; None: num_slots."""
    overflow: Overflow = Overflow.DETECT

    @property
    def sums_into(self) -> ElementType:
        return self.element_type if self.result_type is None else self.result_type


@dataclass(kw_only=True)
class SharedSimulation(Simulated):
    """Jobs that share a tree of switches, every worker of which belongs to one."""

    jobs: Sequence[SimulatedJob]

    def __post_init__(self) -> None:
        self.num_workers = self._count_workers()
        for objection in self._objections():
            raise ValueError(objection)
        configs = [
            JobConfig(
                job=1 + row, workers=(ANYWHERE,) * len(job.workers),
                num_slots=job.num_slots, slot_bytes=job.slot_bytes,
                overflow=job.overflow,
            )
            for row, job in enumerate(self.jobs)
        ]  # fmt: skip
        self._build(
            configs,
            [job.workers for job in self.jobs],
            [job.window for job in self.jobs],
        )

    def _objections(self) -> list[str]:
        found = [] if self.jobs else ["jobs: there must be one"]
        for row, job in enumerate(self.jobs):
            if not job.workers:
                found.append(f"jobs.{row}.workers: there must be one")
            if job.num_elements < 1:
                found.append(
                    f"jobs.{row}.num_elements {job.num_elements}: must be 1 or more"
                )
            if not 0 <= job.start < np.inf:
                found.append(f"jobs.{row}.start {job.start:g} s: must be 0 or more")
        times = Counter(worker for job in self.jobs for worker in job.workers)
        for worker in sorted(times.keys() | range(self.num_workers)):
            if worker not in range(self.num_workers):
                found.append(f"worker {worker} of a job is not in the tree")
            elif times[worker] != 1:
                found.append(
                    f"worker {worker} is in {times[worker]} jobs: must be in one"
                )
        return found

    def aggregate(self, *, timeout: float = TIMEOUT) -> SharedReport:
        """Each job sums a vector of all its workers, made from the seed; its sums are
        checked. See `Simulation.aggregate`.

        Raises SimulationError if a sum or a counter of a job is wrong, and neither the
        rule `switchml` nor damage that no checksum catches can be why; or if `timeout`
        virtual seconds have passed.
        """
        tasks = [
            sum_of(job.num_elements, job.element_type, job.sums_into, job.slot_bytes)
            for job in self.jobs
        ]
        plan = self._plan(tasks)
        began = [self.now + job.start for job in self.jobs]
        self._begin(tasks, [np.full(len(job.workers), job.start) for job in self.jobs])
        self._go(from_seed(plan), timeout)
        reports = [
            JobReport(**self._figures(row, task, began[row], checks_of(plan, row)))
            for row, task in enumerate(tasks)
        ]
        report = SharedReport(jobs=reports, **link_figures(self.world))
        certain = self.rule == Rule.SAFE and not report.faults["missed"]
        if certain and report.contradictions():
            raise SimulationError("; ".join(report.contradictions()))
        return report

    def _plan(self, tasks: Sequence[Task]) -> SeedPlan:
        job_of = np.zeros(self.num_workers, np.int64)
        vectors = []
        for row, (job, task) in enumerate(zip(self.jobs, tasks, strict=True)):
            job_of[list(job.workers)] = row
            vectors.append(
                vector(
                    job.num_elements, task.elements_per_chunk, job.element_type,
                    job.sums_into, len(job.workers),
                )
            )  # fmt: skip
        num_slots = max(job.num_slots for job in self.jobs)
        everybody = np.zeros((0, self.num_workers), np.bool_)
        return new_plan(self.seed, vectors, job_of, num_slots, everybody)

    def _name(self, number: int) -> str:
        for row, job in enumerate(self.jobs):
            if number in job.workers:
                return f"worker {job.workers.index(number)} of job {row}"
        raise AssertionError(number)
