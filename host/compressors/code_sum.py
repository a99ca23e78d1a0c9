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

from host.codes import pack4, pack8
from host.compressors.base import Gradient, Network, Statistics
from host.compressors.integers import IntegerFormat
from host.compressors.quantize import Plan
from host.compressors.stream import ScaledSum, drain_sum
from host.packetizer import Bytes, Contributions, Integers
from switch.byteorder import to_wire
from switch.compiled import kernel
from switch.protocol import HEADER_BYTES, ElementType

MAGNITUDE = np.uint8(127)  # of a code, beside the sign
SIGN4, MAGNITUDE4, NIBBLE = np.uint8(8), np.uint8(7), np.uint8(4)  # of a code4
CODE4, CODE8 = int(ElementType.CODE4), int(ElementType.CODE8)
INT8, INT16 = int(ElementType.INT8), int(ElementType.INT16)


class CodePlan(NamedTuple):
    """What the kernels of a CodeSum need."""

    sum: Plan
    codes: Bytes
    """[d]"""
    table: NDArray[np.int32]
    """[256] the integer of each code; of the code 0, the integer 0."""
    element_type: int
    nibbles: Bytes
    """[elements_per_chunk] room for a chunk's codes as code4, one a byte."""
    largest: Integers
    """[1] the largest code sent, without its sign."""


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
        lanes[j] = to_wire(integer, lanes.itemsize)
    lanes[len(codes) :] = 0


@kernel
def write_nibbles(codes: Bytes, nibbles: Bytes) -> None:
    """Codes as code4, one a byte."""
    for j in range(len(codes)):
        sign = np.uint8(np.uint8(codes[j] >> NIBBLE) & SIGN4)
        nibbles[j] = np.uint8(sign | np.uint8(codes[j] & MAGNITUDE4))


@kernel
def fill_codes(plan: CodePlan, chunks: Integers, contributions: Contributions) -> None:
    """A chunk in which nothing is there is sent empty."""
    width = plan.sum.elements_per_chunk
    for i in range(len(chunks)):
        start = chunks[i] * width
        codes = plan.codes[start : start + width]
        largest = largest_code(codes)
        plan.largest[0] = max(plan.largest[0], largest)
        plan.sum.empty[chunks[i]] = largest == 0
        if largest == 0:
            contributions.element_count[i] = 0
            continue
        payload = contributions.packets[i][HEADER_BYTES:]
        if plan.element_type == CODE4:
            write_nibbles(codes, plan.nibbles)
            pack4(payload, plan.nibbles[: len(codes)])
        elif plan.element_type == CODE8:
            pack8(payload, codes)
        elif plan.element_type == INT8:
            look_up(codes, plan.table, payload.view(np.int8))
        elif plan.element_type == INT16:
            look_up(codes, plan.table, payload.view(np.int16))
        else:
            look_up(codes, plan.table, payload.view(np.int32))


class CodeSum(ScaledSum):
    """mean = the sum over the workers of table[codes], divided by n * scale.

    codes: uint8[d], d > 0; magnitudes below 8 for element type code4. table: int32[256]
    with table[0] = 0: its largest |entry| fits the element type, if that is none of
    codes, and n times that fits the result type; if it is, the job's table says the
    same. scale: see `ScaledSum`.
    """

    fill_rows = staticmethod(fill_codes)
    drain_rows = staticmethod(drain_sum)

    def __init__(
        self,
        codes: Bytes,
        mean: Gradient,
        network: Network,
        form: IntegerFormat,
        *,
        table: NDArray[np.int32],
        scale: float,
    ) -> None:
        super().__init__(
            mean,  # nothing is read there: the codes are what is sent
            mean,
            network,
            form,
            block_ends=np.array([len(codes)]),
            scales=np.array([scale], np.float32),
            key=None,
        )
        self.plan: Any = CodePlan(
            sum=self.scaled,
            codes=codes,
            table=table,
            element_type=int(form.element),
            nibbles=np.zeros(self.elements_per_chunk, np.uint8),
            largest=np.zeros(1, np.int64),
        )

    def add_to(self, statistics: Statistics, *, clip: bool = True) -> None:
        """Count what this aggregation did."""
        super().add_to(statistics, clip=clip)
        largest = int(self.plan.table[self.plan.largest[0]])
        statistics.largest_integer = max(statistics.largest_integer, largest)
