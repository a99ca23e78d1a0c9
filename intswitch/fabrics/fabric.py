"""The processes of a fabric, and the trainings that they do.

The processes are started once and do one training after the other, of every job at the
same time. They end with the `with` block, on an error, on Ctrl-C, and when this process
is killed.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Self

from intswitch.child import Child, close_all, lines_until, python
from intswitch.experiment import Training
from intswitch.fabrics.course import Course, Event, FabricError, Listener
from intswitch.topology import JobPart, LinkPart, Topology
from switch.closing import Closing

Status = Callable[[str], None]
"""Told what takes long."""

ENVIRONMENT = {
    # a worker is one core's worth of machine
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
WORKER = python("intswitch.worker")
JOIN_TIMEOUT = 60.0
"""Seconds. A worker imports torch and reads its data before it joins."""
PERFECT = LinkPart(between=("", ""))


def refuse(
    topology: Topology,
    fabric: str,
    cannot: Collection[str],
    *,
    trees: bool = False,
    several: bool = True,
) -> None:
    """Raise ValueError, a line each, for what a fabric cannot do.

    `cannot`: fields of links, of which toward stands for links that differ.
    """
    mistakes = []
    if trees:
        topology.tree()
    elif len(topology.switches) != 1:
        mistakes.append(
            f"switches: the {fabric} fabric has one, not {len(topology.switches)}"
        )
    if not several:
        mistakes += _refused_jobs(topology.jobs, fabric)
    for number, link in enumerate(topology.links):
        mistakes += [
            f"links.{number}.{name}: the {fabric} fabric cannot do this; sim and"
            " netns can"
            for name in cannot
            if getattr(link, name) != getattr(PERFECT, name)
        ]
    losses = {link.loss for link in topology.links}
    if len(losses) > 1 and "toward" in cannot:
        mistakes.append(
            f"links: the {fabric} fabric has one loss for all links, not "
            + ", ".join(map(str, sorted(losses)))
        )
    if mistakes:
        raise ValueError("\n".join(mistakes))


def _refused_jobs(jobs: Sequence[JobPart], fabric: str) -> Iterator[str]:
    if len(jobs) != 1:
        names = ", ".join(job.name for job in jobs)
        said = f"jobs: the {fabric} fabric runs one, not {len(jobs)} ({names})"
        yield f"{said}; others run more"
    for number, job in enumerate(jobs):
        if job.start:
            yield f"jobs.{number}.start: the {fabric} fabric cannot do this; others can"


class Fabric(Closing, ABC):
    """A topology at work."""

    name: str
    cannot: Collection[str] = ("rate", "queue")
    """Fields of links; see `refuse`."""
    trees = False
    """Whether it can have switches below switches."""
    several = True
    """Whether it can have several jobs, and jobs that start later."""

    def __init__(
        self,
        topology: Topology,
        *,
        status: Status = lambda text: None,
        worker: Sequence[str] = WORKER,
    ) -> None:
        """`status` is told what takes long; `worker`: the command of a worker.

        Raises ValueError for a topology that it cannot honour, FabricError for what it
        lacks on this machine.
        """
        refuse(topology, self.name, self.cannot, trees=self.trees, several=self.several)
        missing = self.missing()
        if missing:
            raise FabricError(f"the {self.name} fabric: " + "; ".join(missing))
        self.topology = topology
        self.status = status
        self.worker = worker
        self.warm: set[str] = set()
        self.round = 0
        """Part of the names by which jobs are joined, which do not repeat."""
        self.workers: list[Child] = []
        """Job by job, by rank."""

    @classmethod
    def missing(cls) -> list[str]:
        """What it needs and does not find on this machine, and where to get it."""
        return []

    @abstractmethod
    def endpoint_of(self, host: str) -> str:
        """ADDRESS:PORT of the control plane where a worker on this host joins."""

    @property
    @abstractmethod
    def others(self) -> list[Child]:
        """The processes that are no workers, as far as they have been started."""

    @property
    def data_planes(self) -> list[Child]:
        """Those of them without which nobody hears anything."""
        return []

    @abstractmethod
    def start(self) -> None:
        """Start every process; what fails is closed by the caller."""

    @abstractmethod
    def stop(self) -> None:
        """End what is no worker."""

    def seats(self) -> Iterator[tuple[str, str]]:
        """What messages call each worker, and its host; job by job, by rank."""
        for job in self.topology.jobs:
            of_job = f" of {job.name}" if len(self.topology.jobs) > 1 else ""
            for rank, host in enumerate(job.workers):
                yield f"worker {rank}{of_job}", host

    @property
    def processes(self) -> list[Child]:
        """All of them, as far as they have been started."""
        return [*self.others, *self.workers]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every process. Safe to call twice."""
        close_all(self.workers)
        self.workers = []
        self.stop()

    def train(self, training: Training, listener: Listener) -> list[Event]:
        """One training of the only job; its `finished` events, by rank.

        Raises FabricError when a process ends or a worker gives up; the fabric is of
        no use then, and only to be closed.
        """
        (outcome,) = self.train_all(training, [listener])
        if isinstance(outcome, FabricError):
            raise outcome
        return outcome

    def train_all(
        self, training: Training, listeners: Sequence[Listener]
    ) -> list[list[Event] | FabricError]:
        """One training of every job, all at the same time; of each as `train` has it.

        listeners: one for each job. A job that fails does not disturb the others.
        """
        begin = partial(self._begin, training)
        courses, workers = [], iter(self.workers)
        for job, listener in zip(self.topology.jobs, listeners, strict=True):
            own = [next(workers) for _ in job.workers]
            courses.append(Course(job, own, listener, begin))
        self._warm_up(training, courses)
        now = time.monotonic()
        for course in courses:
            course.begins = now + course.job.start
        self._listen(courses, lambda: all(course.is_over for course in courses))
        self.round += 1
        return [course.outcome for course in courses]

    def _begin(self, training: Training, course: Course) -> None:
        for rank, worker in enumerate(course.workers):
            join = self.join_options(course.job, rank, len(course.workers))
            send(worker, "train", training=asdict(training), join=join)

    def _warm_up(self, training: Training, courses: Sequence[Course]) -> None:
        """Have one worker alone compile what this compressor needs, once."""
        method = {"compressor": training.compressor, "options": training.options}
        key = json.dumps(method, sort_keys=True)
        if key in self.warm:
            return
        self.status(f"preparing {training.label} (the first time, kernels compile)")
        first = courses[0]
        join = self.join_options(first.job, 0, 1)
        send(first.workers[0], "warm_up", **method, join=join)
        self._listen(courses, lambda: first.is_warm or first.is_over)
        self.round += 1
        self.warm.add(key)

    def join_options(self, job: JobPart, rank: int, num_workers: int) -> Event:
        """Arguments of `intswitch.join`."""
        return {
            "address": self.endpoint_of(job.workers[rank]),
            "job": f"{job.name}-{self.round}",
            "rank": rank,
            "num_workers": num_workers,
            "timeout": JOIN_TIMEOUT,
            "num_slots": job.num_slots,
            "slot_bytes": job.slot_bytes,
            "overflow": job.overflow,
            "straggler_timeout": job.straggler_timeout,
            "packet_threshold": job.packet_threshold,
        }

    def _listen(self, courses: Sequence[Course], done: Callable[[], bool]) -> None:
        """Have the courses take what is said, and proceed, until it is done."""

        def moment() -> float:
            return 0.0 if done() else min(course.next_moment for course in courses)

        live = self.processes
        while not done():
            gone = []
            for child, line in lines_until(live, moment):
                gone += [child] if line is None else []
                self._tell(courses, child, line)
            live = [child for child in live if child not in gone]
            # where nobody is left to say anything, there is nothing to wait for
            now = time.monotonic() if live else math.inf
            for course in courses:
                course.proceed(now, self.others)

    def _tell(self, courses: Sequence[Course], child: Child, line: str | None) -> None:
        """A worker's course, or all of them if another process says it."""
        now = time.monotonic()
        for course in courses:
            if child in course.workers or child not in self.workers:
                course.take(child, line, now)
            if line is None and child in self.data_planes:
                course.deadline = now  # nobody hears anything any more


def send(worker: Child, task: str, **arguments: Any) -> None:
    worker.write(json.dumps({"task": task, **arguments}))
