"""One job on a tree of switches in virtual time: built once, aggregates as often as
asked, and says what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host import window as win
from intswitch.sim import payloads
from intswitch.sim.contents import Contents, from_seed
from intswitch.sim.report import Report, link_figures, unfinished_slots
from intswitch.sim.roll import Roll, new_roll
from intswitch.sim.simulated import (
    ANYWHERE,
    TIMEOUT,
    Simulated,
    SimulationError,
    Task,
    sum_of,
)
from switch.codes import Table
from switch.config import JobConfig
from switch.protocol import ElementType, Overflow, Rule


@dataclass(kw_only=True)
class Simulation(Simulated):
    """One job on a tree of switches."""

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

    def __post_init__(self) -> None:
        self.num_workers = self._count_workers()
        if not 0 <= self.straggler_timeout < np.inf:
            raise ValueError(
                f"straggler_timeout {self.straggler_timeout:g} s: must be 0 or more"
            )
        job = JobConfig(
            job=1,
            workers=(ANYWHERE,) * self.num_workers,
            num_slots=self.num_slots,
            slot_bytes=self.slot_bytes,
            straggler_timeout=self.straggler_timeout,
            overflow=self.overflow,
            code4=self.code4,
            code8=self.code8,
        )
        self._build([job], [tuple(range(self.num_workers))], [self.window])
        self.left_behind: dict[int, int] = {}

    def _new_roll(self, num_chunks: int) -> Roll:
        waits_for_all = self.straggler_timeout == 0
        chunks = 0 if waits_for_all else num_chunks
        return new_roll(self.layout.nodes, self.num_slots, chunks)

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
        task = sum_of(num_elements, element_type, result_type, self.slot_bytes)
        roll = self._new_roll(task.num_chunks)
        vector = payloads.vector(
            num_elements, task.elements_per_chunk, element_type, result_type,
            self.num_workers,
        )  # fmt: skip
        job_of = np.zeros(self.num_workers, np.int64)
        plan = payloads.new_plan(
            self.seed, [vector], job_of, self.num_slots, roll.present
        )
        report = self.run(
            task, from_seed(plan), payloads.checks_of(plan, 0), progress,
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
        checks: Any,
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
        begins = self._begins(starts)
        roll = self._new_roll(task.num_chunks) if roll is None else roll
        self.world = self.world._replace(roll=roll)
        self.left_behind = {}
        unfinished, began = unfinished_slots(self.world), self.now
        self._begin([task], [begins])
        self._go(plan, timeout, progress, on_wanting)
        return Report(
            **self._figures(0, task, began, checks), **link_figures(self.world),
            left_behind=self.left_behind, unfinished=unfinished,
        )  # fmt: skip

    def _leave_behind(self) -> None:
        """A worker that was left behind sits out the rest of an aggregation. It takes
        part in the next one, as if it had brought itself up to date."""
        if self.straggler_timeout == 0:
            super()._leave_behind()
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

    def _begins(self, starts: Sequence[float]) -> NDArray[np.float64]:
        """Raises ValueError for `starts` that say not when each worker begins."""
        at_once = len(starts) == 0
        begins = np.zeros(self.num_workers) if at_once else np.array(starts)
        allowed = (begins >= 0) & (begins < np.inf)
        if begins.shape != (self.num_workers,) or not allowed.all():
            raise ValueError(
                f"starts {starts}: must be {self.num_workers} times from 0 s on"
            )
        return begins
