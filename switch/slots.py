"""The registers, and the decision table: what one packet does to one slot.

Registers are plain arrays indexed by `first_slot + sequence mod 2 * num_slots` of the
job, which is (version, slot): each slot of a job is kept in two versions. Nothing here
reads a payload; `pipeline.py` does what the verdict says.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.protocol import SEQUENCE_MASK, DropReason, Header, Opcode, Rule

HALF_OF_SEQUENCES = (SEQUENCE_MASK + 1) // 2

# Verdicts. A drop is FIRST_DROP + its reason, so that a verdict is also the index of
# the counter it adds to (see COUNTERS): the first three accept.
TAKE_OVER, REDUCE, START_AGAIN, REPLAY, ANSWER, FIRST_DROP = range(6)
MALFORMED = FIRST_DROP + DropReason.MALFORMED
UNKNOWN_JOB = FIRST_DROP + DropReason.UNKNOWN_JOB
UNKNOWN_SOURCE = FIRST_DROP + DropReason.UNKNOWN_SOURCE
WRONG_OPCODE = FIRST_DROP + DropReason.OPCODE
AHEAD = FIRST_DROP + DropReason.AHEAD
STALE = FIRST_DROP + DropReason.STALE
MISMATCH = FIRST_DROP + DropReason.MISMATCH
DUPLICATE = FIRST_DROP + DropReason.DUPLICATE
NUM_VERDICTS = FIRST_DROP + len(DropReason)

QUERY = int(Opcode.QUERY)
SAFE = int(Rule.SAFE)


class Registers(NamedTuple):
    """What the switch keeps, one element (or row) a version of a slot."""

    sequence: NDArray[np.int64]
    bitmap: NDArray[np.uint64]
    received: NDArray[np.int64]
    """Workers in the slot; 0: nothing held yet."""
    kind: NDArray[np.int64]
    recipient: NDArray[np.int64]
    element_count: NDArray[np.int64]
    """0 until a payload has come."""
    exponent: NDArray[np.int64]
    flags: NDArray[np.int64]
    values: NDArray[np.uint8]
    """[versions of slots, slot_bytes]; host byte order."""


def new_registers(num_slots: int, slot_bytes: int) -> Registers:
    """Empty registers for `num_slots` slots of at most `slot_bytes` each."""
    versions = 2 * num_slots
    integers = [np.zeros(versions, np.int64) for _ in range(6)]
    return Registers(
        integers[0],
        np.zeros(versions, np.uint64),
        *integers[1:],
        np.zeros(versions, np.int64),
        np.zeros((versions, slot_bytes), np.uint8),
    )


@kernel
def clear(registers: Registers, first: int, count: int) -> None:
    """Forget what `count` versions of slots from `first` hold. Values need no reset."""
    for index in range(first, first + count):
        registers.received[index] = 0
        registers.bitmap[index] = 0


@kernel
def worker_bit(worker: int) -> int:
    return np.uint64(1) << np.uint64(worker)


@kernel
def has_contributed(registers: Registers, index: int, worker: int) -> bool:
    return registers.bitmap[index] & worker_bit(worker) != np.uint64(0)


@kernel
def matches(registers: Registers, index: int, header: Header) -> bool:
    """Whether a contribution can be reduced into what the slot holds."""
    held_count = registers.element_count[index]
    same_count = held_count == header.element_count
    return (
        registers.kind[index] == header.kind
        and registers.recipient[index] == header.recipient
        and (held_count == 0 or header.element_count == 0 or same_count)
    )


@kernel
def decide_safe(
    registers: Registers, index: int, header: Header, num_slots: int, num_workers: int
) -> int:
    """The verdict of the rule `safe`, whose rows stand here in their order."""
    held = registers.sequence[index]
    complete = registers.received[index] == num_workers
    behind = (held - header.sequence) & SEQUENCE_MASK
    if header.opcode == QUERY:
        return ANSWER
    if registers.received[index] == 0:
        return TAKE_OVER if header.sequence < 2 * num_slots else AHEAD
    if complete and header.sequence == (held + 2 * num_slots) & SEQUENCE_MASK:
        # A worker sends chunk c + 2S only with the result of c + S in hand, which took
        # everybody's c + S, sent only after the result of c: nobody needs c any more.
        return TAKE_OVER
    if behind != 0:
        return STALE if behind <= HALF_OF_SEQUENCES else AHEAD
    if not matches(registers, index, header):
        return MISMATCH
    if not has_contributed(registers, index, header.worker):
        return REDUCE
    return REPLAY if complete else DUPLICATE


@kernel
def decide_switchml(
    registers: Registers, index: int, header: Header, num_workers: int
) -> int:
    """The verdict of Algorithm 3 of Sapio et al. (NSDI 2021).

    No sequence is compared. `received` counts 1 to n where the paper counts modulo n;
    the contribution after the n-th starts the slot again.
    """
    complete = registers.received[index] == num_workers
    if header.opcode == QUERY:
        return ANSWER
    if has_contributed(registers, index, header.worker):
        return REPLAY if complete else DUPLICATE
    if registers.received[index] == 0 or complete:
        return START_AGAIN
    return REDUCE if matches(registers, index, header) else MISMATCH


@kernel
def decide(
    registers: Registers,
    index: int,
    header: Header,
    rule: int,
    num_slots: int,
    num_workers: int,
) -> int:
    """What `header` does to the slot at `index`: one of the verdicts above."""
    if rule == SAFE:
        return decide_safe(registers, index, header, num_slots, num_workers)
    return decide_switchml(registers, index, header, num_workers)


@kernel
def take_over(registers: Registers, index: int, header: Header) -> None:
    """Begin a new chunk with its first contribution; the values come separately."""
    registers.sequence[index] = header.sequence
    registers.bitmap[index] = worker_bit(header.worker)
    registers.received[index] = 1
    registers.kind[index] = header.kind
    registers.recipient[index] = header.recipient
    registers.element_count[index] = 0
    registers.exponent[index] = header.exponent
    registers.flags[index] = 0


@kernel
def start_again(registers: Registers, index: int, header: Header) -> None:
    """`switchml`: keep the bits of the workers that have not moved on."""
    bitmap = registers.bitmap[index]
    take_over(registers, index, header)
    registers.bitmap[index] |= bitmap


@kernel
def forget_worker(registers: Registers, index: int, worker: int) -> None:
    registers.bitmap[index] &= ~worker_bit(worker)


@kernel
def join_slot(registers: Registers, index: int, header: Header) -> None:
    """Count one more contribution; the values come separately."""
    registers.bitmap[index] |= worker_bit(header.worker)
    registers.received[index] += 1
    registers.exponent[index] = max(registers.exponent[index], header.exponent)
