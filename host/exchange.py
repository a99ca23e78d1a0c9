"""The loop of one aggregation: send what is due, take what arrives. Compiled whole.

Python is asked only when something else is to be decided; `exchange` returns why.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.arrivals import Arrived, receive
from host.losses import expire
from host.packetizer import (
    Contributions,
    Results,
    assemble,
    assemble_queries,
    make_ready,
)
from host.window import Outgoing, State, contributions_due, queries_due
from switch.addresses import Table
from switch.compiled import kernel, specialize
from switch.messages import Inlet, Outlet, receive_rows, send_trains
from switch.parser import element_type_of
from switch.system import clock, poll, sched_yield
from switch.udp import LENGTH, couple

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

# Why `exchange` returned: all results are in; a timer ran out; there is news from the
# control plane; the kernel refused to send, or to receive; it is time for Python.
DONE, LATE, NEWS, REFUSED, FAILED, PAUSED = range(6)

# Places in Line.counts.
SENT, RECEIVED, RETRANSMITTED, QUERIED, BYTES_SENT, BYTES_RECEIVED, ERROR = range(7)
COUNTS = 7
# Places in Line.seconds: in `fill_rows`; in `drain_rows`; when a packet last came.
FILL, DRAIN, HEARD = range(3)

# Seconds. A worker that waits looks for packets again and again before it sleeps, and
# lets others run meanwhile: to be woken costs as much as a train does.
PATIENCE = 2e-5


class Line(NamedTuple):
    """One worker's end of the network."""

    inlet: Inlet
    group: Inlet
    """The same memory, another socket: for what comes to the multicast group.
    Descriptor -1: there is none."""
    outlet: Outlet
    nobody: Table
    """Sources need no number here: the socket is connected."""
    contributions: Contributions
    buffer: Bytes
    """The memory of the contributions' packets, and of all that is sent."""
    outgoing: Outgoing
    arrived: Arrived
    packets: Any
    """Records of `switch.udp.PACKET`."""
    open_train: Integers
    trains: Integers
    """[packets of a batch, 4] what is being sent; see `udp.couple`."""
    progress: Integers
    """[2] trains in `trains`, and how many of them have been sent."""
    polled: Any
    """[3] records of `switch.system.POLL`: data, news from the control plane, data to
    the group."""
    counts: Integers
    """[COUNTS]"""
    seconds: NDArray[np.float64]
    """[3]"""


@kernel
def ship(line: Line, rows: int) -> bool:
    """Send the first `rows` packets; False if the kernel refused one."""
    outlet, trains = line.outlet, line.trains
    count = couple(line.packets, rows, outlet.most[0], line.open_train, trains)
    sent = send_trains(outlet, trains, count, 0)
    line.progress[0], line.progress[1] = count, sent
    line.counts[SENT] += rows
    for i in range(count):
        line.counts[BYTES_SENT] += trains[i, LENGTH]
    return sent == count


@kernel
def ask(state: State, line: Line, now: float) -> bool:
    """Send the queries that are due; False if the kernel refused one."""
    rows = queries_due(state, now, line.outgoing)
    chunks = line.outgoing.chunks[:rows]
    assemble_queries(state.window, chunks, line.buffer, line.packets)
    line.counts[QUERIED] += rows
    return ship(line, rows)


def fill_rows(plan: Any, chunks: Integers, contributions: Contributions) -> None:
    """Stands for a stream's kernel in `send_due`."""
    raise NotImplementedError


def drain_rows(plan: Any, chunks: Integers, results: Results) -> None:
    """Stands for a stream's kernel in `exchange`."""
    raise NotImplementedError


def send_due(plan: Any, state: State, line: Line, now: float) -> bool:
    """Contributions and queries, until nothing more is due; False if the kernel
    refused one."""
    window = state.window[0]
    element_type = element_type_of(window.kind)
    rows = most = line.outgoing.chunks.size
    while rows == most or window.again_head < window.again_tail:
        rows = contributions_due(state, now, line.outgoing)
        if rows > 0:
            chunks = line.outgoing.chunks[:rows]
            make_ready(line.contributions, rows, window.full_count)
            before = clock(line.outlet.room)
            fill_rows(plan, chunks, line.contributions)
            line.seconds[FILL] += clock(line.outlet.room) - before
            line.counts[RETRANSMITTED] += assemble(
                state.window, chunks, line.outgoing.repeated, line.contributions,
                element_type, line.buffer, line.packets,
            )  # fmt: skip
            if not ship(line, rows):
                return False
        if window.again_head < window.again_tail and not ask(state, line, now):
            return False
    return True


@kernel
def read_rows(line: Line) -> int:
    """Packets that have come, of one socket; or -errno.

    What comes to the group ends while something else is missing, so that the other
    socket has its turn.
    """
    if line.group.descriptor >= 0:
        rows = receive_rows(line.group, line.nobody)
        if rows != 0:
            return rows
    return receive_rows(line.inlet, line.nobody)


@kernel
def await_rows(line: Line, wake_at: float) -> int:
    """Packets that have come; 0: it is late, or there is news; or -errno."""
    room = line.inlet.room
    began = clock(room)
    while True:
        rows = read_rows(line)
        now = clock(room)
        if rows != 0 or now >= wake_at:
            return rows
        if now - began > PATIENCE:
            break
        sched_yield()
    milliseconds = np.int32(np.ceil((wake_at - now) * 1e3))
    poll(line.polled.ctypes.data, line.polled.size, milliseconds)
    return read_rows(line)


@kernel
def count_rows(line: Line, rows: int, now: float) -> None:
    line.seconds[HEARD] = now
    line.counts[RECEIVED] += rows
    for i in range(rows):
        line.counts[BYTES_RECEIVED] += line.inlet.rows.length[i]


def exchange(plan: Any, state: State, line: Line, until: float) -> int:
    """Send and receive, at most until `until`; why it returned."""
    window, arrived = state.window[0], line.arrived
    results = Results(
        line.inlet.rows.buffer, arrived.payload_at, arrived.element_count,
        arrived.num_workers, arrived.exponent, arrived.flags,
    )  # fmt: skip
    now = clock(line.inlet.room)
    while True:
        if not send_due(plan, state, line, now):
            return REFUSED
        if window.done == window.num_chunks:
            return DONE
        rows = await_rows(line, min(window.next_timeout, until))
        now = clock(line.inlet.room)
        if rows < 0:
            line.counts[ERROR] = -rows
            return FAILED
        if rows > 0:
            count_rows(line, rows, now)
            count = receive(state, line.inlet.rows, rows, now, arrived)
            before = clock(line.inlet.room)
            drain_rows(plan, arrived.chunks[:count], results)
            line.seconds[DRAIN] += clock(line.inlet.room) - before
        # what lies unread in the socket is not late
        late = now >= window.next_timeout and line.inlet.drained[0] == 1
        if late and window.done < window.num_chunks:
            expire(state, now)
            return LATE
        if line.polled[1]["returned"] != 0:
            return NEWS
        if now >= until:
            return PAUSED


@cache
def loop_of(fill: Callable[..., None], drain: Callable[..., None]) -> Any:
    """`exchange` for streams with these kernels."""
    sending = specialize(send_due, fill_rows=fill)
    return specialize(exchange, send_due=sending, drain_rows=drain)
