"""Sums of codes: each stands for an integer of the job's table, which the switch adds.

The switch looks codes up, so that four or eight bits an element go up, and exact sums
of the table's integers come down.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.packetizer import (
    ELEMENT_TYPES,
    Bytes,
    Contributions,
    Integers,
    Stream,
    drain_chunks,
)
from host.segments import Segments, elements_of, whole_of
from switch.codes import NO_TABLE, TABLE_SIZES, Table, narrowest_result
from switch.compiled import kernel
from switch.parser import element_type_of, is_code, result_type_of
from switch.protocol import (
    ELEMENT_BYTES,
    HEADER_BYTES,
    ElementType,
    Reduction,
    kind_of,
)


def codes_per_chunk(
    slot_bytes: int, code: ElementType, result_type: ElementType
) -> int:
    """As many codes as fit the slot once reduced, an even number of code4.

    Raises ValueError if none do.
    """
    count = slot_bytes // ELEMENT_BYTES[result_type]
    if code == ElementType.CODE4:
        count -= count % 2
    if count == 0:
        raise ValueError(
            f"slot_bytes is {slot_bytes}: too small for {code.name.lower()} summed in "
            f"{result_type.name.lower()}"
        )
    return count


def check_kind(
    kind: int, code4: Table | None, code8: Table | None, num_workers: int
) -> None:
    """Raise ValueError if the kind has codes that the job's tables cannot serve: the
    switch would drop every packet."""
    element_type, result_type = element_type_of(kind), result_type_of(kind)
    if not is_code(element_type):
        return
    place = element_type - ElementType.CODE4
    name, table = list(TABLE_SIZES)[place], (code4, code8)[place]
    narrowest = narrowest_result(table, num_workers)
    if narrowest == NO_TABLE:
        raise ValueError(f"the job has no {name} table: give join {name}=")
    if result_type < narrowest:
        wanted, needed = (ElementType(t).name.lower() for t in (result_type, narrowest))
        raise ValueError(
            f"result_type {wanted}: {num_workers} workers times the largest entry of"
            f" the job's {name} table need {needed}"
        )


@kernel
def pack4(payload: Bytes, codes: Bytes) -> None:
    """Two codes a byte, the first in the high nibble; code 0 beyond the last."""
    pairs = codes.size // 2
    for i in range(pairs):
        payload[i] = codes[2 * i] << 4 | codes[2 * i + 1]
    payload[pairs:] = 0
    if codes.size % 2 == 1:
        payload[pairs] = codes[codes.size - 1] << 4


@kernel
def pack8(payload: Bytes, codes: Bytes) -> None:
    """A code a byte; code 0 beyond the last."""
    for i in range(codes.size):
        payload[i] = codes[i]
    payload[codes.size :] = 0


class CodePlan(NamedTuple):
    """What the kernels of a CodeStream need."""

    codes: Bytes
    """[d]"""
    segments: Segments
    two_a_byte: bool
    out: Bytes
    """Where the results go."""
    result_width: int
    """Bytes of an element of `out`."""
    flags: Integers
    """[1] or of the results' flags."""
    num_workers: Integers
    """[chunks] how many workers are in each result."""
    first_out: int = 0
    """The chunk whose result `out` begins with."""


@kernel
def fill_codes(plan: CodePlan, chunks: Integers, contributions: Contributions) -> None:
    """Payloads of `chunks`, the last one padded with code 0."""
    for i in range(chunks.size):
        first, last = elements_of(plan.segments, chunks[i])
        own = plan.codes[first:last]
        if plan.two_a_byte:
            pack4(contributions.packets[i][HEADER_BYTES:], own)
        else:
            pack8(contributions.packets[i][HEADER_BYTES:], own)


class CodeStream(Stream):
    """Sum over the workers of what codes stand for.

    codes: uint8[d], below 16 for code4. out: int8, int16 or int32[d], the sums. (What
    pads the last chunk is code 0, whatever that stands for: its sums go nowhere.)
    """

    plan: CodePlan
    fill_rows = staticmethod(fill_codes)
    drain_rows = staticmethod(drain_chunks)

    def __init__(
        self,
        codes: Bytes,
        out: NDArray[np.signedinteger],
        code: ElementType,
        slot_bytes: int,
    ) -> None:
        result_type = ELEMENT_TYPES[out.dtype]
        self.kind = kind_of(Reduction.SUM, code, result_type)
        self.elements_per_chunk = codes_per_chunk(slot_bytes, code, result_type)
        segments = whole_of(out.size, self.elements_per_chunk)
        self.num_chunks = segments.chunks
        self.plan = CodePlan(
            codes=codes,
            segments=segments,
            two_a_byte=code == ElementType.CODE4,
            out=out.view(np.uint8),
            result_width=out.itemsize,
            flags=np.zeros(1, np.int64),
            num_workers=np.zeros(self.num_chunks, np.int64),
        )

    @property
    def flags(self) -> int:
        """Or of the results' flags."""
        return int(self.plan.flags[0])
