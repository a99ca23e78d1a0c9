"""Parts of the model: bytes, elements, children and slots in the plainest Python."""

import struct
from dataclasses import dataclass

from switch.config import Address, JobConfig
from switch.protocol import Header

FIELDS = struct.Struct(">BBHHHIHbB")
LANES = "bhi"  # struct codes of int8, int16, int32
CODE4, CODE8 = 3, 4
NAMES = ("int8", "int16", "int32", "code4", "code8")


@dataclass
class Slot:
    """What one version of a slot holds. A slot that holds nothing does not exist."""

    sequence: int
    kind: int
    recipient: int
    children: set[int]
    """That have contributed."""
    received: int
    """Workers that these stand for."""
    final: int
    """Workers in the job's result; 0 as long as there is none."""
    exponent: int
    flags: int
    values: list[int]
    """Empty until a payload has come."""


def unpack(packet: bytes) -> Header:
    """The header of at least HEADER_BYTES bytes."""
    first, *others = FIELDS.unpack_from(packet)
    return Header(first >> 4, first & 0xF, *others)


def lanes_of(kind: int) -> tuple[int, int, int]:
    """Reduction, element type, result type."""
    return kind >> 6, kind >> 3 & 7, kind & 7


def table_of(job: JobConfig, element: int) -> tuple[int, ...] | None:
    return job.code4 if element == CODE4 else job.code8


def codes_of(payload: bytes, element: int) -> list[int]:
    if element == CODE8:
        return list(payload)
    return [code for byte in payload for code in (byte >> 4, byte & 15)]


def behind(job: JobConfig, child: int) -> tuple[int, ...]:
    """The ranks that a child leads to."""
    what = job.tree.ranks[child] if job.tree else child
    return (what,) if isinstance(what, int) else what


def child_of(header: Header, source: Address, job: JobConfig) -> int | None:
    """Who has this address and this worker field."""
    for child, address in enumerate(job.workers):
        what = job.tree.ranks[child] if job.tree else child
        says = what if isinstance(what, int) else len(what)
        if (address, says) == (source, header.worker):
            return child
    return None


def parent_of(job: JobConfig) -> Address | None:
    return job.tree.parent if job.tree else None


def wrapped(value: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def is_complete(slot: Slot, job: JobConfig) -> bool:
    everybody = sum(len(behind(job, child)) for child in range(len(job.workers)))
    return slot.received == everybody


def kind_in_slot(kind: int, job: JobConfig) -> int:
    """Beside a switch's contributions, which have been summed, all count as that."""
    ranks = job.tree.ranks if job.tree else ()
    if all(isinstance(each, int) for each in ranks):
        return kind
    return kind & 0xC0 | (kind & 7) << 3 | kind & 7


def mismatch_of(header: Header, slot: Slot, job: JobConfig) -> str | None:
    """Why a contribution cannot be reduced into what the slot holds, or None."""
    if kind_in_slot(header.kind, job) != slot.kind:
        return "mismatch: kind"
    if header.recipient != slot.recipient:
        return "mismatch: recipient"
    held, new = len(slot.values), header.element_count
    return "mismatch: element_count" if held and new and held != new else None


def reason_of(row: str) -> str:
    """The drop reason of a row that drops."""
    if row == "empty slot, other sequence":
        return "ahead"
    if row in ("behind", "another result of the parent"):
        return "stale"
    return row.split(":")[0]
