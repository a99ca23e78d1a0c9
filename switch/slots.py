"""The registers, and the decision table: what one packet does to one slot.

Registers are indexed by `2 * first_slot + sequence mod 2 * num_slots` of the job, which
is (version, slot): each slot of a job is kept in two versions. Nothing here reads a
payload; `pipeline.py` does what the verdict says.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.parser import reduced_kind
from switch.protocol import SEQUENCE_MASK, DropReason, Header, Opcode, Rule

HALF_OF_SEQUENCES = (SEQUENCE_MASK + 1) // 2

# Verdicts. A drop is FIRST_DROP + its reason, so that a verdict is also the index of
# the counter it adds to (see COUNTERS). The first three accept a contribution; FINISH
# accepts the parent's result, SEND_UP contributes to the parent once more, LATE is the
# contribution of a straggler that the result went out without, PASS_BY the news that
# the parent has gone on without this switch.
(
    TAKE_OVER, REDUCE, START_AGAIN, REPLAY, ANSWER, FINISH, SEND_UP, LATE, PASS_BY,
    FIRST_DROP,
) = range(10)  # fmt: skip
MALFORMED = FIRST_DROP + DropReason.MALFORMED
UNKNOWN_JOB = FIRST_DROP + DropReason.UNKNOWN_JOB
UNKNOWN_SOURCE = FIRST_DROP + DropReason.UNKNOWN_SOURCE
WRONG_OPCODE = FIRST_DROP + DropReason.OPCODE
AHEAD = FIRST_DROP + DropReason.AHEAD
STALE = FIRST_DROP + DropReason.STALE
MISMATCH = FIRST_DROP + DropReason.MISMATCH
DUPLICATE = FIRST_DROP + DropReason.DUPLICATE
NUM_VERDICTS = FIRST_DROP + len(DropReason)

RESULT, QUERY, STATUS = int(Opcode.RESULT), int(Opcode.QUERY), int(Opcode.STATUS)
SAFE = int(Rule.SAFE)

# What `closed` says. What a closed slot came to has gone out, to the children or to the
# parent, and stays as it is; PASSED: the parent has gone on, and sends no result of it.
OPEN, CLOSED, PASSED = range(3)


# One version of a slot. A record, and not one array a register: passing ten
# arrays on from function to function cost more than the work itself.
SLOT = np.dtype(
    [
        ("sequence", np.int64),
        ("bitmap", np.uint64),
        ("received", np.int64),  # workers in it; 0: nothing held yet
        ("left_out", np.int64),  # workers below that children contributed without
        ("closed", np.int64),
        ("final", np.int64),  # workers in the job's result; 0: there is none yet
        ("kind", np.int64),
        ("recipient", np.int64),
        ("element_count", np.int64),  # 0 until a payload has come
        ("exponent", np.int64),
        ("flag_bits", np.int64),
        ("began", np.float64),  # seconds: when the chunk was taken over
        ("heard", np.float64),  # ... and when the last contribution came
    ]
)
Slot = Any  # one record of SLOT


class Registers(NamedTuple):
    """What the switch keeps, one row a version of a slot."""

    slots: NDArray[Any]
    """[versions of slots] records of SLOT."""
    values: NDArray[np.uint8]
    """[versions of slots, slot_bytes]; host byte order."""
    clock: NDArray[np.float64]
    """[2] seconds: the time of the batch at hand; when stragglers are looked for next.
    """


# Places in Registers.clock.
NOW, NEXT_LOOK = range(2)


def new_registers(num_slots: int, slot_bytes: int) -> Registers:
    """Empty registers for `num_slots` slots of at most `slot_bytes` each."""
    versions = 2 * num_slots
    return Registers(
        np.zeros(versions, SLOT).view(np.recarray),
        np.zeros((versions, slot_bytes), np.uint8),
        np.array([0.0, np.inf]),
    )


def clear(registers: Registers, first: int, count: int) -> None:
    """Forget what `count` versions of slots from `first` hold. Values need no reset."""
    registers.slots[first : first + count] = np.zeros((), SLOT)


@kernel
def child_bit(child: int) -> np.uint64:
    return np.uint64(1) << np.uint64(child)


@kernel
def has_contributed(slot: Slot, child: int) -> bool:
    return bool(slot.bitmap & child_bit(child) != np.uint64(0))


@kernel
def kind_in_slot(header: Header, has_switches: bool) -> int:
    """The kind that a slot with this contribution has. A switch below sends what has
    been summed, a worker beside it what is to be: there, both count as the former."""
    return int(reduced_kind(header.kind) if has_switches else header.kind)


@kernel
def matches(slot: Slot, header: Header, has_switches: bool) -> bool:
    """Whether a contribution can be reduced into what the slot holds."""
    same_kind = slot.kind == kind_in_slot(header, has_switches)
    one_is_empty = slot.element_count == 0 or header.element_count == 0
    same_count = one_is_empty or slot.element_count == header.element_count
    same_recipient = slot.recipient == header.recipient
    return bool(same_kind and same_recipient and same_count)


@kernel
def is_complete(slot: Slot, below: int) -> bool:
    """Whether every child has contributed. `below`: workers that they stand for."""
    return bool(slot.received + slot.left_out == below)


@kernel
def decide_safe(
    slot: Slot, header: Header, child: int, num_slots: int, may_lag: bool,
    has_switches: bool,
) -> int:  # fmt: skip
    """The verdict of the rule `safe`, whose rows stand here in their order.

    In the root of a tree, and so in a job of one switch, closed is final.
    """
    final = slot.final > 0
    if header.opcode == QUERY:
        return ANSWER
    if slot.received == 0:
        # who has rejoined may be the first one here
        return TAKE_OVER if may_lag or header.sequence < 2 * num_slots else AHEAD
    if header.sequence != slot.sequence:
        return decide_other(slot, header, num_slots, may_lag)
    if not matches(slot, header, has_switches):
        return MISMATCH
    if not has_contributed(slot, child) and slot.closed == OPEN:
        return REDUCE
    if final:
        # what has gone out stays as it is
        return REPLAY if has_contributed(slot, child) else LATE
    # the contribution upward may have been lost, and nobody else would miss it
    return DUPLICATE if slot.closed == OPEN else SEND_UP


@kernel
def decide_other(slot: Slot, header: Header, num_slots: int, may_lag: bool) -> int:
    """The verdict on a contribution of another sequence than the one held."""
    ahead = (header.sequence - slot.sequence) & SEQUENCE_MASK
    if ahead >= HALF_OF_SEQUENCES:
        return STALE
    is_over = slot.final > 0 or slot.closed == PASSED
    if is_over and (may_lag or ahead == 2 * num_slots):
        # A worker sends chunk c + 2S only with the result of c + S in hand, which took
        # everybody's c + S, sent only after the result of c: nobody needs c any more.
        # One that was left behind comes back further ahead.
        return TAKE_OVER
    # the parent, asked once more, says how it went
    return SEND_UP if may_lag and slot.closed != OPEN else AHEAD


@kernel
def decide_result(slot: Slot, header: Header, may_lag: bool) -> int:
    """The verdict on a result of the parent: is it the one that is waited for?

    A parent that waits for nobody may have the result of a slot that is still open.
    """
    may_have_one = slot.closed != OPEN or (may_lag and slot.received > 0)
    waits = may_have_one and slot.final == 0 and header.worker > 0
    same_sequence = header.sequence == slot.sequence
    same_kind = header.kind == reduced_kind(slot.kind)
    same_recipient = header.recipient == slot.recipient
    expected = waits and same_sequence and same_kind and same_recipient
    return FINISH if expected else STALE


@kernel
def decide_status(slot: Slot, header: Header) -> int:
    """The verdict on a status of the parent: has it gone on without this switch?"""
    waits = slot.received > 0 and slot.final == 0
    ahead = (header.sequence - slot.sequence) & SEQUENCE_MASK
    gone_on = header.worker > 0 and 0 < ahead < HALF_OF_SEQUENCES
    return PASS_BY if waits and gone_on else STALE


@kernel
def decide_switchml(
    slot: Slot, header: Header, child: int, num_workers: int, has_switches: bool
) -> int:
    """The verdict of Algorithm 3 of Sapio et al. (NSDI 2021).

    No sequence is compared. `received` counts 1 to n where the paper counts modulo n;
    the contribution after the n-th starts the slot again.
    """
    complete = slot.received == num_workers
    if header.opcode == QUERY:
        return ANSWER
    if has_contributed(slot, child):
        return REPLAY if complete else DUPLICATE
    if slot.received == 0 or complete:
        return START_AGAIN
    return REDUCE if matches(slot, header, has_switches) else MISMATCH


@kernel
def decide(
    slot: Slot, header: Header, child: int, rule: int, num_slots: int, below: int,
    may_lag: bool, has_switches: bool,
) -> int:  # fmt: skip
    """What `header` does to `slot`: one of the verdicts above.

    `child` is who sent it, by its bit; it does not matter for a result or a status,
    which are the parent's. `below`: workers that the switch's children stand for.
    `may_lag`: there is a parent, and it may go on without this switch. `has_switches`:
    some children are switches.
    """
    if header.opcode == RESULT:
        return decide_result(slot, header, may_lag)
    if header.opcode == STATUS:
        return decide_status(slot, header)
    if rule == SAFE:
        return decide_safe(slot, header, child, num_slots, may_lag, has_switches)
    return decide_switchml(slot, header, child, below, has_switches)


@kernel
def take_over(
    slot: Slot, header: Header, kind: int, child: int, workers: int, left_out: int
) -> None:
    """Begin a new chunk with its first contribution, which has so many workers in it;
    the values come separately. `kind`: see `kind_in_slot`."""
    slot.sequence = header.sequence
    slot.bitmap = child_bit(child)
    slot.received = workers
    slot.left_out = left_out
    slot.closed = OPEN
    slot.final = 0
    slot.kind = kind
    slot.recipient = header.recipient
    slot.element_count = 0
    slot.exponent = header.exponent
    slot.flag_bits = 0


@kernel
def start_again(
    slot: Slot, header: Header, kind: int, child: int, workers: int
) -> None:
    """`switchml`: keep the bits of the workers that have not moved on."""
    bitmap = slot.bitmap
    take_over(slot, header, kind, child, workers, 0)
    slot.bitmap |= bitmap


@kernel
def forget_child(slot: Slot, child: int) -> None:
    slot.bitmap &= ~child_bit(child)


@kernel
def finish(slot: Slot, header: Header) -> None:
    """Begin the job's result, in place of what the children came to; the values come
    separately."""
    slot.closed = CLOSED
    slot.final = header.worker
    slot.element_count = 0
    slot.exponent = header.exponent
    slot.flag_bits = 0


@kernel
def join_slot(
    slot: Slot, header: Header, child: int, workers: int, left_out: int
) -> None:
    """Count one more contribution; the values come separately."""
    slot.bitmap |= child_bit(child)
    slot.received += workers
    slot.left_out += left_out
    slot.exponent = max(slot.exponent, header.exponent)
