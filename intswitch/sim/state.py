"""The switches and workers of a tree, each kind in arrays of its own, for kernels.

A switch is the pipeline's state, a worker the host's window: the same records that one
switch or one worker alone has, with one more index.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host import window as win
from host.arrivals import Arrived
from host.packetizer import Contributions, new_contributions
from host.recovery import Recovery, new_estimate
from intswitch.sim.air import Air
from intswitch.sim.ports import Ports, new_ports
from intswitch.sim.roll import Roll
from intswitch.sim.tree import NOBODY, Layout, Nodes
from switch.aggregate import NUM_COUNTERS, State
from switch.compiled import kernel, plain
from switch.config import SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import HEADER_BYTES, MAX_WORKERS, Rule
from switch.replicate import Copies, new_copies
from switch.slots import SLOT, Registers
from switch.tables import JOB
from switch.tree import ranks_behind
from switch.udp import PACKET, Rows

Integers = NDArray[np.int64]
Times = NDArray[np.float64]

ROOM = 256  # packets that a worker handles before its payloads are filled and drained

# What a job's slots at a switch have been doing.
OCCUPANCY = np.dtype(
    [
        ("held", np.int64),  # slots taken over whose result is not out
        ("most", np.int64),
        ("since", np.float64),
        ("integral", np.float64),  # slot seconds
    ]
)


class Switches(NamedTuple):
    """All switches. The first index is the switch's number."""

    row_of: Integers
    """[sets of jobs, 65536]"""
    jobs_at: Integers
    """[switches] which set of jobs passes through it: a row of `row_of`."""
    jobs: NDArray[Any]
    """[switches, jobs] records of JOB; a job has the same row at all that it passes
    through."""
    slots: NDArray[Any]
    """[switches, versions of slots] records of SLOT."""
    values: NDArray[np.uint8]
    """[switches, versions of slots, slot_bytes]"""
    clock: NDArray[np.float64]
    """[switches, 2] See `switch.slots.Registers`."""
    scratch: NDArray[np.uint8]
    counters: Integers
    """[switches, 1 + jobs, NUM_COUNTERS]"""
    out: Copies
    """Of the packet at hand."""
    occupancy: NDArray[Any]
    """[switches, 1 + jobs] records of OCCUPANCY, in the order of the counters."""
    ports: Ports
    """Of the switch at hand."""


class Workers(NamedTuple):
    """All workers. The first index is the rank."""

    windows: NDArray[Any]
    slots: NDArray[Any]
    fresh: Integers
    again: Integers
    estimates: Times
    clock: Times
    """[workers] when each last did something."""
    begins: Times
    """[workers] when each begins with the aggregation; what comes before is lost."""
    wake: Times
    """[workers] when each will without a packet; NEVER when it is done."""
    finished: Times
    """[workers] when each had its last result."""
    sent: Integers
    """[workers] contributions and queries."""
    repeated: Integers
    """[workers] contributions that were sent before."""
    queries: Integers
    received: Integers
    """[workers] packets."""


class Desk(NamedTuple):
    """Where one worker's packets of a moment lie: those that came, those to be sent."""

    row: Rows
    """One packet."""
    arrived: Arrived
    landed: Integers
    """[ROOM] blocks of packets that came."""
    chunks: Integers
    """[ROOM] of contributions to be sent."""
    repeated: Integers
    asked: Integers
    """[ROOM] chunks of queries."""
    nothing: Integers
    """[ROOM] what is known of queries and of no interest."""
    is_query: Integers
    """[2 * ROOM] of all that is to be sent, in order."""
    when: Times
    """[2 * ROOM] when each is."""
    contributions: Contributions
    buffer: NDArray[np.uint8]
    """Their memory."""
    packets: Any
    """[ROOM] records of PACKET."""
    query_buffer: NDArray[np.uint8]
    query_packets: Any
    used: Integers
    """[USED]"""


# Places in Desk.used: results that count, packets that came, contributions, queries,
# both together.
RESULTS, LANDED, CONTRIBUTIONS, QUERIES, OUTGOING = range(5)
USED = 5


class Totals(NamedTuple):
    """Of a simulation."""

    finished: Integers
    """[1] workers that have all their results."""
    now: Times
    """[2] the end of the stretch of time at hand; how long a stretch can be."""
    waits: Integers
    """[1] node of the worker whose chunks are being made, or NOBODY."""


class World(NamedTuple):
    """All that the kernels step."""

    nodes: Nodes
    air: Air
    switches: Switches
    workers: Workers
    desk: Desk
    totals: Totals
    roll: Roll
    packet: NDArray[np.uint8]
    """The one at hand, where its payload has just been made."""
    rule: int
    block_bytes: int
    hollow: int
    """1: contributions are under way without their payloads; see `speak`."""


def new_switches(layout: Layout, rule: Rule) -> Switches:
    """Every switch's tables as `Pipeline` programs them; nothing held."""
    slots = [sum(job.num_slots for job in jobs.values()) for jobs in layout.jobs]
    # the root has every job
    slot_bytes = max(job.slot_bytes for job in layout.jobs[0].values())
    count, rows, versions = len(layout.jobs), len(layout.members), 2 * max(slots)
    sets = list(dict.fromkeys(map(tuple, layout.jobs)))
    row_of = np.full((len(sets), 1 << 16), NOBODY)
    jobs_at = np.array([sets.index(tuple(jobs)) for jobs in layout.jobs])
    tables = np.zeros((count, rows), JOB)
    for number, jobs in enumerate(layout.jobs):
        pipeline = Pipeline(
            SwitchConfig(rule=rule, num_slots=max(slots), slot_bytes=slot_bytes)
        )
        for port in layout.ports_of(number):
            pipeline.known.number(port)  # so that its number is the port's
        for row, job in jobs.items():
            pipeline.install(job)
            installed = pipeline.state.row_of[job.job]
            tables[number, row] = np.asarray(pipeline.state.jobs)[installed]
            row_of[jobs_at[number], job.job] = row
    out = new_copies(MAX_WORKERS, 1, HEADER_BYTES + slot_bytes)
    return Switches(
        row_of,
        jobs_at,
        plain(tables.view(np.recarray)),
        plain(np.zeros((count, versions), SLOT).view(np.recarray)),
        np.zeros((count, versions, slot_bytes), np.uint8),
        np.full((count, 2), np.inf),
        np.zeros(slot_bytes, np.uint8),
        np.zeros((count, 1 + rows, NUM_COUNTERS), np.int64),
        out._replace(rows=plain(out.rows)),
        plain(np.zeros((count, 1 + rows), OCCUPANCY).view(np.recarray)),
        new_ports(),
    )  # fmt: skip


def new_workers(layout: Layout, limits: Sequence[int], recovery: Recovery) -> Workers:
    """Every worker before its first aggregation. `limits`: of each job's windows."""
    count = layout.nodes.at_rank.size
    num_slots = max(job.num_slots for job in layout.jobs[0].values())
    windows = np.zeros(count, win.WINDOW).view(np.recarray)
    for jobs in layout.jobs:
        for row, job in jobs.items():
            behind = ranks_behind(job)
            children = behind if job.tree is None else job.tree.ranks
            for ranks, child in zip(behind, children, strict=True):
                if job.tree is not None and not isinstance(child, int):
                    continue
                state = win.new_state(
                    num_slots=job.num_slots, limit=limits[row], job=job.job,
                    worker=ranks[0], num_workers=job.num_workers,
                    seat=win.seat_at(ranks[0], behind), recovery=recovery,
                )  # fmt: skip
                windows[layout.members[row][ranks[0]]] = state.window[0]
    slots = np.zeros((count, num_slots), win.SLOT).view(np.recarray)
    fresh, again = np.zeros((2, count, num_slots), np.int64)
    clock, begins, wake, finished = np.zeros((4, count))
    sent, repeated, queries, received = np.zeros((4, count), np.int64)
    return Workers(
        plain(windows), plain(slots), fresh, again,
        np.tile(new_estimate(recovery), (count, 1)),
        clock, begins, wake, finished, sent, repeated, queries, received,
    )  # fmt: skip


def new_desk(payload_bytes: int) -> Desk:
    """`payload_bytes`: of the widest contribution."""
    contributions = new_contributions(ROOM, payload_bytes)
    landed, chunks, repeated, asked, nothing = np.zeros((5, ROOM), np.int64)
    return Desk(
        Rows(np.zeros(1, np.uint8), *np.zeros((3, 1), np.int64)),
        Arrived(*np.zeros((6, ROOM), np.int64)),
        landed, chunks, repeated, asked, nothing,
        np.zeros(2 * ROOM, np.int64),
        np.zeros(2 * ROOM),
        contributions,
        contributions.packets.reshape(-1),
        plain(np.zeros(ROOM, PACKET).view(np.recarray)),
        np.zeros(ROOM * HEADER_BYTES, np.uint8),
        plain(np.zeros(ROOM, PACKET).view(np.recarray)),
        np.zeros(USED, np.int64),
    )  # fmt: skip


@kernel
def window_of(workers: Workers, rank: int) -> win.State:
    return win.State(
        workers.windows[rank : rank + 1],
        workers.slots[rank],
        workers.fresh[rank],
        workers.again[rank],
        workers.estimates[rank],
    )


@kernel
def state_of(switches: Switches, number: int) -> State:
    return State(
        switches.row_of[switches.jobs_at[number]],
        switches.jobs[number],
        Registers(
            switches.slots[number], switches.values[number], switches.clock[number]
        ),
        switches.scratch,
        switches.counters[number],
    )
