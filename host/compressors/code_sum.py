"""The sum in the switch of what log codes stand for.

Logarithms do not add up, but what they stand for does: the integers T[code] of a table.
Every worker takes the same table, and n times its largest entry fits the sum. Either
the switch looks codes up in the job's table, or a worker sends T[code] itself.

A code here is a byte, see `logcodes`: the sign is its highest bit. As a code4 it has
the sign in bit 3, so that seven magnitudes are left.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.codes import codes_per_chunk
from host.compressors.base import Gradient, Network, Statistics
from host.compressors.quantize import Floats, dequantize_segment
from host.packetizer import Bytes, Contributions, Integers, Results, Stream
from switch.byteorder import swap16, swap32
from switch.compiled import kernel
from switch.protocol import (
    ELEMENT_BITS,
    ELEMENT_BYTES,
    HEADER_BYTES,
    ElementType,
    Reduction,
    kind_of,
)

MAGNITUDE = np.uint8(127)  # of a code, beside the sign
SIGN4, MAGNITUDE4, NIBBLE = np.uint8(8), np.uint8(7), np.uint8(4)  # of a code4
CODE4, CODE8 = int(ElementType.CODE4), int(ElementType.CODE8)
INT8, INT16 = int(ElementType.INT8), int(ElementType.INT16)
LARGEST_CODE, LARGEST_SUM, PAYLOADS_DOWN = range(3)  # places in a tally


class Types(NamedTuple):
    """Of what goes up and what comes down."""

    element: ElementType
    result: ElementType


class CodePlan(NamedTuple):
    """What the kernels of a CodeSum need."""

    codes: Bytes
    """[d]"""
    table: NDArray[np.int32]
    """[256] the integer of each code; of the code 0, the integer 0."""
    mean: Floats
    """[d]"""
    unit: np.float32
    """mean = unit * sum."""
    elements_per_chunk: int
    element_type: int
    result_type: int
    full: NDArray[np.bool_]
    """[chunks] whether this worker sends a payload."""
    tally: Integers
    """[3]"""


@kernel
def largest_code(codes: Bytes) -> int:
    """Without its sign."""
    largest = np.uint8(0)
    for j in range(len(codes)):
        magnitude = np.uint8(codes[j] & MAGNITUDE)
        largest = magnitude if magnitude > largest else largest
    return int(largest)


@kernel
def look_up(codes: Bytes, table: NDArray[np.int32], lanes: NDArray[Any]) -> None:
    """Integers in network order, and zeros behind them."""
    for j in range(len(codes)):
        integer = table[codes[j]]
        if lanes.itemsize == 1:
            lanes[j] = np.int8(integer)
        elif lanes.itemsize == 2:
            lanes[j] = swap16(integer)
        else:
            lanes[j] = swap32(integer)
    lanes[len(codes) :] = 0


@kernel
def pack4(codes: Bytes, payload: Bytes) -> None:
    """Two a byte, the first in the high nibble, and zeros behind them."""
    pairs = len(codes) // 2
    for j in range(pairs):
        payload[j] = nibble_of(codes[2 * j]) << NIBBLE | nibble_of(codes[2 * j + 1])
    payload[pairs:] = 0
    if len(codes) % 2:
        payload[pairs] = nibble_of(codes[len(codes) - 1]) << NIBBLE


@kernel
def nibble_of(code: np.uint8) -> np.uint8:
    return np.uint8(np.uint8(code >> NIBBLE) & SIGN4 | code & MAGNITUDE4)


@kernel
def pack8(codes: Bytes, payload: Bytes) -> None:
    for j in range(len(codes)):
        payload[j] = codes[j]
    payload[len(codes) :] = 0


@kernel
def fill_codes(plan: CodePlan, chunks: Integers, contributions: Contributions) -> None:
    """A chunk in which nothing is there is sent empty."""
    for i in range(len(chunks)):
        start = chunks[i] * plan.elements_per_chunk
        codes = plan.codes[start : start + plan.elements_per_chunk]
        largest = largest_code(codes)
        plan.tally[LARGEST_CODE] = max(plan.tally[LARGEST_CODE], largest)
        plan.full[chunks[i]] = largest > 0
        if largest == 0:
            contributions.element_count[i] = 0
            continue
        payload = contributions.packets[i][HEADER_BYTES:]
        if plan.element_type == CODE4:
            pack4(codes, payload)
        elif plan.element_type == CODE8:
            pack8(codes, payload)
        elif plan.element_type == INT8:
            look_up(codes, plan.table, payload.view(np.int8))
        elif plan.element_type == INT16:
            look_up(codes, plan.table, payload.view(np.int16))
        else:
            look_up(codes, plan.table, payload.view(np.int32))


@kernel
def drain_codes(plan: CodePlan, chunks: Integers, results: Results) -> None:
    width = plan.elements_per_chunk << plan.result_type  # 1, 2 or 4 bytes a sum
    for i in range(len(chunks)):
        start = chunks[i] * plan.elements_per_chunk
        mean = plan.mean[start : start + plan.elements_per_chunk]
        if results.element_count[i] == 0:
            mean[:] = 0
            continue
        plan.tally[PAYLOADS_DOWN] += 1
        at = results.payload_at[i]
        row = results.buffer[at : at + width]
        if plan.result_type == INT8:
            largest, _, _ = dequantize_segment(row.view(np.int8), mean, plan.unit)
        elif plan.result_type == INT16:
            largest, _, _ = dequantize_segment(row.view(np.int16), mean, plan.unit)
        else:
            largest, _, _ = dequantize_segment(row.view(np.int32), mean, plan.unit)
        plan.tally[LARGEST_SUM] = max(plan.tally[LARGEST_SUM], largest)


class CodeSum(Stream):
    """mean = unit * the sum over the workers of table[codes].

    codes: uint8[d], d > 0; magnitudes below 8 for element type code4. table: int32[256]
    with table[0] = 0: its largest |entry| fits the element type, if that is none of
    codes, and n times that fits the result type; if it is, the job's table says the
    same. unit: 2^-126 or more.
    """

    fill_rows = staticmethod(fill_codes)
    drain_rows = staticmethod(drain_codes)

    def __init__(
        self,
        codes: Bytes,
        mean: Gradient,
        network: Network,
        types: Types,
        *,
        table: NDArray[np.int32],
        unit: float,
    ) -> None:
        self.types = types
        self.kind = kind_of(Reduction.SUM, *types)
        self.elements_per_chunk = codes_per_chunk(network.slot_bytes, *types)
        self.num_chunks = -(-len(codes) // self.elements_per_chunk)
        self.plan: CodePlan = CodePlan(
            codes=codes,
            table=table,
            mean=mean,
            unit=np.float32(unit),
            elements_per_chunk=self.elements_per_chunk,
            element_type=int(types.element),
            result_type=int(types.result),
            full=np.zeros(self.num_chunks, np.bool_),
            tally=np.zeros(3, np.int64),
        )

    def add_to(self, statistics: Statistics) -> None:
        """Count what this aggregation did."""
        plan, size = self.plan, self.elements_per_chunk
        largest = int(plan.table[plan.tally[LARGEST_CODE]])
        statistics.largest_integer = max(statistics.largest_integer, largest)
        largest_sum = int(plan.tally[LARGEST_SUM])
        statistics.largest_sum = max(statistics.largest_sum, largest_sum)
        headers = self.num_chunks * HEADER_BYTES
        payload_up = size * ELEMENT_BITS[self.types.element] // 8
        payload_down = size * ELEMENT_BYTES[self.types.result]
        statistics.bytes_up += headers + int(plan.full.sum()) * payload_up
        payloads_down = int(plan.tally[PAYLOADS_DOWN])
        statistics.bytes_down += headers + payloads_down * payload_down
