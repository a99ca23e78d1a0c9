"""Trainings through a fabric: of its topology's job, or of all of them at once."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
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

    def __init__(self, training: Training, num_workers: int, watcher: Watcher) -> None:
        self.training = training
        self.num_workers = num_workers
        self.watcher = watcher
        self.began = self.ended = 0.0
        self.begin: Started | None = None
        self.shares: defaultdict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
        self.evaluations: list[Evaluated] = []

    def __call__(self, rank: int, event: dict[str, Any]) -> None:
        name = event["event"]
        if name in ("started", "step", "evaluated", "finished"):
            getattr(self, f"_{name}")(rank, _fields(event))

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

    def result(self, events: Sequence[Event]) -> Result:
        """events: `finished`, by rank."""
        assert self.begin is not None
        return Result(
            training=self.training,
            started=self.begin,
            evaluations=self.evaluations,
            workers=[Finished(**_fields(event)) for event in events],
            wall_seconds=self.ended - self.began,
        )


def _fields(event: Event) -> dict[str, Any]:
    return {field: value for field, value in event.items() if field != "event"}


def run(fabric: Fabric, training: Training, watcher: Watcher | None = None) -> Result:
    """Train the only job once on `fabric`. Raises FabricError when a process fails."""
    (outcome,) = run_jobs(fabric, training, [watcher or Silent()])
    if isinstance(outcome, FabricError):
        raise outcome
    return outcome


def run_jobs(
    fabric: Fabric, training: Training, watchers: Sequence[Watcher]
) -> list[Result | FabricError]:
    """Train every job once, all at the same time; what came of each.

    watchers: one for each job.
    """
    gatherings = [
        _Gathering(training, len(job.workers), watcher)
        for job, watcher in zip(fabric.topology.jobs, watchers, strict=True)
    ]
    outcomes = fabric.train_all(training, gatherings)
    return [
        outcome if isinstance(outcome, FabricError) else gathering.result(outcome)
        for gathering, outcome in zip(gatherings, outcomes, strict=True)
    ]
