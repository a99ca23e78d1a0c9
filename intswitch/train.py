"""Trainings through a fabric: of its topology's job, or of all of them at once."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from intswitch.experiment import Evaluated, Finished, Result, Started, Training
from intswitch.fabrics.course import Event, FabricError
from intswitch.fabrics.fabric import Fabric


class Watcher(Protocol):
    """Is told how a training goes. See `progress.py` for the one that draws."""

    def started(self, training: Training, started: Started) -> None: ...
    def stepped(self, step: int, loss: float) -> None: ...
    def evaluated(self, evaluated: Evaluated) -> None: ...


class Silent:
    """A watcher that does not say anything."""

    def started(self, training: Training, started: Started) -> None: ...
    def stepped(self, step: int, loss: float) -> None: ...
    def evaluated(self, evaluated: Evaluated) -> None: ...


class _Gathering:
    """Puts the workers' reports of one training together."""

    def __init__(
        self,
        training: Training,
        num_workers: int,
        watcher: Watcher,
        done: Callable[[Result], None] = lambda result: None,
    ) -> None:
        self.training = training
        self.num_workers = num_workers
        self.watcher = watcher
        self.done = done
        self.began = self.ended = 0.0
        self.finished: dict[int, Event] = {}
        self.begin: Started | None = None
        self.shares: defaultdict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
        self.evaluations: list[Evaluated] = []

    def __call__(self, rank: int, event: dict[str, Any]) -> None:
        name = event["event"]
        if name in ("started", "step", "evaluated", "finished"):
            fields = {field: event[field] for field in event if field != "event"}
            getattr(self, f"_{name}")(rank, fields)

    def _started(self, rank: int, event: dict[str, Any]) -> None:
        if rank == 0:
            self.began = time.monotonic()
            self.begin = Started(**event)
            self.watcher.started(self.training, self.begin)

    def _step(self, rank: int, event: dict[str, Any]) -> None:
        if rank == 0:
            self.watcher.stepped(event["step"], event["loss"])

    def _finished(self, rank: int, event: dict[str, Any]) -> None:
        self.ended = time.monotonic()
        self.finished[rank] = event
        if len(self.finished) == self.num_workers:
            self.done(self.result())

    def _evaluated(self, rank: int, event: dict[str, Any]) -> None:
        """Every worker tries a share of the test set; shares come as sums."""
        by_rank = self.shares[event["step"]]
        by_rank[rank] = event
        if len(by_rank) < self.num_workers:
            return
        # in order of rank: a sum of floats depends on it, and a run must repeat
        shares = [by_rank[each] for each in range(self.num_workers)]
        count = sum(share["count"] for share in shares)
        correct = [share["correct"] for share in shares]
        whole = Evaluated(
            step=event["step"],
            loss=sum(share["loss_sum"] for share in shares) / count,
            accuracy=None if None in correct else sum(correct) / count,
        )
        self.evaluations.append(whole)
        self.watcher.evaluated(whole)

    def result(self) -> Result:
        """Once all workers have finished."""
        assert self.begin is not None
        return Result(
            training=self.training,
            started=self.begin,
            evaluations=self.evaluations,
            workers=[Finished(**self.finished[n]) for n in range(self.num_workers)],
            wall_seconds=self.ended - self.began,
        )


def run(fabric: Fabric, training: Training, watcher: Watcher | None = None) -> Result:
    """Train the only job once on `fabric`. Raises FabricError when a process fails."""
    results: list[Result] = []
    (failure,) = run_jobs(fabric, training, [watcher or Silent()], [results.append])
    if failure is not None:
        raise failure
    return results[0]


def run_jobs(
    fabric: Fabric,
    training: Training,
    watchers: Sequence[Watcher],
    done: Sequence[Callable[[Result], None]],
) -> list[FabricError | None]:
    """Train every job once, all at the same time; why each failed, if it did.

    watchers: one for each job. done: told each job's result, as soon as there is one.
    """
    jobs = zip(fabric.topology.jobs, watchers, done, strict=True)
    gatherings = [
        _Gathering(training, len(job.workers), watcher, told)
        for job, watcher, told in jobs
    ]
    outcomes = fabric.train_all(training, gatherings)
    return [each if isinstance(each, FabricError) else None for each in outcomes]
