"""The loop over stretches of virtual time, compiled whole for streams that are kernels.

`advance` returns when Python is to decide something.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.packetizer import Contributions, Results, make_ready
from intswitch.sim.air import NEVER, has_room
from intswitch.sim.state import (
    CONTRIBUTIONS,
    LANDED,
    RESULTS,
    ROOM,
    World,
)
from intswitch.sim.step import clear_desk, complete, listen, serve, speak
from intswitch.sim.tree import NOBODY, Nodes
from switch.compiled import kernel, specialize
from switch.protocol import HEADER_BYTES
from switch.slots import NEXT_LOOK

Integers = NDArray[np.int64]
Times = NDArray[np.float64]

# Why `advance` returned: all workers have their results; there is no room for packets;
# nothing will ever happen; virtual time is over; the switch has gone on without a
# worker; it is time to show progress; a worker's chunks have not been made yet.
DONE, CROWDED, STUCK, OVER, LEFT, PAUSED, WANTING = range(7)
TURNS = 20_000
"""Of workers, between two looks at progress: some tenths of a second."""


@kernel
def next_event(due: Times, wake: Times, clock: Times) -> float:
    """When something happens next, or NEVER. See `Air`, `Workers` and `Switches`."""
    earliest = NEVER
    for at in range(due.size):
        earliest = min(earliest, due[at])
    for rank in range(wake.size):
        earliest = min(earliest, wake[rank])
    for number in range(clock.shape[0]):
        earliest = min(earliest, clock[number, NEXT_LOOK])
    return float(earliest)


@kernel
def is_due(
    nodes: Nodes, due: Times, wake: Times, clock: Times, node: int, until: float
) -> bool:
    """Whether something happens at a node before `until`."""
    number = nodes.switch[node]
    if due[nodes.switch.size + node] < until:
        return True
    if number < 0:
        return bool(wake[nodes.rank[node]] < until)
    if clock[number, NEXT_LOOK] < until:
        return True
    first = nodes.first_child[number]
    for child in range(first, first + nodes.num_children[number]):
        if due[child] < until:
            return True
    return False


def make(plan: Any, worker: int, chunk: int, payload: Any) -> None:
    """Stands for a kernel in `say`; see `step.complete`."""
    raise NotImplementedError


def is_made(plan: Any, worker: int, chunks: Integers) -> bool:
    """Stands for a kernel in `advance`: whether all these chunks can be sent."""
    raise NotImplementedError


def write_fields(
    plan: Any, worker: int, chunks: Integers, contributions: Contributions
) -> None:
    """Stands for a kernel in `say`: what is not as in any full contribution."""
    raise NotImplementedError


def drain_rows(plan: Any, worker: int, chunks: Integers, results: Results) -> None:
    """Stands for a kernel in `hear`."""
    raise NotImplementedError


def hear(world: World, plan: Any, node: int, until: float) -> None:
    """A worker's events before `until`, as many as there is room for."""
    desk, rank = world.desk, world.nodes.rank[node]
    listen(world, node, until)
    count, arrived = desk.used[RESULTS], desk.arrived
    if count > 0:
        results = Results(
            world.air.blocks, arrived.payload_at, arrived.element_count,
            arrived.num_workers, arrived.exponent, arrived.flags,
        )  # fmt: skip
        drain_rows(plan, rank, arrived.chunks[:count], results)
    clear_desk(world.air, desk.landed[: desk.used[LANDED]])


def say(world: World, plan: Any, node: int) -> None:
    """Send what a worker has decided to send."""
    desk, rank = world.desk, world.nodes.rank[node]
    count = desk.used[CONTRIBUTIONS]
    chunks = desk.chunks[:count]
    make_ready(desk.contributions, count, world.workers.windows[rank].full_count)
    write_fields(plan, rank, chunks, desk.contributions)
    if world.hollow == 0:
        for row in range(count):
            payload = desk.contributions.packets[row][HEADER_BYTES:]
            make(plan, rank, chunks[row], payload)
    speak(world, node)


def advance(world: World, plan: Any, end: float) -> int:
    """Go on until all workers have their results and nothing is under way any more, at
    most until `end`; why it ended."""
    totals, workers, desk = world.totals, world.workers, world.desk
    due, wake, clock = world.air.due, workers.wake, world.switches.clock
    turns = 0
    if totals.waits[0] != NOBODY:
        say(world, plan, totals.waits[0])
        totals.waits[0] = NOBODY
    while True:
        until = totals.now[0]
        for node in range(world.nodes.switch.size):
            rank = world.nodes.rank[node]
            while is_due(world.nodes, due, wake, clock, node, until):
                if rank == NOBODY:
                    if not serve(world, plan, node, until):
                        return CROWDED
                    continue
                if not has_room(world.air, 4 * ROOM, 4 * ROOM):
                    return CROWDED
                hear(world, plan, node, until)
                turns += 1
                if workers.windows[rank].left_behind:
                    return LEFT
                if not is_made(plan, rank, desk.chunks[: desk.used[CONTRIBUTIONS]]):
                    totals.waits[0] = node
                    return WANTING
                say(world, plan, node)
        begins = next_event(due, wake, clock)
        all_finished = totals.finished[0] == wake.size
        if begins == NEVER:
            return DONE if all_finished else STUCK
        if begins > end and not all_finished:
            return OVER
        if begins > end and next_event(due, wake, clock[:0]) == NEVER:
            return DONE  # switches look for stragglers in a later aggregation
        totals.now[0] = begins + totals.now[1]
        if turns > TURNS:
            return PAUSED


class Payloads(NamedTuple):
    """The kernels that know what is in contributions and results; see above."""

    make: Callable[..., None]
    is_made: Callable[..., bool]
    write_fields: Callable[..., None]
    drain_rows: Callable[..., None]


@cache
def loop_of(kernels: Payloads) -> Any:
    """`advance` for these kernels."""
    make = kernels.make
    return specialize(
        advance,
        serve=specialize(serve, complete=specialize(complete, make=make)),
        hear=specialize(hear, drain_rows=kernels.drain_rows),
        say=specialize(say, make=make, write_fields=kernels.write_fields),
        is_made=kernels.is_made,
    )
