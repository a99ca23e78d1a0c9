"""What an admitted packet does to its slot, payload and all, and what it causes."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch import lanes, slots
from switch.compiled import kernel
from switch.parser import bytes_of, element_type_of, reduction_of, result_type_of
from switch.protocol import EVERY_WORKER, HEADER_BYTES, DropReason, Flag, Header
from switch.replicate import Copies, answer, contribute, multicast, pass_on, replay
from switch.slots import NEXT_LOOK, NOW, Registers, Slot
from switch.stragglers import (
    LOOKS,
    final_flag,
    has_room,
    held_by,
    is_overdue,
    note_missing,
    note_time,
    waits,
)
from switch.tables import NOBODY, Job, child_toward, has_switches, may_lag, workers_in

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

OVERFLOW = int(Flag.OVERFLOW)
REPEATED = int(Flag.REPEATED)
KEPT_FLAGS = int(Flag.OVERFLOW | Flag.CLIPPED)

# Verdicts that add nothing, and are answered.
REPLIES = (slots.ANSWER, slots.REPLAY, slots.SEND_UP, slots.LATE, slots.PASS_BY)

# Counters: one for each verdict, then the multicasts and the packets out.
RESULTS = slots.NUM_VERDICTS
COPIES = RESULTS + 1
NUM_COUNTERS = COPIES + 1
COUNTERS = {
    "accepted": (slots.TAKE_OVER, slots.START_AGAIN, slots.REDUCE, slots.FINISH),
    "replays": (slots.REPLAY, slots.SEND_UP, slots.LATE),
    "statuses": (slots.ANSWER, slots.PASS_BY),
    **{reason.name.lower(): (slots.FIRST_DROP + reason,) for reason in DropReason},
    "results": (RESULTS,),
    "copies": (COPIES,),
}


class State(NamedTuple):
    """All that a packet can touch."""

    row_of: Integers
    """[65536]: job id -> row of `jobs`, or -1."""
    jobs: NDArray[Any]
    """Records of JOB: the match-action tables."""
    registers: Registers
    scratch: Bytes
    """One payload in host byte order."""
    counters: Integers
    """[1 + rows, NUM_COUNTERS]; row 0: packets of no known job."""


@kernel
def reduce_payload(
    slot: Slot, values: Bytes, scratch: Bytes, header: Header, payload: Bytes,
    job: Job,
) -> None:  # fmt: skip
    """Aggregate the payload of an accepted packet into the values of its slot."""
    is_first = slot.element_count == 0
    element_type = element_type_of(header.kind)
    result_type = result_type_of(header.kind)
    reduction = reduction_of(header.kind)
    width = bytes_of(header.element_count, result_type)
    values = values[:width]
    scratch = scratch[:width]
    if result_type == lanes.INT8:
        left_range = lanes.absorb(
            values.view(np.int8), scratch.view(np.int8), payload,
            element_type, job, reduction, job.overflow, is_first,
        )  # fmt: skip
    elif result_type == lanes.INT16:
        left_range = lanes.absorb(
            values.view(np.int16), scratch.view(np.int16), payload,
            element_type, job, reduction, job.overflow, is_first,
        )  # fmt: skip
    else:
        left_range = lanes.absorb(
            values.view(np.int32), scratch.view(np.int32), payload,
            element_type, job, reduction, job.overflow, is_first,
        )  # fmt: skip
    slot.element_count = header.element_count
    if left_range:
        slot.flag_bits |= OVERFLOW


@kernel
def accept(
    slot: Slot, other: Slot, header: Header, child: int, verdict: int, rule: int,
    job: Job,
) -> None:  # fmt: skip
    """Update the registers for an accepted packet, but for its payload."""
    if verdict == slots.FINISH:
        slots.finish(slot, header)
    else:
        workers = workers_in(header, child, job)
        left_out = job.stands_for[child] - workers
        kind = slots.kind_in_slot(header, has_switches(job))
        if verdict == slots.REDUCE:
            slots.join_slot(slot, header, child, workers, left_out)
        elif verdict == slots.TAKE_OVER:
            slots.take_over(slot, header, kind, child, workers, left_out)
        else:
            slots.start_again(slot, header, kind, child, workers)
    if rule != slots.SAFE:
        slots.forget_child(other, child)
    slot.flag_bits |= header.flags & KEPT_FLAGS


@kernel
def reply(
    slot: Slot, values: Bytes, header: Header, source: int, child: int, verdict: int,
    job: Job, out: Copies,
) -> None:  # fmt: skip
    """What a packet that adds nothing causes."""
    if verdict == slots.ANSWER:
        answer(slot, header, source, final_flag(slot, job), out)
        return
    if verdict == slots.PASS_BY:
        slot.closed = slots.PASSED
        pass_on(header, job.group[: job.num_children], out)
        return
    if header.sequence == slot.sequence:
        slot.bitmap |= slots.child_bit(child)  # news if it is late
    if verdict == slots.SEND_UP:
        contribute(slot, values, header.job, job.parent, REPEATED, out)
    else:
        recipient = child_toward(slot.recipient, job)
        with_payload = recipient in (EVERY_WORKER, child)
        replay(slot, values, header, with_payload, source, out)


@kernel
def reach_slot(
    registers: Registers, scratch: Bytes, packet: Bytes, header: Header, source: int,
    child: int, rule: int, job: Job, counts: Integers, out: Copies,
) -> int:  # fmt: skip
    """What an admitted packet does to its slot, and the packets that follow."""
    num_slots = job.num_slots
    index = 2 * job.first_slot + (header.sequence & (2 * num_slots - 1))
    slot = registers.slots[index]
    values = registers.values[index]
    verdict = slots.decide(
        slot, header, child, rule, num_slots, job.below, may_lag(job), has_switches(job)
    )
    if verdict == slots.STALE and job.patience > 0.0 and child != NOBODY:
        # it may be left behind: let it know where the others are
        answer(slot, header, source, final_flag(slot, job), out)
    if verdict >= slots.FIRST_DROP:
        return verdict
    if verdict in REPLIES:
        reply(slot, values, header, source, child, verdict, job, out)
        return verdict
    note_time(registers.clock, slot, child, verdict, job)
    # the same slot in its other version
    other = 2 * job.first_slot + ((header.sequence + num_slots) & (2 * num_slots - 1))
    accept(slot, registers.slots[other], header, child, verdict, rule, job)
    if header.element_count > 0:
        payload = packet[HEADER_BYTES:]
        reduce_payload(slot, values, scratch, header, payload, job)
    if verdict == slots.FINISH:
        send_result(slot, values, header, job, counts, out)
    elif slots.is_complete(slot, job.below):
        close(slot, values, header, job, counts, out)
    return verdict


@kernel
def close(
    slot: Slot, values: Bytes, cause: Header, job: Job, counts: Integers, out: Copies
) -> None:
    """Send what the children came to upward, or as the result; it stays as it is."""
    slot.closed = slots.CLOSED
    if job.parent >= 0:
        contribute(slot, values, cause.job, job.parent, 0, out)
        return
    slot.final = slot.received
    send_result(slot, values, cause, job, counts, out)


@kernel
def send_result(
    slot: Slot, values: Bytes, cause: Header, job: Job, counts: Integers, out: Copies
) -> None:
    """Multicast what a final slot holds; `cause` tells job and sequence."""
    counts[RESULTS] += 1
    recipient = child_toward(slot.recipient, job)
    group = job.group[: job.num_children]
    multicast(slot, values, cause, recipient, group, job.shared, out)


@kernel
def look_for_stragglers(state: State, out: Copies) -> None:
    """Send what has waited long enough; find the time of the next look."""
    clock = state.registers.clock
    if clock[NOW] < clock[NEXT_LOOK]:
        return
    clock[NEXT_LOOK] = np.inf
    for row in range(len(state.jobs)):
        job = state.jobs[row]
        if job.patience > 0.0:
            look_into(state, job, state.counters[row + 1], out)


@kernel
def look_into(state: State, job: Job, counts: Integers, out: Copies) -> None:
    """The same for one job."""
    clock = state.registers.clock
    soonest = clock[NOW] + job.patience / LOOKS
    copies_before = out.used[2]
    for index in range(2 * job.first_slot, 2 * (job.first_slot + job.num_slots)):
        slot = state.registers.slots[index]
        if is_overdue(slot, job, clock[NOW]):
            if not has_room(out, job):
                clock[NEXT_LOOK] = clock[NOW]
                break
            note_missing(slot, job)
            values = state.registers.values[index]
            close(slot, values, held_by(slot, job), job, counts, out)
        elif waits(slot):
            due = max(slot.began + job.patience, soonest)
            clock[NEXT_LOOK] = min(clock[NEXT_LOOK], due)
    counts[COPIES] += out.used[2] - copies_before
