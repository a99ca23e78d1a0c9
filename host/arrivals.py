"""What arrives at a worker: results that count, statuses, and the rest. Sans-IO."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.losses import look_for_gap, note_evidence, note_repair, note_rtt
from host.recovery import on_sample
from host.window import (
    AGAIN,
    FRESH,
    IDLE,
    State,
    release,
    send_again,
    slot_of,
)
from switch.compiled import kernel
from switch.parser import parse, payload_bytes, read32, reduced_kind
from switch.protocol import (
    FORMAT,
    HEADER_BYTES,
    SEQUENCE_MASK,
    STATUS_BYTES,
    Flag,
    Header,
    Opcode,
)
from switch.udp import Rows

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

FINAL = int(Flag.FINAL)
RESULT, STATUS = int(Opcode.RESULT), int(Opcode.STATUS)
HALF_OF_SEQUENCES = (SEQUENCE_MASK + 1) // 2


class Arrived(NamedTuple):
    """Results that count, as rows for a stream's `drain_rows`."""

    chunks: Integers
    payload_at: Integers
    element_count: Integers
    num_workers: Integers
    exponent: Integers
    flags: Integers


@kernel
def is_expected(window: Any, header: Header, length: int) -> bool:
    """Whether a result is one that this aggregation can have.

    Where a switch has switches below it, too, its results are of what was summed.
    """
    summed = reduced_kind(window.kind)
    same_kind = header.kind == window.kind or header.kind == summed
    right_count = header.element_count in (0, window.full_count)
    right_length = length == HEADER_BYTES + payload_bytes(header)
    return bool(same_kind and right_count and right_length)


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
        note_rtt(window, now - slot.sent_at)
    if slot.timeouts > 0:
        note_repair(window, slot, now)
    else:
        window.repaired = 0
        note_evidence(window, slot)
    window.partial += 1 if header.worker < window.num_workers else 0
    window.in_flight -= 1
    window.done += 1
    window.silent = 0
    slot.state = IDLE
    if chunk + window.num_slots < window.num_chunks:
        release(state, chunk + window.num_slots)
    return int(chunk)


@kernel
def on_status(state: State, header: Header, payload: Bytes, now: float) -> None:
    """Learn from what the switch holds whether to wait or to send again.

    A switch that has heard all its children and gives no result waits itself, for the
    switch above: what it has sent there may be lost, and it sends again when we do.
    """
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
        # a slot that holds nothing repeats what it was asked for, by whomever
        window.left_behind = 1 if header.worker > 0 else 0
        return
    high, low = np.uint64(read32(payload, 0)), np.uint64(read32(payload, 4))
    bitmap = high << np.uint64(32) | low
    everybody = ~np.uint64(0) >> np.uint64(64 - window.num_children)
    own_bit = np.uint64(1) << np.uint64(window.bit)
    is_in = ahead == 0 and bitmap & own_bit != np.uint64(0)
    # or final all the same: some are late, and are not waited for
    complete = header.worker == window.below or header.flags & FINAL
    # one that a switch below the one it is of has passed on has no bitmap
    if ahead == 0 and (bitmap != np.uint64(0) or header.worker == 0):
        window.missing = ~bitmap & everybody
    if not is_in or complete:
        if not is_in or window.below == window.num_workers:
            slot.expired = 0  # others, behind another switch, are not what it waits for
        send_again(state, at, AGAIN)  # it was lost, or what it led to was


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
        if header.format != FORMAT or header.job != window.job:
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
            on_status(state, header, packet[HEADER_BYTES:], now)
        else:
            window.ignored += 1
    # One sample a batch: hundreds of equal ones would tell that RTTs do not vary.
    if window.rtt >= 0:
        on_sample(state.estimate, window.rtt)
        window.newest_rtt = window.rtt
    look_for_gap(state)
    return used
