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

RESULT, STATUS = int(Opcode.RESULT), int(Opcode.STATUS)
CODE4 = int(ElementType.CODE4)

# shared: number of the multicast group's address, or -1
NUMBERS = "first_slot", "num_slots", "slot_bytes", "num_workers", "overflow", "shared"
JOB = np.dtype(
    [
        *((name, np.int64) for name in NUMBERS),
        ("group", np.int64, (MAX_WORKERS,)),  # worker -> number of its address
        ("narrowest", np.int64, (2,)),  # result type for code4, for code8
        *((name, np.int32, (size,)) for name, size in TABLE_SIZES.items()),
    ]
)
Job = Any  # one record of JOB


def write_codes(table: Job, job: JobConfig) -> None:
    """Write the code tables of a job into its record.

    Raises ValueError where they do not fit the number of workers.
    """
    objections = objections_to_tables(job.code4, job.code8, len(job.workers))
    for objection in objections:
        raise ValueError(f"job {job.job}: {objection}")
    for place, name in enumerate(TABLE_SIZES):
        entries = getattr(job, name)
        table.narrowest[place] = narrowest_result(entries, len(job.workers))
        if entries is not None:
            getattr(table, name)[:] = entries


@kernel
def bound(header: Header, source: int, job: Job) -> bool:
    """Whether the packet comes from the address of the worker that it names."""
    is_worker = header.worker < job.num_workers
    return bool(is_worker and source >= 0 and job.group[header.worker] == source)


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
def admit(header: Header, source: int, job: Job) -> int:
    """The checks that need no slot, in their order: a verdict that drops, or 0."""
    if not fits(header, job):
        return slots.MALFORMED
    if not bound(header, source, job):
        return slots.UNKNOWN_SOURCE
    if header.opcode == RESULT or header.opcode == STATUS:
        return slots.WRONG_OPCODE
    return 0
