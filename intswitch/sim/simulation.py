"""A tree of switches and workers in virtual time: built once, aggregates as often as
asked, and says what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from host import window as win
from host.recovery import Recovery
from intswitch.sim import payloads
from intswitch.sim.air import enlarge, new_air
from intswitch.sim.cables import Cable, links_of, shortest
from intswitch.sim.contents import CONTENTS, Contents, from_seed
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
from intswitch.sim.report import Report, new_report, start_counting, unfinished_slots
from intswitch.sim.roll import Roll, new_roll
from intswitch.sim.state import (
    Totals,
    World,
    new_desk,
    new_switches,
    new_workers,
)
from intswitch.sim.tree import NOBODY, lay_out
from switch.codes import Table
from switch.config import JobConfig
from switch.parser import bytes_of, element_type_of, result_type_of
from switch.protocol import (
    ELEMENT_BYTES,
    HEADER_BYTES,
    STATUS_BYTES,
    ElementType,
    Overflow,
    Reduction,
    Rule,
    kind_of,
)
from switch.tree import Path, Tree, ranks_of

CACHE_LINE = 64  # bytes
FLIGHTS, BLOCKS = 1 << 14, 1 << 12  # room to begin with
TIMEOUT = 300.0  # virtual seconds
FAST = Recovery(initial=1e-3, floor=1e-4, ceiling=1e-2, patience=0.0)
"""For virtual time: nothing is late but what waits in a queue."""


FAST_CABLE = Cable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is aggregated; as `host.packetizer.Stream` has it."""

    kind: int
    num_chunks: int
    elements_per_chunk: int


class SimulationError(RuntimeError):
    """An aggregation does not end. The text says why."""


@dataclass(kw_only=True)
class Simulation:
    """One job on a tree of switches."""

    tree: Tree
    cable: Cable = FAST_CABLE
    cables: Mapping[Path, Cable] = field(default_factory=dict)
    """By the path of the node below, where it is not `cable`."""
    num_slots: int = 128
    slot_bytes: int = 1024
    window: int | None = None
    """Chunks outstanding at most; None: num_slots."""
    straggler_timeout: float = 0.0
    """Virtual seconds after which results go out without who is late; 0: never. Twice
    as many at every level of switches up."""
    overflow: Overflow = Overflow.DETECT
    code4: Table | None = None
    code8: Table | None = None
    rule: Rule = Rule.SAFE
    recovery: Recovery = FAST
    seed: int = 0

    def __post_init__(self) -> None:
        self.num_workers = len(ranks_of(self.tree))
        if sorted(ranks_of(self.tree)) != list(range(self.num_workers)):
            raise ValueError(f"tree {self.tree}: must have each rank from 0 on once")
        if self.num_slots < 1 or self.num_slots & (self.num_slots - 1):
            raise ValueError(f"num_slots {self.num_slots}: must be a power of two")
        if not 0 <= self.straggler_timeout < np.inf:
            raise ValueError(
                f"straggler_timeout {self.straggler_timeout:g} s: must be 0 or more"
            )
        job = JobConfig(
            job=1,
            workers=(("10.0.0.1", 1),) * self.num_workers,
            num_slots=self.num_slots,
            slot_bytes=self.slot_bytes,
            straggler_timeout=self.straggler_timeout,
            overflow=self.overflow,
            code4=self.code4,
            code8=self.code8,
        )
        self.layout = lay_out(self.tree, job)
        longest = HEADER_BYTES + max(self.slot_bytes, STATUS_BYTES)
        self.block_bytes = -(-longest // CACHE_LINE) * CACHE_LINE
        nodes, paths = self.layout.nodes, self.layout.paths
        links, lines = links_of(paths, nodes, self.cables, self.cable, self.seed)
        self.world = World(
            nodes,
            new_air(links, lines, self.block_bytes, FLIGHTS, BLOCKS),
            new_switches(self.layout, self.rule),
            new_workers(self.layout, self.window or self.num_slots, self.recovery),
            new_desk(self.slot_bytes),
            self._totals(shortest(links)),
            self._new_roll(0),
            np.zeros(HEADER_BYTES + self.slot_bytes, np.uint8),
            int(self.rule),
            self.block_bytes,
            int(not lines[nodes.at_rank]["corruption"].any()),
        )
        self.now = 0.0
        self.left_behind: dict[int, int] = {}

    def _new_roll(self, num_chunks: int) -> Roll:
        waits_for_all = self.straggler_timeout == 0
        chunks = 0 if waits_for_all else num_chunks
        return new_roll(self.layout.nodes, self.num_slots, chunks)

    def _totals(self, stretch: float) -> Totals:
        waits = np.full(1, NOBODY)
        return Totals(np.zeros(1, np.int64), np.array([0.0, stretch]), waits)

    def aggregate(
        self,
        num_elements: int,
        element_type: ElementType = ElementType.INT32,
        result_type: ElementType | None = None,
        *,
        starts: Sequence[float] = (),
        progress: Callable[[int], None] = lambda chunks: None,
        timeout: float = TIMEOUT,
    ) -> Report:
        """Sum a vector of every worker, made from the seed, and check the sums.

        Vectors lie nowhere: a payload is made when it is needed, and every result is
        compared with the exact sum of those who are in it, bit by bit. `starts`: when
        each worker begins, in virtual seconds from now; none: all at once. What reaches
        a worker before is lost. `progress` is told how many chunks the slowest worker
        has. Raises SimulationError if a sum or a counter is wrong, and neither the rule
        `switchml` nor damage that no checksum catches can be why; or if `timeout`
        virtual seconds have passed.
        """
        result_type = element_type if result_type is None else result_type
        result_width = ELEMENT_BYTES[result_type]
        per_chunk = self.slot_bytes // result_width
        task = Task(
            kind=kind_of(Reduction.SUM, element_type, result_type),
            num_chunks=-(-num_elements // per_chunk),
            elements_per_chunk=per_chunk,
        )
        roll = self._new_roll(task.num_chunks)
        plan = payloads.new_plan(
            self.seed, self.num_workers, ELEMENT_BYTES[element_type], result_width,
            num_elements, per_chunk, self.num_slots, roll.present,
        )  # fmt: skip
        report = self.run(
            task, from_seed(plan), plan.wrong, progress,
            timeout=timeout, starts=starts, roll=roll,
        )  # fmt: skip
        certain = self.rule == Rule.SAFE and not report.faults["missed"]
        if certain and report.contradictions():
            raise SimulationError("; ".join(report.contradictions()))
        return report

    def run(
        self,
        task: Task,
        plan: Contents,
        checks: NDArray[np.int64],
        progress: Callable[[int], None] = lambda chunks: None,
        on_wanting: Callable[[int], None] = lambda rank: None,
        timeout: float = TIMEOUT,
        starts: Sequence[float] = (),
        roll: Roll | None = None,
    ) -> Report:
        """One aggregation, of what `plan` has.

        `checks`: [2] results that were found wrong, results that were checked. When
        chunks of a worker have not been made yet, `on_wanting(rank)` is to make them.
        `roll` is to be filled, where somebody looks at it. Raises SimulationError as
        `aggregate`.
        """
        self._begin(task, starts)
        roll = self._new_roll(task.num_chunks) if roll is None else roll
        self.world = self.world._replace(roll=roll)
        unfinished = unfinished_slots(self.world)
        start_counting(self.world, self.now)
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
            elif why == LEFT and self.straggler_timeout > 0:
                self._give_up()
            elif why != PAUSED:
                raise SimulationError(self._describe(why))
        width = bytes_of(task.elements_per_chunk, result_type_of(task.kind))
        report = new_report(
            self.world, self.now, task.num_chunks, task.num_chunks * width, checks,
            self.left_behind, unfinished,
        )  # fmt: skip
        self.now = float(self.world.totals.now[0])
        return report

    def _describe(self, why: int) -> str:
        windows = self.world.workers.windows
        left, done = windows["left_behind"], windows["done"]
        slowest = int(left.argmax() if why == LEFT else done.argmin())
        chunks = windows["num_chunks"][slowest]
        reason = {
            STUCK: "nothing is under way any more",
            OVER: "it takes too long",
            LEFT: "the switch has gone on without it",
        }
        progress = f"{done[slowest]} of {chunks} results"
        return f"worker {slowest} has {progress}: {reason[why]}"

    def _give_up(self) -> None:
        """A worker that was left behind sits out the rest of an aggregation. It takes
        part in the next one, as if it had brought itself up to date."""
        workers = self.world.workers
        windows = workers.windows
        rank = int(windows["left_behind"].argmax())
        self.left_behind[rank] = int(windows["done"][rank])
        if len(self.left_behind) == self.num_workers:
            # one was ahead in one slot, one in another: the switch is where nobody is
            raise SimulationError("every worker has been left behind by another one")
        windows["left_behind"][rank] = 0
        windows["done"][rank] = windows["num_chunks"][rank]
        workers.slots[rank]["state"] = win.IDLE
        workers.finished[rank] = np.inf
        self.world.totals.finished[0] += 1

    def _begin(self, task: Task, starts: Sequence[float]) -> None:
        """Raises ValueError for `starts` that say not when each worker begins."""
        at_once = len(starts) == 0
        begins = np.zeros(self.num_workers) if at_once else np.array(starts)
        allowed = (begins >= 0) & (begins < np.inf)
        if begins.shape != (self.num_workers,) or not allowed.all():
            raise ValueError(
                f"starts {starts}: must be {self.num_workers} times from 0 s on"
            )
        workers = self.world.workers
        for rank in range(self.num_workers):
            state = win.State(
                workers.windows[rank : rank + 1], workers.slots[rank],
                workers.fresh[rank], workers.again[rank], workers.estimates[rank],
            )  # fmt: skip
            win.begin(state, task.num_chunks, task.kind, task.elements_per_chunk)
        workers.clock[:] = self.now
        workers.begins[:] = workers.wake[:] = self.now + begins
        late = begins > 0
        workers.windows["next_timeout"][late] = workers.begins[late]
        self.left_behind = {}
        self.world.totals.finished[0] = 0
        desk = new_desk(bytes_of(task.elements_per_chunk, element_type_of(task.kind)))
        self.world = self.world._replace(desk=desk)
