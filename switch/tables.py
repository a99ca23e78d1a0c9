"""What the data path knows of a job: its match-action tables, and the checks of a
packet that need them but no slot.
"""

from typing import Any

import numpy as np

from switch import slots
from switch.codes import TABLE_SIZES, narrowest_result, objections_to_tables
from switch.compiled import kernel
from switch.config import JobConfig
from switch.parser import bytes_of, element_type_of, is_code, result_type_of
from switch.protocol import EVERY_WORKER, MAX_WORKERS, ElementType, Header, Opcode
from switch.tree import (
    MAX_JOB_WORKERS,
    objections_to_tree,
    ranks_behind,
    switches_below,
    worker_fields,
)

RESULT, STATUS = int(Opcode.RESULT), int(Opcode.STATUS)
CODE4 = int(ElementType.CODE4)

# num_workers: of the whole job; below: that the children stand for; num_switches: of
# the children
NUMBERS = (
    "first_slot", "num_slots", "slot_bytes", "num_workers", "num_children", "below",
    "overflow", "num_switches",
)  # fmt: skip
JOB = np.dtype(
    [
        *((name, np.int64) for name in NUMBERS),
        ("id", np.int64),  # in the header
        ("patience", np.float64),  # seconds until results go without stragglers; 0: no
        ("last", np.int64, (MAX_WORKERS,)),  # child -> chunks that it was the last of,
        ("late", np.float64, (MAX_WORKERS,)),  # ... so many seconds after the others
        ("missed", np.int64, (MAX_WORKERS,)),  # child -> results without it
        ("shared", np.int64),  # number of the multicast group's address, or -1
        ("parent", np.int64),  # number of its address, or -1
        ("group", np.int64, (MAX_WORKERS,)),  # child -> number of its address
        ("says", np.int64, (MAX_WORKERS,)),  # child -> the worker field of its packets
        ("stands_for", np.int64, (MAX_WORKERS,)),  # child -> number of workers
        # rank -> 1 + the child that leads to it; 0: none does
        ("toward", np.int8, (MAX_JOB_WORKERS,)),
        ("narrowest", np.int64, (2,)),  # result type for code4, for code8
        *((name, np.int32, (size,)) for name, size in TABLE_SIZES.items()),
    ]
)
Job = Any  # one record of JOB
NOBODY = -1


def write_codes(table: Job, job: JobConfig) -> None:
    """Write the code tables of a job into its record.

    Raises ValueError where they do not fit the number of workers.
    """
    objections = objections_to_tables(job.code4, job.code8, job.num_workers)
    for objection in objections:
        raise ValueError(f"job {job.job}: {objection}")
    for place, name in enumerate(TABLE_SIZES):
        entries = getattr(job, name)
        table.narrowest[place] = narrowest_result(entries, job.num_workers)
        if entries is not None:
            getattr(table, name)[:] = entries


def write_children(table: Job, job: JobConfig) -> None:
    """Write what the children of the switch are, but for their addresses.

    Raises ValueError where the switch's place in a tree is none.
    """
    for objection in objections_to_tree(job):
        raise ValueError(f"job {job.job}: {objection}")
    behind = ranks_behind(job)
    table.num_workers = job.num_workers
    table.num_children = len(behind)
    table.below = sum(map(len, behind))
    table.num_switches = switches_below(job)
    table.says[: len(behind)] = worker_fields(job)
    table.stands_for[: len(behind)] = [len(ranks) for ranks in behind]
    table.toward[:] = 0
    for child, ranks in enumerate(behind):
        table.toward[list(ranks)] = 1 + child


@kernel
def child_of(header: Header, source: int, job: Job) -> int:
    """The child whose address and worker field these are, or NOBODY.

    Where all children are workers, as in a job of one switch, it is the first guess.
    """
    guess = header.worker
    known = guess < job.num_children and job.group[guess] == source
    if known and job.says[guess] == guess:
        return int(guess)
    return search_child(header, source, job)


@kernel
def search_child(header: Header, source: int, job: Job) -> int:
    for child in range(job.num_children):
        if job.group[child] == source and may_say(header.worker, child, job):
            return child
    return NOBODY


@kernel
def may_say(worker: int, child: int, job: Job) -> bool:
    """Whether the worker field can be that of a child.

    A switch that waits for nobody says how many workers are in its contribution.
    """
    some = job.patience > 0.0 and 0 < worker < job.stands_for[child]
    return bool(some or job.says[child] == worker)


@kernel
def workers_in(header: Header, child: int, job: Job) -> int:
    """How many are in a contribution."""
    return int(header.worker) if job.stands_for[child] > 1 else 1


@kernel
def has_switches(job: Job) -> bool:
    """Whether some children are switches."""
    return bool(job.num_switches > 0)


@kernel
def may_lag(job: Job) -> bool:
    """Whether there is a parent that may go on without this switch."""
    return bool(job.parent >= 0 and job.patience > 0.0)


@kernel
def child_toward(recipient: int, job: Job) -> int:
    """The child that leads to a recipient, NOBODY, or EVERY_WORKER."""
    if recipient == EVERY_WORKER:
        return EVERY_WORKER
    return int(job.toward[recipient]) - 1


@kernel
def has_table(header: Header, job: Job) -> bool:
    """Whether the job can look codes up, and the result type is wide enough."""
    element_type = element_type_of(header.kind)
    if not is_code(element_type):
        return True
    return bool(job.narrowest[element_type - CODE4] <= result_type_of(header.kind))


@kernel
def fits(header: Header, job: Job) -> bool:
    """The malformed checks that need the job."""
    reduced = bytes_of(header.element_count, result_type_of(header.kind))
    to_everyone = header.recipient == EVERY_WORKER
    to_somebody = to_everyone or header.recipient < job.num_workers
    return bool(to_somebody and reduced <= job.slot_bytes and has_table(header, job))


@kernel
def admit(header: Header, source: int, child: int, job: Job) -> int:
    """The checks that need no slot, in their order: a verdict that drops, or 0."""
    if header.opcode == STATUS and source == job.parent and may_lag(job):
        return 0  # how wide slots are is nothing to it
    if not fits(header, job):
        return slots.MALFORMED
    if header.opcode == RESULT or header.opcode == STATUS:
        return admit_answer(header, source, child, job)
    return slots.UNKNOWN_SOURCE if child == NOBODY else 0


@kernel
def admit_answer(header: Header, source: int, child: int, job: Job) -> int:
    """The same for what switches send: results of the parent are admitted."""
    from_parent = source >= 0 and source == job.parent
    if child == NOBODY and not from_parent:
        return slots.UNKNOWN_SOURCE
    # a switch asks nobody: a status answers it only where it may be left behind
    return 0 if from_parent and header.opcode == RESULT else slots.WRONG_OPCODE
