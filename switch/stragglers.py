"""Who is late, how late, and results that go out without them.

Aggregation degrades as in Trio-ML (Yang et al., SIGCOMM 2022): when a chunk has waited
long enough, its result goes out with the workers that are in it, and says how many.
What has gone out is final: a contribution that comes after it is not added.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.protocol import FORMAT, HEADER_BYTES, Flag, Header, Opcode
from switch.replicate import Copies
from switch.slots import FINISH, NEXT_LOOK, NOW, OPEN, REDUCE, Slot, has_contributed
from switch.tables import Job

CONTRIBUTE = int(Opcode.CONTRIBUTE)
FINAL = int(Flag.FINAL)
LOOKS = 16  # times that a switch looks for stragglers while one is waited for


class Lateness(NamedTuple):
    """What a switch has seen of one of its children in a job."""

    ranks: tuple[int, ...]
    """The worker, or those behind a switch."""
    last: int
    """Chunks that it was the last to contribute to."""
    seconds: float
    """That it was behind the others then, all together."""
    missed: int
    """Results that went out without it."""


@kernel
def note_time(
    clock: NDArray[np.float64], slot: Slot, child: int, verdict: int, job: Job
) -> None:
    """What is accepted, before the registers know of it."""
    now = clock[NOW]
    if verdict == FINISH:
        if slot.closed == OPEN:  # the parent has not waited for this switch
            note_missing(slot, job)
        return
    if verdict == REDUCE:
        if slot.received + slot.left_out + job.stands_for[child] == job.below:
            job.last[child] += 1
            job.late[child] += now - slot.heard
    else:
        slot.began = now
        if job.patience > 0.0:
            clock[NEXT_LOOK] = min(clock[NEXT_LOOK], now + job.patience)
    slot.heard = now


@kernel
def is_overdue(slot: Slot, job: Job, now: float) -> bool:
    return bool(waits(slot) and now >= slot.began + job.patience)


@kernel
def waits(slot: Slot) -> bool:
    """For children."""
    return bool(slot.received > 0 and slot.closed == OPEN)


@kernel
def note_missing(slot: Slot, job: Job) -> None:
    """A result has gone out without some children."""
    for child in range(job.num_children):
        if not has_contributed(slot, child):
            job.missed[child] += 1


@kernel
def held_by(slot: Slot, job: Job) -> Header:
    """What a packet says of the chunk that a slot holds."""
    return Header(
        FORMAT, CONTRIBUTE, slot.kind, job.id, 0, slot.recipient, slot.sequence,
        slot.element_count, slot.exponent, 0,
    )  # fmt: skip


@kernel
def final_flag(slot: Slot, job: Job) -> int:
    """Of a status: whoever is in it shall not wait for those that are not."""
    return FINAL if slot.closed != OPEN and slot.received < job.below else 0


@kernel
def has_room(out: Copies, job: Job) -> bool:
    """Whether a result, with and without its payload, fits what goes out at once."""
    enough = out.used[1] + 2 * (HEADER_BYTES + job.slot_bytes) <= out.buffer.size
    return bool(enough and out.used[0] + job.num_children <= out.rows.size)


def lateness_of(table: Any, behind: list[tuple[int, ...]]) -> list[Lateness]:
    """Of each child of the switch, from the record of its job."""
    return [
        Lateness(
            ranks, int(table.last[child]), float(table.late[child]),
            int(table.missed[child]),
        )
        for child, ranks in enumerate(behind)
    ]  # fmt: skip
