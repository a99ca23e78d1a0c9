"""Sans-IO sliding window over slots: what to send, what arrived, when to send again.

Chunk c of an aggregation has the sequence `first + c` and lives in slot
`sequence mod num_slots`. It may be sent once the result of c - num_slots is in. A
window smaller than num_slots bounds the packets in flight and changes no mapping.

The state of one worker is a record, an array of slots and two queues; compiled
functions step it, so that one call can step many workers. Times are in seconds.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.recovery import new_estimate, on_sample, timeout_after
from switch.compiled import kernel
from switch.parser import parse, payload_bytes, read32
from switch.protocol import HEADER_BYTES, SEQUENCE_MASK, STATUS_BYTES, Header, Opcode
from switch.udp import Rows

Integers = NDArray[np.int64]

CONTRIBUTE, QUERY = int(Opcode.CONTRIBUTE), int(Opcode.QUERY)
RESULT, STATUS = int(Opcode.RESULT), int(Opcode.STATUS)
HALF_OF_SEQUENCES = (SEQUENCE_MASK + 1) // 2

RESENDS = 3  # unanswered timeouts before the switch is asked what the slot holds
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
        ("silent", np.int64),  # timeouts since anything was heard about the chunk
        ("excused", np.int64),  # timeouts without evidence of a loss
        ("queries", np.int64),
        ("queued", np.int64),  # 1: in the queue `again`
    ]
)

WINDOW = np.dtype(
    [
        ("num_slots", np.int64),
        ("limit", np.int64),  # packets in flight
        ("job", np.int64),
        ("worker", np.int64),
        ("num_workers", np.int64),
        ("first", np.int64),  # sequence of chunk 0
        ("num_chunks", np.int64),
        ("kind", np.int64),
        ("full_count", np.int64),  # elements of a result that has a payload
        ("done", np.int64),  # chunks whose results are in
        ("in_flight", np.int64),
        ("oldest", np.int64),  # no chunk below it is unfinished
        ("newest_answered", np.float64),  # when the latest answered packet was sent
        ("next_timeout", np.float64),
        ("rtt", np.float64),  # the longest in the batch at hand; negative: none
        ("missing", np.uint64),  # workers that the last status showed missing
        ("silent", np.int64),  # the most unanswered timeouts of a chunk
        ("silent_chunk", np.int64),
        ("left_behind", np.int64),  # 1: the switch has gone on without this worker
        ("fresh_head", np.int64),
        ("fresh_tail", np.int64),
        ("again_head", np.int64),
        ("again_tail", np.int64),
        ("ignored", np.int64),  # packets received that answer nothing outstanding
    ]
)


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


class Arrived(NamedTuple):
    """Results that count, as rows for `Stream.drain`."""

    chunks: Integers
    payload_at: Integers
    element_count: Integers
    num_workers: Integers
    exponent: Integers
    flags: Integers


def new_state(
    *, num_slots: int, limit: int, job: int, worker: int, num_workers: int
) -> State:
    """A window before its first aggregation. `num_slots` is a power of two."""
    window = np.zeros(1, WINDOW).view(np.recarray)
    window.num_slots = num_slots
    window.limit = limit
    window.job = job
    window.worker = worker
    window.num_workers = num_workers
    slots = np.zeros(num_slots, SLOT).view(np.recarray)
    queues = np.zeros((2, num_slots), np.int64)
    return State(window, slots, queues[0], queues[1], new_estimate())


@kernel
def begin(state: State, num_chunks: int, kind: int, full_count: int) -> None:
    """Start an aggregation. The last one must be finished."""
    window = state.window[0]
    window.first = (window.first + window.num_chunks) & SEQUENCE_MASK
    window.num_chunks = num_chunks
    window.kind = kind
    window.full_count = full_count
    window.done = 0
    window.in_flight = 0
    window.oldest = 0
    window.newest_answered = -NEVER
    window.next_timeout = NEVER
    window.silent = 0
    window.missing = 0
    window.fresh_head = window.fresh_tail = 0
    while window.again_head < window.again_tail:  # left over from a finished chunk
        state.slots[state.again[window.again_head % window.num_slots]].queued = 0
        window.again_head += 1
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
    slot.deadline = now + timeout_after(state.estimate, slot.timeouts)
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
    """Chunks never sent before, as far as the limit allows."""
    window = state.window[0]
    while (
        window.fresh_head < window.fresh_tail
        and window.in_flight < window.limit
        and count < out.chunks.size
    ):
        slot = state.slots[state.fresh[window.fresh_head % window.num_slots]]
        window.fresh_head += 1
        out.chunks[count] = slot.chunk
        out.repeated[count] = 0
        mark_sent(state, slot, now)
        window.in_flight += 1
        count += 1
    return count


@kernel
def contributions_due(state: State, now: float, out: Outgoing) -> int:
    """Rows of `out` to send as contributions, repeats first; how many."""
    return take_fresh(state, now, take_repeats(state, now, AGAIN, out), out)


@kernel
def queries_due(state: State, now: float, out: Outgoing) -> int:
    """Rows of `out` to send as queries; how many."""
    return take_repeats(state, now, ASK, out)


@kernel
def expire(state: State, now: float) -> None:
    """Queue what was sent too long ago, and find the next deadline.

    Waiting for another worker looks like loss. So a timeout counts only for the oldest
    chunk, and for those with evidence: a packet sent later has been answered. The
    others are let off until there is some.
    """
    window = state.window[0]
    window.next_timeout = NEVER
    advance_oldest(state)
    for chunk in range(min(window.num_slots, window.num_chunks)):
        at = slot_of(window, chunk)
        slot = state.slots[at]
        if slot.state != SENT:
            continue
        if slot.deadline <= now:
            answered_later = slot.sent_at < window.newest_answered
            if answered_later or slot.chunk == window.oldest:
                slot.timeouts += 1
                slot.silent += 1
                send_again(state, at, AGAIN if slot.timeouts <= RESENDS else ASK)
                if slot.silent > window.silent:
                    window.silent = slot.silent
                    window.silent_chunk = slot.chunk
                window.next_timeout = now
                continue
            slot.excused += 1
            slot.deadline = now + timeout_after(state.estimate, slot.timeouts)
        window.next_timeout = min(window.next_timeout, slot.deadline)


@kernel
def advance_oldest(state: State) -> None:
    """Move `oldest` over chunks whose slot has gone on to a later one, or is idle."""
    window = state.window[0]
    while window.oldest < window.num_chunks:
        slot = state.slots[slot_of(window, window.oldest)]
        if slot.chunk == window.oldest and slot.state != IDLE:
            return
        window.oldest += 1


@kernel
def is_expected(window: Any, header: Header, length: int) -> bool:
    """Whether a result is one that this aggregation can have."""
    right_count = header.element_count in (0, window.full_count)
    right_length = length == HEADER_BYTES + payload_bytes(header)
    return bool(header.kind == window.kind and right_count and right_length)


@kernel
def on_result(state: State, header: Header, length: int, now: float) -> int:
    """The chunk that a result completes, or -1."""
    window = state.window[0]
    chunk = (header.sequence - window.first) & SEQUENCE_MASK
    if chunk >= window.num_chunks or not is_expected(window, header, length):
        return -1
    slot = state.slots[slot_of(window, chunk)]
    if slot.chunk != chunk or slot.state == IDLE or slot.state == FRESH:
        return -1
    # Karn: the answer to a repeated packet has no known cause, and one that was long
    # in coming was waiting for another worker
    if slot.timeouts == 0 and slot.excused == 0:
        window.rtt = max(window.rtt, now - slot.sent_at)
    window.newest_answered = max(window.newest_answered, slot.sent_at)
    window.in_flight -= 1
    window.done += 1
    window.silent = 0
    slot.state = IDLE
    if chunk + window.num_slots < window.num_chunks:
        release(state, chunk + window.num_slots)
    return int(chunk)


@kernel
def on_status(state: State, header: Header, high: int, low: int, now: float) -> None:
    """Learn from what the switch holds whether to wait or to send again."""
    window = state.window[0]
    at = header.sequence & (window.num_slots - 1)
    slot = state.slots[at]
    sequence = (window.first + slot.chunk) & SEQUENCE_MASK
    same_version = ((sequence - header.sequence) & (2 * window.num_slots - 1)) == 0
    if slot.state in (IDLE, FRESH) or not same_version:
        window.ignored += 1
        return
    if slot.queries == 1:
        window.rtt = max(window.rtt, now - slot.sent_at)
    slot.silent = 0
    window.silent = 0
    ahead = (header.sequence - sequence) & SEQUENCE_MASK
    if 0 < ahead < HALF_OF_SEQUENCES:
        window.left_behind = 1
        return
    bitmap = np.uint64(high) << np.uint64(32) | np.uint64(low)
    everybody = ~np.uint64(0) >> np.uint64(64 - window.num_workers)
    own_bit = np.uint64(1) << np.uint64(window.worker)
    is_in = ahead == 0 and bitmap & own_bit != np.uint64(0)
    complete = header.worker == window.num_workers
    if ahead == 0:
        window.missing = ~bitmap & everybody
    if not is_in or complete:
        send_again(state, at, AGAIN)  # it was lost, or its result was


@kernel
def receive(state: State, rows: Rows, count: int, now: float, out: Arrived) -> int:
    """Take in `count` packets; the number of rows of `out`, results that count."""
    window = state.window[0]
    window.rtt = -1.0
    used = 0
    for row in range(count):
        start = rows.offset[row]
        length = rows.length[row]
        if length < HEADER_BYTES:
            window.ignored += 1
            continue
        packet = rows.buffer[start : start + length]
        header = parse(packet)
        if header.format != 1 or header.job != window.job:
            window.ignored += 1
        elif header.opcode == RESULT:
            chunk = on_result(state, header, length, now)
            if chunk < 0:
                window.ignored += 1
                continue
            out.chunks[used] = chunk
            out.payload_at[used] = start + HEADER_BYTES
            out.element_count[used] = header.element_count
            out.num_workers[used] = header.worker
            out.exponent[used] = header.exponent
            out.flags[used] = header.flags
            used += 1
        elif header.opcode == STATUS and length == HEADER_BYTES + STATUS_BYTES:
            on_status(state, header, read32(packet, 16), read32(packet, 20), now)
        else:
            window.ignored += 1
    # One sample a batch: hundreds of equal ones would tell that RTTs do not vary.
    if window.rtt >= 0:
        on_sample(state.estimate, window.rtt)
    return used
