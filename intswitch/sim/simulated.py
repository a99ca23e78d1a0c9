"""Jobs on a tree of switches in virtual time: what one and several have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host import window as win
from host.recovery import Recovery
from intswitch.sim.air import enlarge, new_air
from intswitch.sim.cables import Cable, links_of, shortest
from intswitch.sim.contents import CONTENTS, Contents
from intswitch.sim.loop import (
    CROWDED,
    DONE,
    LEFT,
    OVER,
    PAUSED,
    STUCK,
    WANTING,
    loop_of,
)
from intswitch.sim.payloads import WORD
from intswitch.sim.report import job_figures, start_counting
from intswitch.sim.roll import new_roll
from intswitch.sim.state import (
    Totals,
    World,
    new_desk,
    new_switches,
    new_workers,
)
from intswitch.sim.tree import NOBODY, lay_out
from switch.config import Address, JobConfig
from switch.parser import bytes_of, element_type_of, result_type_of
from switch.protocol import (
    ELEMENT_BYTES,
    HEADER_BYTES,
    STATUS_BYTES,
    ElementType,
    Reduction,
    Rule,
    kind_of,
)
from switch.tree import Path, Tree, ranks_of

Times = NDArray[np.float64]

CACHE_LINE = 64  # bytes
FLIGHTS, BLOCKS = 1 << 14, 1 << 12  # room to begin with
TIMEOUT = 300.0  # virtual seconds
FAST = Recovery(initial=1e-3, floor=1e-4, ceiling=1e-2, patience=0.0)
"""For virtual time: nothing is late but what waits in a queue."""
FAST_CABLE = Cable()
ANYWHERE: Address = ("10.0.0.1", 1)
"""Stands for a worker's address until it has a place in the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is aggregated; as `host.packetizer.Stream` has it."""

    kind: int
    num_chunks: int
    elements_per_chunk: int


def sum_of(
    num_elements: int, element_type: ElementType, result_type: ElementType,
    slot_bytes: int,
) -> Task:  # fmt: skip
    """A vector's sum."""
    per_chunk = slot_bytes // ELEMENT_BYTES[result_type]
    return Task(
        kind=kind_of(Reduction.SUM, element_type, result_type),
        num_chunks=-(-num_elements // per_chunk),
        elements_per_chunk=per_chunk,
    )


class SimulationError(RuntimeError):
    """An aggregation does not end. The text says why."""


@dataclass(kw_only=True)
class Simulated:
    """Jobs on a tree of switches."""

    tree: Tree
    cable: Cable = FAST_CABLE
    cables: Mapping[Path, Cable] = field(default_factory=dict)
    """By the path of the node below, where it is not `cable`."""
    rule: Rule = Rule.SAFE
    recovery: Recovery = FAST
    seed: int = 0

    def _build(
        self,
        jobs: Sequence[JobConfig],
        members: Sequence[tuple[int, ...]],
        windows: Sequence[int | None],
    ) -> None:
        """`members`: see `Layout`; `windows`: chunks outstanding of each job."""
        for job in jobs:
            if job.num_slots < 1 or job.num_slots & (job.num_slots - 1):
                raise ValueError(f"num_slots {job.num_slots}: must be a power of two")
        self.layout = lay_out(self.tree, jobs, members)
        slot_bytes = max(job.slot_bytes for job in jobs)
        longest = HEADER_BYTES + max(slot_bytes, STATUS_BYTES)
        self.block_bytes = -(-longest // CACHE_LINE) * CACHE_LINE
        nodes, paths = self.layout.nodes, self.layout.paths
        links, lines = links_of(paths, nodes, self.cables, self.cable, self.seed)
        pairs = zip(windows, jobs, strict=True)
        limits = [window or job.num_slots for window, job in pairs]
        self.world = World(
            nodes,
            new_air(links, lines, self.block_bytes, FLIGHTS, BLOCKS),
            new_switches(self.layout, self.rule),
            new_workers(self.layout, limits, self.recovery),
            new_desk(slot_bytes),
            self._totals(shortest(links)),
            new_roll(nodes, jobs[0].num_slots, 0),
            np.zeros(HEADER_BYTES + slot_bytes, np.uint8),
            int(self.rule),
            self.block_bytes,
            int(not lines[nodes.at_rank]["corruption"].any()),
        )
        self.now = 0.0

    def _count_workers(self) -> int:
        """Raises ValueError for a tree of other numbers than 0, 1, and so on."""
        ranks = sorted(ranks_of(self.tree))
        if ranks != list(range(len(ranks))):
            raise ValueError(f"tree {self.tree}: must have each rank from 0 on once")
        return len(ranks)

    def _totals(self, stretch: float) -> Totals:
        waits = np.full(1, NOBODY)
        return Totals(np.zeros(1, np.int64), np.array([0.0, stretch]), waits)

    def _begin(self, tasks: Sequence[Task], begins: Sequence[Times]) -> None:
        """Start counting from 0, and every job's task. `begins`: seconds from now, of
        each job's workers."""
        for row, (task, seconds) in enumerate(zip(tasks, begins, strict=True)):
            self._begin_job(list(self.layout.members[row]), task, self.now + seconds)
        width = max(
            bytes_of(task.elements_per_chunk, element_type_of(task.kind))
            for task in tasks
        )
        self.world.totals.finished[0] = 0
        self.world = self.world._replace(desk=new_desk(-(-width // WORD) * WORD))
        start_counting(self.world, self.now)

    def _begin_job(self, own: list[int], task: Task, begins: Times) -> None:
        workers = self.world.workers
        for at in own:
            state = win.State(
                workers.windows[at : at + 1], workers.slots[at], workers.fresh[at],
                workers.again[at], workers.estimates[at],
            )  # fmt: skip
            win.begin(state, task.num_chunks, task.kind, task.elements_per_chunk)
        workers.clock[own] = self.now
        workers.begins[own] = workers.wake[own] = begins
        late = np.array(own)[begins > self.now]
        workers.windows["next_timeout"][late] = workers.begins[late]

    def _go(
        self,
        plan: Contents,
        timeout: float,
        progress: Callable[[int], None] = lambda chunks: None,
        on_wanting: Callable[[int], None] = lambda number: None,
    ) -> None:
        """Until all is done. Raises SimulationError where that will not be."""
        loop = loop_of(CONTENTS)
        while True:
            why = loop(self.world, plan, self.now + timeout)
            progress(int(self.world.workers.windows["done"].min()))
            if why == DONE:
                break
            if why == CROWDED:
                self.world = self.world._replace(air=enlarge(self.world.air))
            elif why == WANTING:
                on_wanting(int(self.world.nodes.rank[self.world.totals.waits[0]]))
            elif why == LEFT:
                self._leave_behind()
            elif why != PAUSED:
                raise SimulationError(self._describe(why))
        self.now = float(self.world.totals.now[0])

    def _leave_behind(self) -> None:
        """The switch has gone on without a worker."""
        raise SimulationError(self._describe(LEFT))

    def _describe(self, why: int) -> str:
        windows = self.world.workers.windows
        left, done, chunks = (
            windows[name] for name in ("left_behind", "done", "num_chunks")
        )
        slowest = int(left.argmax() if why == LEFT else (done - chunks).argmin())
        reason = {
            STUCK: "nothing is under way any more",
            OVER: "it takes too long",
            LEFT: "the switch has gone on without it",
        }
        progress = f"{done[slowest]} of {chunks[slowest]} results"
        return f"{self._name(slowest)} has {progress}: {reason[why]}"

    def _name(self, number: int) -> str:
        return f"worker {number}"

    def _figures(
        self, row: int, task: Task, began: float, checks: Any
    ) -> dict[str, Any]:
        """Of a `JobReport`, but for what stragglers change."""
        width = bytes_of(task.elements_per_chunk, result_type_of(task.kind))
        return job_figures(
            self.world, self.layout, row, began, task.num_chunks,
            task.num_chunks * width, checks,
        )  # fmt: skip
