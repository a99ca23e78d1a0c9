"""The processes of a fabric, and the trainings that they do.

The processes are started once and do one training after the other. They end with the
`with` block, on an error, on Ctrl-C, and when this process is killed.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Self

from intswitch.child import Child, close_all, lines_until, python
from intswitch.experiment import Training
from intswitch.topology import LinkPart, Topology
from switch.closing import Closing

Event = dict[str, Any]
Listener = Callable[[int, Event], None]
"""Called with a worker's rank and what it reports."""
Status = Callable[[str], None]
"""Told what takes long."""

ENVIRONMENT = {
    # a worker is one core's worth of machine
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
WORKER = python("intswitch.worker")
LAST_WORDS = 4.0
"""Seconds that the others have, after a failure, to say how they see it."""
MOMENT, PAUSE = 0.5, 0.01
"""Seconds that a killed process may take to end: others notice before it has."""
JOIN_TIMEOUT = 60.0
"""Seconds. A worker imports torch and reads its data before it joins."""


class FabricError(RuntimeError):
    """Some process is gone, or has given up. The text names it."""


PERFECT = LinkPart(between=("", ""))


def refuse(
    topology: Topology, fabric: str, cannot: Collection[str], trees: bool = False
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
    if len(topology.jobs) != 1:
        mistakes.append(f"jobs: the {fabric} fabric runs one, not {len(topology.jobs)}")
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


class Fabric(Closing, ABC):
    """A topology at work."""

    name: str
    cannot: Collection[str] = ("rate", "queue")
    """Fields of links; see `refuse`."""
    trees = False
    """Whether it can have switches below switches."""

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
        refuse(topology, self.name, self.cannot, self.trees)
        missing = self.missing()
        if missing:
            raise FabricError(f"the {self.name} fabric: " + "; ".join(missing))
        self.topology = topology
        self.job = topology.jobs[0]
        self.status = status
        self.worker = worker
        self.warm: set[str] = set()
        self.jobs = 0
        self.workers: list[Child] = []
        """By rank."""

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

    @property
    def num_workers(self) -> int:
        return len(self.job.workers)

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
        """One training on all workers; their `finished` events, by rank.

        Raises FabricError when a process ends or a worker gives up; the fabric is of
        no use then, and only to be closed.
        """
        self._warm_up(training)
        for rank, worker in enumerate(self.workers):
            join = self.join_options(rank, self.num_workers)
            send(worker, "train", training=asdict(training), join=join)
        self.jobs += 1
        finished: dict[int, Event] = {}
        for rank, event in self._events():
            listener(rank, event)
            if event["event"] == "finished":
                finished[rank] = event
                if len(finished) == self.num_workers:
                    break
        return [finished[rank] for rank in range(self.num_workers)]

    def _warm_up(self, training: Training) -> None:
        """Have worker 0 alone compile what this compressor needs, once."""
        method = {"compressor": training.compressor, "options": training.options}
        key = json.dumps(method, sort_keys=True)
        if key in self.warm:
            return
        self.status(f"preparing {training.label} (the first time, kernels compile)")
        send(self.workers[0], "warm_up", **method, join=self.join_options(0, 1))
        self.jobs += 1
        for _, event in self._events():
            if event["event"] == "warm":
                break
        self.warm.add(key)

    def join_options(self, rank: int, num_workers: int) -> Event:
        """Arguments of `intswitch.join`."""
        return {
            "address": self.endpoint_of(self.job.workers[rank]),
            "job": f"{self.job.name}-{self.jobs}",
            "rank": rank,
            "num_workers": num_workers,
            "timeout": JOIN_TIMEOUT,
            "num_slots": self.job.num_slots,
            "slot_bytes": self.job.slot_bytes,
            "overflow": self.job.overflow,
            "straggler_timeout": self.job.straggler_timeout,
            "packet_threshold": self.job.packet_threshold,
        }

    def _events(self) -> Iterator[tuple[int, Event]]:
        """What the workers report. The first failure ends it with a FabricError."""
        for child, line in lines_until(self.processes):
            if child not in self.workers:
                if line is None:
                    raise self._failure(child, None)
                continue
            event = None if line is None else json.loads(line)
            if event is None or event["event"] == "error":
                raise self._failure(child, event)
            yield self.workers.index(child), event

    def _failure(self, first: Child, event: Event | None) -> FabricError:
        """Wait for the others' last words, and put together who is gone and why.

        Who has ended without a word is the cause; who complains, a consequence.
        """
        silent = [first] if event is None else []
        words = {} if event is None else {first: event["message"]}
        # through a data plane that is gone, nobody hears anything
        patience = 0.0 if first in self.data_planes else LAST_WORDS
        deadline = time.monotonic() + patience
        others = [child for child in self.processes if child is not first]
        left = set(others) & set(self.workers)
        for child, line in lines_until(others, deadline if left else 0.0):
            if line is None and child not in words:
                silent.append(child)
            elif line is not None and '"event": "error"' in line:
                words[child] = json.loads(line)["message"]
            if line is None or child in words:
                left.discard(child)
            if not left:
                break
        # who has ended may not have been read to the end yet
        mute = [each for each in others if each not in silent and each not in words]
        silent += ended(mute, within=0.0 if silent else MOMENT)
        gone = [f"{child.name} {child.ending()}{tail(child)}" for child in silent]
        said = [f"{child.name}: {text}" for child, text in words.items()]
        return FabricError("\n".join([*gone, *said]))


def ended(children: Sequence[Child], within: float) -> list[Child]:
    """Those that have ended. If none has, wait so many seconds for the first."""
    deadline = time.monotonic() + within
    while True:
        found = [child for child in children if child.has_ended()]
        if found or time.monotonic() >= deadline:
            return found
        time.sleep(PAUSE)


def send(worker: Child, task: str, **arguments: Any) -> None:
    worker.write(json.dumps({"task": task, **arguments}))


def tail(child: Child) -> str:
    """The end of what a process that ended without a report has printed."""
    text = child.errors()
    return f": {text[-2000:]}" if text else ""
