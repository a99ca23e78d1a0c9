"""One training through a fabric."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any, Protocol

from intswitch.experiment import Evaluated, Finished, Result, Started, Training
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
        self.began = 0.0
        self.begin: Started | None = None
        self.shares: defaultdict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
        self.evaluations: list[Evaluated] = []

    def __call__(self, rank: int, event: dict[str, Any]) -> None:
        name = event["event"]
        fields = {field: value for field, value in event.items() if field != "event"}
        if name in ("started", "step", "evaluated"):
            getattr(self, f"_{name}")(rank, fields)

    def _started(self, rank: int, event: dict[str, Any]) -> None:
        if rank == 0:
            self.began = time.monotonic()
            self.begin = Started(**event)
            self.watcher.started(self.training, self.begin)

    def _step(self, rank: int, event: dict[str, Any]) -> None:
        if rank == 0:
            self.watcher.stepped(event["step"], event["loss"])

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


def run(fabric: Fabric, training: Training, watcher: Watcher | None = None) -> Result:
    """Train once on `fabric`. Raises FabricError when a process fails."""
    gathering = _Gathering(training, fabric.num_workers, watcher or Silent())
    events = fabric.train(training, gathering)
    wall_seconds = time.monotonic() - gathering.began
    for event in events:
        del event["event"]
    assert gathering.begin is not None
    return Result(
        training=training,
        started=gathering.begin,
        evaluations=gathering.evaluations,
        workers=[Finished(**event) for event in events],
        wall_seconds=wall_seconds,
    )
