"""Sans-IO sliding window over slots: what to send, and when to send it again.

Chunk c of an aggregation has the sequence `first + c` and lives in slot
`sequence mod num_slots`. It may be sent once the result of c - num_slots is in. A
limit smaller than num_slots bounds the packets in flight, but for the oldest chunk,
and changes no mapping.

The state of one worker is a record, an array of slots and two queues; compiled
functions step it, so that one call can step many workers. Times are in seconds. What
arrives is the matter of `arrivals.py`, what is lost that of `losses.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.recovery import PATIENT, Recovery, new_estimate, timeout_after
from switch.compiled import kernel
from switch.protocol import SEQUENCE_MASK

Integers = NDArray[np.int64]

NEVER = np.inf

# states of a slot
IDLE, FRESH, AGAIN, ASK, SENT = range(5)

SLOT = np.dtype(
    [
        ("chunk", np.int64),
        ("state", np.int64),
        ("sent_at", np.float64),
        ("deadline", np.float64),
        ("timeouts", np.int64),  # since the chunk was first sent
        ("expired", np.int64),  # those of them that a timer told, and no answer
        ("silent", np.int64),  # timeouts since anything was heard about the chunk
        ("excused", np.int64),  # timeouts without evidence of a loss
        ("queries", np.int64),
        ("queued", np.int64),  # 1: in the queue `again`
        ("number", np.int64),  # of its last packet, among all of the aggregation
    ]
)

WINDOW = np.dtype(
    [
        ("num_slots", np.int64),
        ("limit", np.int64),  # packets in flight
        ("job", np.int64),
        ("worker", np.int64),  # rank
        ("bit", np.int64),  # this and the next two: see Seat
        ("num_children", np.int64),
        ("below", np.int64),
        ("num_workers", np.int64),  # of the whole job
        ("first", np.int64),  # sequence of chunk 0
        ("num_chunks", np.int64),
        ("kind", np.int64),
        ("full_count", np.int64),  # elements of a result that has a payload
        ("done", np.int64),  # chunks whose results are in
        ("in_flight", np.int64),
        ("oldest", np.int64),  # no chunk below it is unfinished
        ("newest_sent_at", np.float64),  # of the answered packet that was sent last:
        ("newest_chunk", np.int64),  # when, and which one of those sent together
        ("newest_rtt", np.float64),  # the last round-trip time seen
        ("newest_number", np.int64),  # the largest number of an answered packet
        ("sent", np.int64),  # packets of the aggregation
        ("shortest_rtt", np.float64),
        ("patience", np.float64),  # this and the next: see Recovery
        ("packet_threshold", np.int64),
        ("repaired", np.int64),  # answers in a row to packets that were repeated
        ("next_timeout", np.float64),
        ("rtt", np.float64),  # the longest in the batch at hand; negative: none
        ("missing", np.uint64),  # children that the last status showed missing
        ("silent", np.int64),  # the most unanswered timeouts of a chunk
        ("left_behind", np.int64),  # 1: the switch has gone on without this worker
        ("fresh_head", np.int64),
        ("fresh_tail", np.int64),
        ("again_head", np.int64),
        ("again_tail", np.int64),
        ("partial", np.int64),  # results without some that were late
        ("ignored", np.int64),  # packets received that answer nothing outstanding
    ]
)


class Seat(NamedTuple):
    """A worker's place at its switch: what it must know to read a status."""

    bit: int
    """Of the worker in the switch's bitmap."""
    num_children: int
    """Bits of the bitmap: the workers and switches below that switch."""
    below: int
    """Workers that these stand for."""


def seat_at(rank: int, behind: Sequence[tuple[int, ...]]) -> Seat:
    """A worker's seat at a switch whose children lead to these ranks, by their bits."""
    return Seat(behind.index((rank,)), len(behind), sum(map(len, behind)))


class State(NamedTuple):
    """One worker's window. A simulator keeps many."""

    window: NDArray[Any]
    """[1] record of WINDOW."""
    slots: NDArray[Any]
    """[num_slots] records of SLOT."""
    fresh: Integers
    """[num_slots] queue of slots whose chunk was never sent."""
    again: Integers
    """[num_slots] queue of slots whose chunk is to be sent or asked for again."""
    estimate: NDArray[np.float64]


class Outgoing(NamedTuple):
    """What to send now: contributions, or queries, never both."""

    chunks: Integers
    repeated: Integers
    """1 where the contribution was sent before."""


def new_state(
    *,
    num_slots: int,
    limit: int,
    job: int,
    worker: int,
    num_workers: int,
    seat: Seat | None = None,
    recovery: Recovery = PATIENT,
) -> State:
    """A window before its first aggregation. `num_slots` is a power of two.

    `seat` is None where all workers are at one switch.
    """
    window = np.zeros(1, WINDOW).view(np.recarray)
    window.num_slots = num_slots
    window.limit = limit
    window.job = job
    window.worker = worker
    window.bit, window.num_children, window.below = seat or Seat(
        worker, num_workers, num_workers
    )
    window.num_workers = num_workers
    window.shortest_rtt = NEVER
    window.patience = recovery.patience
    window.packet_threshold = recovery.packet_threshold
    slots = np.zeros(num_slots, SLOT).view(np.recarray)
    queues = np.zeros((2, num_slots), np.int64)
    return State(window, slots, queues[0], queues[1], new_estimate(recovery))


@kernel
def begin(state: State, num_chunks: int, kind: int, full_count: int) -> None:
    """Start an aggregation. The last one must be finished."""
    window = state.window[0]
    for at in range(window.num_slots):
        state.slots[at].state = IDLE
        state.slots[at].queued = 0
    window.first = (window.first + window.num_chunks) & SEQUENCE_MASK
    window.num_chunks = num_chunks
    window.kind = kind
    window.full_count = full_count
    window.done = 0
    window.in_flight = 0
    window.oldest = 0
    window.newest_sent_at = -NEVER
    window.newest_chunk = -1
    window.newest_number = -1
    window.sent = 0
    window.repaired = 0
    window.next_timeout = NEVER
    window.silent = 0
    window.missing = 0
    window.fresh_head = window.fresh_tail = 0
    window.again_head = window.again_tail = 0
    for chunk in range(min(num_chunks, window.num_slots)):
        release(state, chunk)


@kernel
def slot_of(window: Any, chunk: int) -> int:
    return int((window.first + chunk) & (window.num_slots - 1))


@kernel
def release(state: State, chunk: int) -> None:
    """Queue a chunk that may be sent from now on."""
    window = state.window[0]
    at = slot_of(window, chunk)
    slot = state.slots[at]
    slot.chunk = chunk
    slot.state = FRESH
    slot.timeouts = 0
    slot.expired = 0
    slot.silent = 0
    slot.excused = 0
    slot.queries = 0
    state.fresh[window.fresh_tail % window.num_slots] = at
    window.fresh_tail += 1


@kernel
def send_again(state: State, at: int, how: int) -> None:
    """Queue a slot whose packet is thought lost: `how` is AGAIN or ASK."""
    window = state.window[0]
    slot = state.slots[at]
    slot.state = how
    if slot.queued == 0:
        slot.queued = 1
        state.again[window.again_tail % window.num_slots] = at
        window.again_tail += 1


@kernel
def mark_sent(state: State, slot: Any, now: float) -> None:
    window = state.window[0]
    slot.state = SENT
    slot.sent_at = now
    slot.number = window.sent
    window.sent += 1
    slot.deadline = now + timeout_after(state.estimate, slot.expired)
    window.next_timeout = min(window.next_timeout, slot.deadline)


@kernel
def take_repeats(state: State, now: float, how: int, out: Outgoing) -> int:
    """Chunks to be sent again, or asked for, as `how` says; stops at the other kind."""
    window = state.window[0]
    count = 0
    while window.again_head < window.again_tail and count < out.chunks.size:
        slot = state.slots[state.again[window.again_head % window.num_slots]]
        if slot.state in (AGAIN, ASK) and slot.state != how:
            break
        window.again_head += 1
        slot.queued = 0
        if slot.state == how:  # else its result has come meanwhile
            out.chunks[count] = slot.chunk
            out.repeated[count] = 1
            slot.queries += 1 if how == ASK else 0
            mark_sent(state, slot, now)
            count += 1
    return count


@kernel
def take_fresh(state: State, now: float, count: int, out: Outgoing) -> int:
    """Chunks never sent before, as far as the limit allows.

    The oldest chunk goes beyond it: else workers whose results came in another order
    could fill their windows with chunks that wait for each other.
    """
    window = state.window[0]
    if window.in_flight >= window.limit:
        oldest_first(state)
    while window.fresh_head < window.fresh_tail and count < out.chunks.size:
        slot = state.slots[state.fresh[window.fresh_head % window.num_slots]]
        if window.in_flight >= window.limit and slot.chunk != window.oldest:
            break
        window.fresh_head += 1
        out.chunks[count] = slot.chunk
        out.repeated[count] = 0
        mark_sent(state, slot, now)
        window.in_flight += 1
        count += 1
    return count


@kernel
def oldest_first(state: State) -> None:
    """Move the oldest chunk, if it waits to be sent, to the head of its queue."""
    window = state.window[0]
    advance_oldest(state)
    head = window.fresh_head % window.num_slots
    for i in range(window.fresh_head, window.fresh_tail):
        at = state.fresh[i % window.num_slots]
        if state.slots[at].chunk == window.oldest:
            state.fresh[i % window.num_slots] = state.fresh[head]
            state.fresh[head] = at
            return


@kernel
def contributions_due(state: State, now: float, out: Outgoing) -> int:
    """Rows of `out` to send as contributions, repeats first; how many."""
    return take_fresh(state, now, take_repeats(state, now, AGAIN, out), out)


@kernel
def queries_due(state: State, now: float, out: Outgoing) -> int:
    """Rows of `out` to send as queries; how many."""
    return take_repeats(state, now, ASK, out)


@kernel
def advance_oldest(state: State) -> None:
    """Move `oldest` over chunks whose slot has gone on to a later one, or is idle."""
    window = state.window[0]
    while window.oldest < window.num_chunks:
        slot = state.slots[slot_of(window, window.oldest)]
        if slot.chunk == window.oldest and slot.state != IDLE:
            return
        window.oldest += 1
