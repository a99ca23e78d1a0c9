"""Where worker processes meet in virtual time: each brings its streams, and gets the
results that a simulation of all of them makes.

Over Unix sockets in a folder of this user's own. From a worker: its `Seat`; then for
each aggregation `task`, and what `network.made` returns whenever it was asked for
chunks. To a worker: `joined`, `make`, `take`, `done` or `failed`, with more.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np

from intswitch.sim.contents import from_store
from intswitch.sim.simulated import SimulationError, Task
from intswitch.sim.simulation import Simulation
from intswitch.sim.stored import Stored, new_store, results_since, store
from switch.parser import bytes_of, element_type_of, result_type_of

Build = Callable[["Seat"], Simulation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What a worker says when it comes; but for `rank`, all say the same."""

    job: str
    rank: int
    num_workers: int
    options: dict[str, Any]
    """Of `Simulation`."""


class Meeting:
    """Accepts workers until it is closed; every job has a thread."""

    def __init__(self, path: Path, build: Build) -> None:
        """`build` makes the simulation of a job, from one of its seats."""
        self.build = build
        self.listener = Listener(str(path), "AF_UNIX", backlog=128)
        self.jobs: dict[str, dict[int, Connection]] = {}
        self.closed = False
        threading.Thread(target=self._accept, name="meeting", daemon=True).start()

    def close(self) -> None:
        self.closed = True
        with contextlib.suppress(OSError):
            self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection: Any = self.listener.accept()
                seat: Seat = connection.recv()
            except (OSError, EOFError):  # closed; or who came has gone
                if self.closed:
                    return
                continue
            members = self.jobs.setdefault(seat.job, {})
            members[seat.rank] = connection
            if len(members) == seat.num_workers:
                job = Job(self.build, seat, self.jobs.pop(seat.job))
                threading.Thread(target=job.serve, name=seat.job, daemon=True).start()


class Job:
    """The workers of one job, and their simulation."""

    def __init__(
        self, build: Build, seat: Seat, members: dict[int, Connection]
    ) -> None:
        self.build, self.seat = build, seat
        self.members = [members[rank] for rank in range(seat.num_workers)]
        self.taken = np.zeros(seat.num_workers, np.int64)

    def serve(self) -> None:
        """One aggregation after the other, until the workers leave."""
        try:
            self._serve(self.build(self.seat))
        except (EOFError, ConnectionError):
            pass  # a worker has left, or died: the others see the end, too
        except Exception as error:
            self._fail(str(error) or type(error).__name__)
        for member in self.members:
            member.close()

    def _fail(self, text: str) -> None:
        for member in self.members:
            with contextlib.suppress(ConnectionError):
                member.send(("failed", text))

    def _serve(self, simulation: Simulation) -> None:
        ready = [self._place(simulation, rank) for rank in range(len(self.members))]
        for member, place in zip(self.members, ready, strict=True):
            member.send(("joined", place))
        while True:
            offers = [member.recv() for member in self.members]
            tasks = {offer[1:] for offer in offers}
            if len(tasks) > 1:
                raise SimulationError(f"the workers' aggregations differ: {tasks}")
            self._aggregate(simulation, *offers[0][1:])

    def _place(self, simulation: Simulation, rank: int) -> tuple[int, int]:
        """Number of a worker's switch, and what that counts as accepted for a chunk."""
        nodes = simulation.world.nodes
        ends = nodes.first_child + nodes.num_children
        number = int(np.searchsorted(ends, nodes.at_rank[rank], side="right"))
        return number, int(nodes.num_children[number]) + (number > 0)

    def _aggregate(
        self, simulation: Simulation, task: Task, needs_results: bool
    ) -> None:
        plan = new_store(
            len(self.members), task.num_chunks,
            bytes_of(task.elements_per_chunk, element_type_of(task.kind)),
            bytes_of(task.elements_per_chunk, result_type_of(task.kind)),
        )  # fmt: skip
        self.taken[:] = 0
        first = min(task.num_chunks, simulation.num_slots)
        count = first if needs_results else task.num_chunks
        for member in self.members:
            member.send(("make", 0, count))
        for rank, member in enumerate(self.members):
            store(plan, rank, 0, member.recv())
        checks = np.array([0, len(self.members) * task.num_chunks])
        report = simulation.run(
            task, from_store(plan), checks,
            on_wanting=lambda rank: self._make_more(plan, rank, simulation.num_slots),
        )  # fmt: skip
        for rank, results in report.left_behind.items():
            raise SimulationError(
                f"worker {rank} has {results} of {task.num_chunks} results: the others"
                " have gone on without it"
            )
        for rank, member in enumerate(self.members):
            self._hand_over(plan, rank)
            workers = simulation.world.workers
            partial = workers.windows["partial"]
            counts = (workers.sent, workers.received, workers.repeated, partial)
            seconds = float(report.worker_seconds[rank])
            own = (int(count[rank]) for count in counts)
            member.send(("done", seconds, report.switch_counters, *own))

    def _make_more(self, plan: Stored, rank: int, num_slots: int) -> None:
        """Hand results over, and have the chunks made that they allow."""
        chunks = self._hand_over(plan, rank) + num_slots
        for chunk in chunks[chunks < plan.made.shape[1]].tolist():
            self.members[rank].send(("make", chunk, chunk + 1))
            store(plan, rank, chunk, self.members[rank].recv())

    def _hand_over(self, plan: Stored, rank: int) -> Any:
        """The chunks whose results a worker gets with this."""
        results = results_since(plan, rank, int(self.taken[rank]))
        self.taken[rank] = plan.came[rank]
        self.members[rank].send(("take", *results))
        return results[0]
